"""Conditions between tables, for the checks that assets name: functions from tables to the rows that break one.

What holds for the rows of one table stands in its schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from spavl_dag.names import QUESTION_TYPES
from spavl_dag.pipeline.declaration import Check, Checked

Broken = Callable[[Checked], pl.DataFrame]

REWARD_ACCURACY = 0.6
"""Held-out accuracy below which a reward model hardly knows what is preferred; guessing has 0.5."""


def classes_known(table: str) -> Check:
    """Every class of a table is one of the taxonomy."""

    def broken(checked: Checked) -> pl.DataFrame:
        return checked.tables[table].filter(~pl.col("class_id").is_in(_classes(checked)))

    return Check("classes_known", "Every class is one of the taxonomy.", broken)


def row_per(upstream: str, *keys: str) -> Check:
    """Every id of an upstream table has a row in the artifact's main table, and no other.

    Args:
        upstream: Parameter that the upstream table was handed in as.
        keys: Columns that both tables have.
    """

    def broken(checked: Checked) -> pl.DataFrame:
        made = next(iter(checked.tables.values())).select(keys)
        wanted: pl.DataFrame = checked.inputs[upstream].select(keys)
        lacking = wanted.join(made, on=keys, how="anti").with_columns(problem=pl.lit("no row"))
        stray = made.join(wanted, on=keys, how="anti").with_columns(problem=pl.lit(f"not in {upstream}"))
        return pl.concat([lacking, stray])

    return Check(f"row_per_{keys[-1].removesuffix('_id')}", f"Every row of {upstream} has a row, and no other.", broken)


def classes_without(table: str, column: str) -> Broken:
    """Classes of the taxonomy that a column (of names, or lists of names) lacks."""

    def broken(checked: Checked) -> pl.DataFrame:
        have = checked.tables[table][column]
        names = set(have.explode() if have.dtype == pl.List(pl.String) else have)
        return pl.DataFrame({"class_id": sorted(set(_classes(checked)) - names)}, schema={"class_id": pl.String})

    return broken


def first_class_differs(checked: Checked) -> pl.DataFrame:
    """Images whose class isn't among their classes, or is none of the taxonomy."""
    known = pl.element().is_in(_classes(checked))
    return checked.tables["images"].filter(
        ~pl.col("class_ids").list.contains(pl.col("class_id")) | ~pl.col("class_ids").list.eval(known).list.all()
    )


def three_texts(checked: Checked) -> pl.DataFrame:
    """Images that have not exactly one kept or missing text of each type."""
    both = pl.concat([checked.tables[name].select("image_id", "question_type") for name in ("questions", "missing")])
    types = pl.DataFrame({"question_type": QUESTION_TYPES})
    wanted: pl.DataFrame = checked.inputs["images"].select("image_id").join(types, how="cross")
    keys = ["image_id", "question_type"]
    counted = wanted.join(both.group_by(keys).agg(texts=pl.len()), on=keys, how="left")
    return counted.filter(pl.col("texts").fill_null(0) != 1)


def mostly(table: str, column: str) -> Broken:
    """Rows without a value, if they are more than 5 % of all."""

    def broken(checked: Checked) -> pl.DataFrame:
        rows = checked.tables[table]
        return _too_many(rows.filter(pl.col(column).is_null()), rows.height)

    return broken


def labels_of_every_model(checked: Checked) -> pl.DataFrame:
    """Questions that have not one label row of every model."""
    labels: pl.DataFrame = checked.inputs["labels"]
    models = labels["model"].n_unique()
    counted = labels.group_by("question_id").agg(models=pl.col("model").n_unique(), rows=pl.len())
    return counted.filter((pl.col("models") != models) | (pl.col("rows") != models)).sort("question_id")


def models_grouped(checked: Checked) -> pl.DataFrame:
    """Models with labels and no group, or the other way round."""
    stray = sorted(set(checked.inputs["labels"]["model"]) ^ set(checked.tables["safety_groups"]["model"]))
    return pl.DataFrame({"model": stray}, schema={"model": pl.String})


def paired_or_reason(checked: Checked) -> pl.DataFrame:
    """Questions that are not in exactly one of the tables `pairs` and `missing`."""
    have = pl.concat([checked.tables[name].select("question_id").unique() for name in ("pairs", "missing")])
    return _not_once(checked.inputs["responses"].select("question_id").unique(), have, "question_id")


def decided_or_reason(checked: Checked) -> pl.DataFrame:
    """Pairs that are not in exactly one of the tables `preferences` and `undecided`."""
    have = pl.concat([checked.tables[name].select("pair_id") for name in ("preferences", "undecided")])
    return _not_once(checked.inputs["pairs"].select("pair_id"), have, "pair_id")


def verdicts_disagree(checked: Checked) -> pl.DataFrame:
    """Preferences whose two verdicts don't both name the chosen model."""
    verdicts = checked.tables["verdicts"].select(
        "pair_id", "preferred_model", "presented", decided_by=pl.col("criterion")
    )
    named = (
        checked.tables["preferences"]
        .join(verdicts, on=["pair_id", "decided_by"], how="left")
        .group_by("pair_id")
        .agg(
            agreeing=(pl.col("preferred_model") == pl.col("chosen_model")).sum(),
            presented=pl.col("presented").n_unique(),
        )
    )
    return named.filter((pl.col("agreeing") != 2) | (pl.col("presented") != 2))


def position_biased(checked: Checked) -> pl.DataFrame:
    """Pairs lost to position bias, if they are more than 20 % of all."""
    undecided = checked.tables["undecided"]
    pairs = checked.tables["preferences"].height + undecided.height
    return _too_many(undecided.filter(pl.col("reason") == "position_biased"), pairs, share=0.2)


def in_two_splits(column: str) -> Broken:
    """Values of a column of the dataset that are in several splits."""

    def broken(checked: Checked) -> pl.DataFrame:
        splits = pl.col("split").unique().sort().str.join(", ")
        counted = checked.tables["dataset"].group_by(column).agg(splits=splits, n=pl.col("split").n_unique())
        return counted.filter(pl.col("n") > 1).sort(column)

    return broken


def trained_and_evaluated(checked: Checked) -> pl.DataFrame:
    """Evaluation questions that are asked, word for word, in training."""
    evaluated, rows = pl.col("split").is_in(["harm_eval", "help_eval"]), checked.tables["dataset"]
    return rows.filter(evaluated).join(rows.filter(~evaluated).select("question").unique(), on="question", how="semi")


def few_eval_questions(checked: Checked) -> pl.DataFrame:
    """Classes with fewer evaluation questions in a split than are wanted."""
    evaluated = checked.tables["dataset"].filter(pl.col("split").is_in(["harm_eval", "help_eval"]))
    counted = evaluated.group_by("class_id", "split").agg(questions=pl.len())
    classes = pl.DataFrame({"class_id": _classes(checked)}, schema={"class_id": pl.String})
    wanted = classes.join(pl.DataFrame({"split": ["harm_eval", "help_eval"]}), how="cross")
    return (
        wanted.join(counted, on=["class_id", "split"], how="left")
        .with_columns(pl.col("questions").fill_null(0))
        .filter(pl.col("questions") < checked.inputs["settings"].eval_questions_per_class)
        .sort("class_id", "split")
    )


def nothing_to_train_on(checked: Checked) -> pl.DataFrame:
    """One row when the dataset has no training row: what became of the images instead."""
    splits = checked.tables["dataset"].group_by("split").agg(rows=pl.len(), images=pl.col("image_id").n_unique())
    found = splits.sort("split")
    if "train" in set(found["split"]):
        return found.clear()
    return pl.concat([pl.DataFrame({"split": ["train"], "rows": [0], "images": [0]}, schema=found.schema), found])


def unscored(checked: Checked) -> pl.DataFrame:
    """Scores that more than 5 % of the items are missing from."""
    return checked.tables["eval_scores"].filter(pl.col("failed") > 0.05 * (pl.col("n") + pl.col("failed")))


def doubtful_judges(checked: Checked) -> pl.DataFrame:
    """Judges whose kappa over all labelled answers is below the least that is asked for, or isn't defined."""
    least, table = checked.inputs["min_kappa"], checked.tables["judge_check"]
    if least is None:
        return table.clear()
    overall = table.filter(set="all", category="all", rule="judge")
    return overall.filter(pl.col("kappa").is_null() | (pl.col("kappa") < least)).select("judge", "kappa", "n")


def gate_failed(condition: str) -> Broken:
    """Rows of the gate that break a condition."""
    return lambda checked: checked.tables["gate"].filter(condition=condition, passed=False)


def many_rejected(checked: Checked) -> pl.DataFrame:
    """Rows that couldn't be trained on, if they are more than 5 % of all."""
    rejected = checked.tables["rejected"]
    return _too_many(rejected, checked.metrics.get("trained_on", 0.0) + rejected.height)


def guesses(checked: Checked) -> pl.DataFrame:
    """The reward model's accuracy, if it is hardly better than guessing."""
    return below(checked.metrics, {"accuracy": REWARD_ACCURACY})


def below(metrics: Mapping[str, float], bounds: Mapping[str, float]) -> pl.DataFrame:
    """Metrics that are below their bound."""
    short = [(name, metrics.get(name, 0.0)) for name, bound in bounds.items() if metrics.get(name, 0.0) < bound]
    return pl.DataFrame(short, schema={"metric": pl.String, "value": pl.Float64}, orient="row")


def _classes(checked: Checked) -> list[str]:
    return sorted(harm.slug for harm in checked.inputs["taxonomy"].classes)


def _not_once(wanted: pl.DataFrame, have: pl.DataFrame, key: str) -> pl.DataFrame:
    counted = have.group_by(key).agg(tables=pl.len())
    return wanted.join(counted, on=key, how="full", coalesce=True).filter(pl.col("tables").fill_null(0) != 1)


def _too_many(failed: pl.DataFrame, total: float, share: float = 0.05) -> pl.DataFrame:
    """Rows that failed, if they are more than a share of all; else none."""
    return failed if failed.height > share * total else failed.clear()
