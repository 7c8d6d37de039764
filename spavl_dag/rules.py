"""What must hold between tables, beyond the rows of one of them.

Belongs here: small functions from tables to the rows that break a rule. A rule of severity "error" keeps the artifact
from being replaced; one of severity "warn" is shown and recorded. Schemas of single tables stand in `schemas.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from spavl_dag.names import QUESTION_TYPES

Tables = Mapping[str, pl.DataFrame]
Read = Callable[[str], pl.DataFrame]
"""Reads the main table of another artifact (all partitions of it)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule may look at.

    Attributes:
        made: The artifact's new tables, by name.
        read: Upstream tables.
        classes: Slugs of the taxonomy's classes.
        models: Keys of the answering models.
        eval_questions: Questions per class that each evaluation set should have.
        metrics: The artifact's numbers.
    """

    made: Tables
    read: Read
    classes: frozenset[str]
    models: tuple[str, ...]
    eval_questions: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named condition.

    Attributes:
        name: Name of the asset check.
        description: What holds, in a sentence.
        broken: Returns the rows that break it; empty when it holds.
        severity: "error" keeps the artifact from being replaced.
    """

    name: str
    description: str
    broken: Callable[[Scope], pl.DataFrame]
    severity: Literal["error", "warn"] = "error"


def _unknown_classes(table: str) -> Callable[[Scope], pl.DataFrame]:
    return lambda s: s.made[table].filter(~pl.col("class_id").is_in(sorted(s.classes)))


def _unknown(table: str, column: str, artifact: str) -> Callable[[Scope], pl.DataFrame]:
    """Rows whose id does not exist upstream."""
    return lambda s: s.made[table].join(s.read(artifact).select(column).unique(), on=column, how="anti")


def _unmatched(table: str, artifact: str, *keys: str) -> Callable[[Scope], pl.DataFrame]:
    """Upstream ids that have no row, and rows whose id does not exist upstream."""

    def broken(s: Scope) -> pl.DataFrame:
        made, upstream = s.made[table].select(keys), s.read(artifact).select(keys)
        lacking = upstream.join(made, on=keys, how="anti").with_columns(problem=pl.lit("no row"))
        stray = made.join(upstream, on=keys, how="anti").with_columns(problem=pl.lit(f"not in {artifact}"))
        return pl.concat([lacking, stray])

    return broken


def _too_many(failed: pl.DataFrame, total: float, share: float = 0.05) -> pl.DataFrame:
    """Rows that failed, if they are more than a share of all; else none."""
    return failed if failed.height > share * total else failed.clear()


def _classes_without_keywords(s: Scope) -> pl.DataFrame:
    have = set(s.made["keywords"]["class_id"])
    return pl.DataFrame({"class_id": sorted(s.classes - have)}, schema={"class_id": pl.String})


def _classes_without_images(s: Scope) -> pl.DataFrame:
    have = set(s.made["images"]["class_ids"].explode())
    return pl.DataFrame({"class_id": sorted(s.classes - have)}, schema={"class_id": pl.String})


def _first_class_differs(s: Scope) -> pl.DataFrame:
    return s.made["images"].filter(
        ~pl.col("class_ids").list.contains(pl.col("class_id"))
        | ~pl.col("class_ids").list.eval(pl.element().is_in(sorted(s.classes))).list.all()
    )


def _texts_per_image(s: Scope) -> pl.DataFrame:
    """Images that have not exactly one kept or missing text of each type."""
    both = pl.concat([s.made[t].select("image_id", "question_type") for t in ("questions", "missing")])
    wanted = s.read("images").select("image_id").join(pl.DataFrame({"question_type": QUESTION_TYPES}), how="cross")
    counted = wanted.join(
        both.group_by("image_id", "question_type").agg(texts=pl.len()),
        on=["image_id", "question_type"],
        how="left",
    )
    return counted.filter(pl.col("texts").fill_null(0) != 1)


def _answers_per_question(s: Scope) -> pl.DataFrame:
    """Questions that have not one label row of every model."""
    labels = s.read("safety_labels")
    counted = labels.group_by("question_id").agg(models=pl.col("model").n_unique(), rows=pl.len())
    return (
        s.read("questions")
        .select("question_id")
        .join(counted, on="question_id", how="left")
        .filter((pl.col("models") != len(s.models)) | (pl.col("rows") != len(s.models)) | pl.col("models").is_null())
    )


def _models_grouped(s: Scope) -> pl.DataFrame:
    stray = sorted(set(s.models) ^ set(s.made["safety_groups"]["model"]))
    return pl.DataFrame({"model": stray}, schema={"model": pl.String})


def _paired_or_reason(s: Scope) -> pl.DataFrame:
    have = pl.concat([s.made[t].select("question_id").unique() for t in ("pairs", "missing")])
    counted = have.group_by("question_id").agg(tables=pl.len())
    questions = s.read("questions").select("question_id")
    return questions.join(counted, on="question_id", how="full", coalesce=True).filter(
        pl.col("tables").fill_null(0) != 1
    )


def _decided_or_reason(s: Scope) -> pl.DataFrame:
    have = pl.concat([s.made[t].select("pair_id") for t in ("preferences", "undecided")])
    counted = have.group_by("pair_id").agg(tables=pl.len())
    pairs = s.read("pairs").select("pair_id")
    return pairs.join(counted, on="pair_id", how="full", coalesce=True).filter(pl.col("tables").fill_null(0) != 1)


def _verdicts_disagree(s: Scope) -> pl.DataFrame:
    """Preferences whose two verdicts don't both name the chosen model."""
    verdicts = s.made["verdicts"].select("pair_id", "preferred_model", "presented", decided_by=pl.col("criterion"))
    named = (
        s.made["preferences"]
        .join(verdicts, on=["pair_id", "decided_by"], how="left")
        .group_by("pair_id")
        .agg(
            agreeing=(pl.col("preferred_model") == pl.col("chosen_model")).sum(),
            presented=pl.col("presented").n_unique(),
        )
    )
    return named.filter((pl.col("agreeing") != 2) | (pl.col("presented") != 2))


def _in_two_splits(column: str) -> Callable[[Scope], pl.DataFrame]:
    return lambda s: (
        s.made["dataset"]
        .group_by(column)
        .agg(splits=pl.col("split").unique().sort().str.join(", "), n=pl.col("split").n_unique())
        .filter(pl.col("n") > 1)
        .sort(column)
    )


def _trained_and_evaluated(s: Scope) -> pl.DataFrame:
    evaluated = pl.col("split").is_in(["harm_eval", "help_eval"])
    rows = s.made["dataset"]
    return rows.filter(evaluated).join(rows.filter(~evaluated).select("question").unique(), on="question", how="semi")


def _few_eval_questions(s: Scope) -> pl.DataFrame:
    counted = (
        s.made["dataset"]
        .filter(pl.col("split").is_in(["harm_eval", "help_eval"]))
        .group_by("class_id", "split")
        .agg(questions=pl.len())
    )
    wanted = pl.DataFrame({"class_id": sorted(s.classes)}, schema={"class_id": pl.String}).join(
        pl.DataFrame({"split": ["harm_eval", "help_eval"]}), how="cross"
    )
    return (
        wanted.join(counted, on=["class_id", "split"], how="left")
        .with_columns(pl.col("questions").fill_null(0))
        .filter(pl.col("questions") < s.eval_questions)
        .sort("class_id", "split")
    )


def _unlabelled(s: Scope) -> pl.DataFrame:
    rows = s.made["safety_labels"]
    return _too_many(rows.filter(pl.col("label").is_null()), rows.height)


def _position_biased(s: Scope) -> pl.DataFrame:
    biased = s.made["undecided"].filter(pl.col("reason") == "position_biased")
    pairs = s.made["preferences"].height + s.made["undecided"].height
    return _too_many(biased, pairs, share=0.2)


def _unanswered(s: Scope) -> pl.DataFrame:
    rows = s.made["eval_responses"]
    return _too_many(rows.filter(pl.col("state") != "ok"), rows.height)


def _unscored(s: Scope) -> pl.DataFrame:
    """Scores that more than 5 % of the items are missing from."""
    return s.made["eval_scores"].filter(pl.col("failed") > 0.05 * (pl.col("n") + pl.col("failed")))


def _gate_failed(condition: str) -> Callable[[Scope], pl.DataFrame]:
    return lambda s: s.made["gate"].filter((pl.col("condition") == condition) & (pl.col("passed") == False))  # noqa: E712


def _many_rejected(s: Scope) -> pl.DataFrame:
    rejected = s.made["rejected"]
    return _too_many(rejected, s.metrics.get("trained_on", 0.0) + rejected.height)


REWARD_ACCURACY = 0.6
"""Held-out accuracy below which a reward model hardly knows what is preferred; guessing has 0.5."""


def _uninformed(s: Scope) -> pl.DataFrame:
    found = {"accuracy": s.metrics.get("accuracy", 0.0)}
    below = found["accuracy"] < REWARD_ACCURACY
    return pl.DataFrame({"metric": list(found), "value": list(found.values())}).filter(pl.lit(below))


EXPECTED_ACCURACY = {
    "caption_accuracy": 0.95,
    "name_accuracy": 0.95,
    "judge_accuracy": 0.97,
    "annotator_accuracy": 0.97,
}
"""What the pictogram model should reach on cards and wordings held out from its training."""


def _inaccurate(s: Scope) -> pl.DataFrame:
    found = [(name, s.metrics[name]) for name in EXPECTED_ACCURACY if name in s.metrics]
    short = [(name, value) for name, value in found if value < EXPECTED_ACCURACY[name]]
    return pl.DataFrame(short, schema={"metric": pl.String, "value": pl.Float64}, orient="row")


RULES: Mapping[str, tuple[Rule, ...]] = {
    "base_model": (Rule("plays_its_roles", "The pictogram model does what its roles ask of it.", _inaccurate, "warn"),),
    "keywords": (
        Rule("classes_known", "Every class is one of the taxonomy.", _unknown_classes("keywords")),
        Rule("every_class_has_keywords", "Every class has a keyword.", _classes_without_keywords),
    ),
    "images": (
        Rule("classes_known", "Every class of every image is one of the taxonomy.", _first_class_differs),
        Rule("every_class_has_images", "Every class has an image.", _classes_without_images, "warn"),
    ),
    "captions": (
        Rule(
            "row_per_image",
            "Every image has a row, and no other.",
            _unmatched("captions", "images", "image_id"),
        ),
    ),
    "questions": (
        Rule("classes_known", "Every class is one of the taxonomy.", _unknown_classes("questions")),
        Rule("three_texts_or_reason", "Every image has three texts, or a recorded reason.", _texts_per_image),
    ),
    "responses": (
        Rule(
            "row_per_question",
            "Every question has an answer or a recorded reason.",
            _unmatched("responses", "questions", "question_id"),
        ),
    ),
    "safety_labels": (
        Rule(
            "row_per_question",
            "Every response has a label or a recorded state.",
            _unmatched("safety_labels", "questions", "question_id"),
        ),
        Rule("labelled_enough", "At most 5 % of the verdicts failed.", _unlabelled, "warn"),
    ),
    "safety_groups": (
        Rule("every_model_grouped", "Every model is in a group, and no other.", _models_grouped),
        Rule("every_model_answered", "Every question has a row of every model.", _answers_per_question),
    ),
    "pairs": (
        Rule("paired_or_reason", "Every question has a pair or a recorded reason.", _paired_or_reason),
        Rule(
            "questions_known",
            "Every pair belongs to a question.",
            _unknown("pairs", "question_id", "questions"),
        ),
    ),
    "preferences": (
        Rule("decided_or_reason", "Every pair is a preference or undecided with a reason.", _decided_or_reason),
        Rule("verdicts_agree", "Both verdicts of a preference name the chosen answer.", _verdicts_disagree),
        Rule("little_position_bias", "At most 20 % of pairs fell to position bias.", _position_biased, "warn"),
    ),
    "dataset": (
        Rule("classes_known", "Every class is one of the taxonomy.", _unknown_classes("dataset")),
        Rule("no_image_in_two_splits", "No image is in two splits.", _in_two_splits("image_id")),
        Rule(
            "no_near_duplicate_in_two_splits",
            "No two images that look alike are in two splits.",
            _in_two_splits("near_duplicate_group"),
        ),
        Rule(
            "no_question_in_training_and_evaluation",
            "No evaluation question is asked, word for word, in training.",
            _trained_and_evaluated,
        ),
        Rule(
            "enough_eval_questions",
            "Every class has its HarmEval and HelpEval questions.",
            _few_eval_questions,
            "warn",
        ),
    ),
    "reward_model": (
        Rule("knows_what_is_preferred", "Held-out pairs are told apart better than by guessing.", _uninformed, "warn"),
        Rule("few_rows_rejected", "At most 5 % of the rows could not be trained on.", _many_rejected, "warn"),
    ),
    "checkpoints": (
        Rule("few_rows_rejected", "At most 5 % of the rows could not be trained on.", _many_rejected, "warn"),
    ),
    "benchmarks": (),
    "eval_responses": (
        Rule(
            "row_per_item",
            "Every item has an answer or a recorded reason.",
            _unmatched("eval_responses", "benchmarks", "benchmark", "item_id"),
        ),
        Rule("answered_enough", "At most 5 % of the items have no answer.", _unanswered, "warn"),
    ),
    "eval_scores": (
        Rule("scored_enough", "No score lacks more than 5 % of its items.", _unscored, "warn"),
        Rule(
            "gate_safer",
            "The checkpoint is safer than the baseline, beyond the interval.",
            _gate_failed("safer"),
            "warn",
        ),
        Rule(
            "gate_capability_kept",
            "Capability falls by at most the tolerance.",
            _gate_failed("capability_kept"),
            "warn",
        ),
        Rule(
            "gate_over_refusal_kept",
            "Over-refusal rises by at most the tolerance.",
            _gate_failed("over_refusal_kept"),
            "warn",
        ),
    ),
    "report": (),
}
"""The rules of each artifact, in the order in which they are checked."""
