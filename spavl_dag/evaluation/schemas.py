"""What the rows of the evaluation's tables must be; the registry of all tables is `spavl_dag.schemas`."""

from __future__ import annotations

from typing import Literal, get_args

import pandera.polars as pa
import polars as pl
from pandera.polars import PolarsData

from spavl_dag.schemas import HARMLESS, HEX16, HEX32, NO_RESPONSE, SHA256, STATES, Table

Kind = Literal["safety", "helpfulness", "capability", "over_refusal"]
"""What a benchmark measures."""
Rule = Literal["judge", "refusal_keywords", "exact_match", "vqa_accuracy", "yes_no", "pairwise"]
"""How an answer is scored."""

KINDS: tuple[Kind, ...] = get_args(Kind)
RULES: tuple[Rule, ...] = get_args(Rule)
ALL_VARIANTS = "all"
"""Stands in the column `variant` of scores that are pooled over variants."""
NOT_COMPARED = "not_compared"
"""State of a pairwise item that was not to be compared: one of its answers isn't harmless."""
NAME = r"^[\w./: -]+$"
"""What MLflow takes as the name of a metric."""


class BenchmarkItems(Table):
    """What checkpoints are asked."""

    benchmark: str = pa.Field(str_matches=NAME)
    item_id: str = pa.Field(str_length={"min_value": 1}, metadata=HARMLESS)
    variant: str = pa.Field(str_matches=NAME, ne=ALL_VARIANTS)
    category: str = pa.Field(str_length={"min_value": 1}, metadata=HARMLESS)
    group: str = pa.Field(str_length={"min_value": 1}, metadata=HARMLESS)
    question: str = pa.Field(str_length={"min_value": 1})
    intent: str = pa.Field(nullable=True, str_length={"min_value": 1})
    reference: str = pa.Field(nullable=True, str_startswith="[")
    image_id: str = pa.Field(nullable=True, str_matches=HEX16)
    sha256: str = pa.Field(nullable=True, str_matches=SHA256)
    file: str = pa.Field(nullable=True, str_matches=r"^files/[^/]+$")

    class Config(Table.Config):
        """Pandera's settings."""

        unique = ["benchmark", "item_id"]  # noqa: RUF012

    @pa.dataframe_check
    @classmethod
    def image_whole_or_absent(cls, data: PolarsData) -> pl.LazyFrame:
        """Id, hash and file of an image are all there or all missing."""
        missing = [pl.col(name).is_null() for name in ("image_id", "sha256", "file")]
        return data.lazyframe.select(pl.all_horizontal(missing) | ~pl.any_horizontal(missing))


class EvalResponses(Table):
    """A checkpoint's answer to every item, or why there is none."""

    benchmark: str = pa.Field(metadata=HARMLESS)
    item_id: str = pa.Field(metadata=HARMLESS)
    variant: str = pa.Field(metadata=HARMLESS)
    category: str = pa.Field(metadata=HARMLESS)
    response: str = pa.Field(nullable=True)
    state: str = pa.Field(isin=STATES)
    finish_reason: str = pa.Field(isin=["stop", "length", "error"])
    call_key: str = pa.Field(str_matches=HEX32)

    class Config(Table.Config):
        """Pandera's settings."""

        unique = ["benchmark", "item_id"]  # noqa: RUF012

    @pa.dataframe_check
    @classmethod
    def answered_only_when_ok(cls, data: PolarsData) -> pl.LazyFrame:
        """A row has an answer exactly when the call was good."""
        return data.lazyframe.select((pl.col("state") == "ok") == pl.col("response").is_not_null())


class ItemScores(Table):
    """What each answer is worth under each rule: the numbers that all scores are made of."""

    benchmark: str = pa.Field(metadata=HARMLESS)
    item_id: str = pa.Field(metadata=HARMLESS)
    variant: str = pa.Field(metadata=HARMLESS)
    category: str = pa.Field(metadata=HARMLESS)
    group: str = pa.Field(metadata=HARMLESS)
    rule: str = pa.Field(isin=list(RULES))
    judge: str = pa.Field(nullable=True, str_matches=NAME)
    outcome: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    state: str = pa.Field(isin=[*STATES, NO_RESPONSE, NOT_COMPARED])
    label: str = pa.Field(nullable=True, metadata=HARMLESS)
    expected: str = pa.Field(nullable=True)
    response_key: str = pa.Field(nullable=True, str_matches=HEX32)
    verdict_keys: pl.List(pl.String) = pa.Field(metadata=HARMLESS)  # type: ignore[valid-type]

    class Config(Table.Config):
        """Pandera's settings."""

        name = "item_scores"
        unique = ["benchmark", "item_id", "rule", "judge"]  # noqa: RUF012

    @pa.dataframe_check
    @classmethod
    def scored_only_when_ok(cls, data: PolarsData) -> pl.LazyFrame:
        """What failed has a state and no outcome; what did not has one."""
        return data.lazyframe.select((pl.col("state") == "ok") == pl.col("outcome").is_not_null())


class EvalScores(Table):
    """A checkpoint's metrics, each with its uncertainty and its difference from the baseline."""

    benchmark: str = pa.Field(metadata=HARMLESS)
    kind: str = pa.Field(isin=list(KINDS))
    variant: str = pa.Field(metadata=HARMLESS)
    metric: str = pa.Field(metadata=HARMLESS)
    rule: str = pa.Field(isin=list(RULES))
    judge: str = pa.Field(nullable=True, metadata=HARMLESS)
    name: str = pa.Field(unique=True, str_matches=NAME)
    n: pl.Int64 = pa.Field(ge=0)
    count: float = pa.Field(nullable=True, ge=0)
    value: float = pa.Field(nullable=True, in_range={"min_value": -1, "max_value": 1})
    ci_low: float = pa.Field(nullable=True, in_range={"min_value": -1, "max_value": 1})
    ci_high: float = pa.Field(nullable=True, in_range={"min_value": -1, "max_value": 1})
    interval: str = pa.Field(nullable=True, isin=["wilson", "wilson_clustered", "bootstrap"])
    corrected: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    corrected_low: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    corrected_high: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    failed: pl.Int64 = pa.Field(ge=0)
    baseline_value: float = pa.Field(nullable=True, in_range={"min_value": -1, "max_value": 1})
    difference: float = pa.Field(nullable=True, in_range={"min_value": -2, "max_value": 2})
    diff_low: float = pa.Field(nullable=True)
    diff_high: float = pa.Field(nullable=True)
    diff_interval: str = pa.Field(nullable=True, isin=["newcombe", "bootstrap"])
    p_value: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    test: str = pa.Field(nullable=True, isin=["mcnemar_exact", "paired_bootstrap"])
    n_paired: pl.Int64 = pa.Field(ge=0)
    higher_is_better: bool = pa.Field(nullable=True)

    @pa.dataframe_check
    @classmethod
    def value_is_count_of_n(cls, data: PolarsData) -> pl.LazyFrame:
        """Where a count stands, the value is that share of n."""
        share = (pl.col("value") * pl.col("n") - pl.col("count")).abs() < 1e-6
        return data.lazyframe.select(pl.col("count").is_null() | pl.col("value").is_null() | share)


class ClassScores(Table):
    """How often answers are judged unsafe, by category."""

    benchmark: str = pa.Field(metadata=HARMLESS)
    category: str = pa.Field(metadata=HARMLESS)
    judge: str = pa.Field(metadata=HARMLESS)
    n: pl.Int64 = pa.Field(ge=0)
    unsafe: pl.Int64 = pa.Field(ge=0)
    rate: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    ci_low: float = pa.Field(in_range={"min_value": 0, "max_value": 1})
    ci_high: float = pa.Field(in_range={"min_value": 0, "max_value": 1})
    failed: pl.Int64 = pa.Field(ge=0)

    class Config(Table.Config):
        """Pandera's settings."""

        name = "class_scores"
        unique = ["benchmark", "category", "judge"]  # noqa: RUF012


class JudgedAnswers(Table):
    """What judges say of answers that people labelled; texts stay in the sets' own files."""

    set: str = pa.Field(str_matches=NAME, metadata=HARMLESS)
    item_id: str = pa.Field(str_length={"min_value": 1}, metadata=HARMLESS)
    category: str = pa.Field(metadata=HARMLESS)
    judge: str = pa.Field(str_matches=NAME, metadata=HARMLESS)
    rule: str = pa.Field(isin=["judge", "refusal_keywords"])
    expected: bool
    label: bool = pa.Field(nullable=True)
    state: str = pa.Field(isin=STATES)
    call_key: str = pa.Field(nullable=True, str_matches=HEX32)

    class Config(Table.Config):
        """Pandera's settings."""

        name = "judged_answers"
        unique = ["set", "item_id", "judge"]  # noqa: RUF012

    @pa.dataframe_check
    @classmethod
    def labelled_only_when_ok(cls, data: PolarsData) -> pl.LazyFrame:
        """What failed has a state and no label; what did not has one."""
        return data.lazyframe.select((pl.col("state") == "ok") == pl.col("label").is_not_null())


class JudgeCheck(Table):
    """How far each judge says what people say: positive is unsafe for a judge, refused for the rule of phrases."""

    set: str = pa.Field(str_matches=NAME, metadata=HARMLESS)
    category: str = pa.Field(metadata=HARMLESS)
    judge: str = pa.Field(str_matches=NAME, metadata=HARMLESS)
    rule: str = pa.Field(isin=["judge", "refusal_keywords"])
    n: pl.Int64 = pa.Field(ge=0)
    failed: pl.Int64 = pa.Field(ge=0)
    true_positive: pl.Int64 = pa.Field(ge=0)
    false_positive: pl.Int64 = pa.Field(ge=0)
    false_negative: pl.Int64 = pa.Field(ge=0)
    true_negative: pl.Int64 = pa.Field(ge=0)
    accuracy: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    accuracy_low: float
    accuracy_high: float
    precision: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    precision_low: float
    precision_high: float
    recall: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    recall_low: float
    recall_high: float
    specificity: float = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    specificity_low: float
    specificity_high: float
    kappa: float = pa.Field(nullable=True, in_range={"min_value": -1, "max_value": 1})
    kappa_low: float = pa.Field(nullable=True)
    kappa_high: float = pa.Field(nullable=True)

    class Config(Table.Config):
        """Pandera's settings."""

        name = "judge_check"
        unique = ["set", "category", "judge"]  # noqa: RUF012


class Gate(Table):
    """What a checkpoint must hold, and whether it does; nothing applies to the baseline."""

    condition: str = pa.Field(isin=["safer", "capability_kept", "over_refusal_kept"])
    metric: str = pa.Field(str_matches=NAME)
    passed: bool = pa.Field(nullable=True)
    value: float = pa.Field(nullable=True)
    baseline: float = pa.Field(nullable=True)
    difference: float = pa.Field(nullable=True)
    bound: float
    detail: str = pa.Field(metadata=HARMLESS)

    class Config(Table.Config):
        """Pandera's settings."""

        name = "gate"
        unique = ["condition", "metric"]  # noqa: RUF012
