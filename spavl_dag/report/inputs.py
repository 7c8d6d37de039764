"""What a report is made of.

Belongs here: plain data, and tables as their stages leave them. Everything may be empty: a report on half a project is
a report too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import polars as pl


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """One checkpoint and how it was made.

    Attributes:
        key: Its key of `experiments`.
        label: How it is shown.
        method: Training method, or `none`.
        params: What sets it apart from the others, by dotted name (`hyperparameters.beta`).
        rows: Pairs or questions it was trained on; None for a model as it is.
        md5: Its content hash, as dvc.lock holds it.
    """

    key: str
    label: str
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    rows: int | None = None
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class RewardModelInfo:
    """How well the reward model tells held-out pairs apart.

    Attributes:
        metrics: Numbers by name: `accuracy` with `accuracy_low`, `accuracy_high` and `pairs`, and any others.
        bins: Table `calibration`.
    """

    metrics: Mapping[str, float]
    bins: pl.DataFrame


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """All that the report shows.

    Attributes:
        baseline: Key of the checkpoint the others are compared with.
        checkpoints: In the order in which they are shown.
        scores: Table `eval_scores` of all checkpoints, with a column `checkpoint`.
        gate: Table `gate` of all checkpoints, with a column `checkpoint`.
        class_scores: Table `class_scores` of all checkpoints, with a column `checkpoint`.
        curves: Table `curve` of all checkpoints, with a column `checkpoint`.
        reward_model: None where none was trained.
        dataset: What `statistics.dataset_statistics` counted.
        examples: Columns checkpoint, benchmark, item_id, question, response, label; see `examples.choose_examples`.
        lineage: Columns stage, md5.
        judges: Table `judge_check`.
        drawn_judge_sets: Names of its sets that are of the drawn world.
        judge: Name of the judge that is shown first where several judged.
        class_names: Display name of a class by its slug.
        confidence: Of all intervals.
        simulated: Whether the answering models are simulated respondents.
        drawn_benchmarks: Names of the benchmarks whose items are drawn pictograms.
        judge_is_base_model: Whether the judge is the very model that is aligned.
        show_text: Whether texts of models may be shown; else only their length is.
    """

    baseline: str
    checkpoints: Sequence[CheckpointInfo]
    scores: pl.DataFrame = field(default_factory=pl.DataFrame)
    gate: pl.DataFrame = field(default_factory=pl.DataFrame)
    class_scores: pl.DataFrame = field(default_factory=pl.DataFrame)
    curves: pl.DataFrame = field(default_factory=pl.DataFrame)
    reward_model: RewardModelInfo | None = None
    dataset: Mapping[str, Any] = field(default_factory=dict)
    examples: pl.DataFrame = field(default_factory=pl.DataFrame)
    lineage: pl.DataFrame = field(default_factory=pl.DataFrame)
    judges: pl.DataFrame = field(default_factory=pl.DataFrame)
    drawn_judge_sets: Sequence[str] = ()
    judge: str | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)
    confidence: float = 0.95
    simulated: bool = False
    drawn_benchmarks: Set[str] = frozenset()
    judge_is_base_model: bool = False
    show_text: bool = False
