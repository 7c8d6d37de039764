"""Preferences as a dataset: split by image, with evaluation questions held out per class."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from spavl_dag.names import QUESTION_TYPES
from spavl_dag.params.sections import DatasetParams
from spavl_dag.schemas import DatasetRows, frame
from spavl_dag.taxonomy import Taxonomy

EVAL_SPLITS = ("harm_eval", "help_eval")
HELD_OUT = "held out for evaluation"
SAME_WORDING = "same wording as an evaluation question"

Row = dict[str, Any]


def assign_splits(images: pl.DataFrame, questions: pl.DataFrame, params: DatasetParams, seed: int) -> dict[int, str]:
    """Give every group of near-duplicate images one split.

    Args:
        images: Table `images`.
        questions: Table `questions`.
        params: Share of validation images, and evaluation questions per class.
        seed: The project's seed.

    Returns:
        Split by near-duplicate group. Per class, groups go to HarmEval, then HelpEval, until each has its questions;
        of what is left, `validation_share` of the images go to validation and the others to training.
    """
    per_image = dict(questions.group_by("image_id").len().iter_rows())
    members: dict[int, list[Row]] = defaultdict(list)
    for row in images.sort("image_id").iter_rows(named=True):
        members[row["near_duplicate_group"]].append(row)
    of_class: dict[str, list[int]] = defaultdict(list)
    for group, rows in members.items():
        for class_id in sorted({row["class_id"] for row in rows}):
            of_class[class_id].append(group)

    def count(group: int, class_id: str) -> int:
        return sum(per_image.get(r["image_id"], 0) for r in members[group] if r["class_id"] == class_id)

    splits: dict[int, str] = {}
    for class_id in sorted(of_class):
        groups = of_class[class_id]
        random.Random(f"{seed}/{class_id}").shuffle(groups)
        for split in EVAL_SPLITS:
            have = sum(count(group, class_id) for group in groups if splits.get(group) == split)
            for group in groups:
                if have >= params.eval_questions_per_class:
                    break
                if group not in splits and (gained := count(group, class_id)):
                    splits[group] = split
                    have += gained
    rest = sorted(group for group in members if group not in splits)
    random.Random(f"{seed}/validation").shuffle(rest)
    wanted = params.validation_share * sum(len(members[group]) for group in rest)
    taken = 0
    for group in rest:
        # Stop where one more group would overshoot by more than stopping falls short.
        if taken + len(members[group]) / 2 <= wanted:
            splits[group] = "validation"
            taken += len(members[group])
        else:
            splits[group] = "train"
    return splits


def build_dataset(
    preferences: pl.DataFrame,
    verdicts: pl.DataFrame,
    groups: pl.DataFrame,
    questions: pl.DataFrame,
    images: pl.DataFrame,
    labels: pl.DataFrame,
    taxonomy: Taxonomy,
    params: DatasetParams,
    seed: int,
) -> pl.DataFrame:
    """Put the dataset together.

    Args:
        preferences: Table `preferences`.
        verdicts: Table `verdicts` of the same artifact.
        groups: Table `safety_groups`.
        questions: Table `questions`.
        images: Table `images`.
        labels: Table `safety_labels` of all models.
        taxonomy: For the published class names.
        params: How to split.
        seed: The project's seed.

    Returns:
        Table `dataset`. Training and validation rows are preferences; evaluation rows are questions without answers.
        Questions of evaluation images beyond the wanted number are in no split. A preference whose question is asked,
        word for word, in an evaluation split too is left out: the evaluation would measure memory.
    """
    splits = assign_splits(images, questions, params, seed)
    asked = questions.join(
        images.select("image_id", "near_duplicate_group", "file"), on="image_id", how="left"
    ).with_columns(
        split=pl.col("near_duplicate_group").replace_strict(splits, return_dtype=pl.String),
        image_name=pl.col("file").str.strip_prefix("files/"),
    )
    group_of = dict(groups.select("model", "safety_group").iter_rows())
    label_of = {(q, m): label for q, m, label in labels.select("question_id", "model", "label").iter_rows()}
    rows: list[Row] = []
    held_out = asked.filter(pl.col("split").is_in(EVAL_SPLITS)).sort("question_id")
    for (class_id, _split), group in held_out.group_by("class_id", "split", maintain_order=True):
        drawn = _mixed(group.iter_rows(named=True), params.eval_questions_per_class, f"{seed}/{class_id}")
        rows += [_common(row, taxonomy) | {"row_id": row["question_id"]} for row in drawn]
    evaluated = pl.DataFrame({"question": [row["question"] for row in rows]}, schema={"question": pl.String})
    trained = asked.filter(~pl.col("split").is_in(EVAL_SPLITS)).join(evaluated, on="question", how="anti")
    decided = preferences.join(trained, on="question_id", how="inner").join(
        agreement(preferences, verdicts), on="pair_id"
    )
    for row in decided.iter_rows(named=True):
        rows.append(
            _common(row, taxonomy)
            | {
                "row_id": row["pair_id"],
                **{k: row[k] for k in ("chosen", "rejected", "chosen_model", "rejected_model")},
                "chosen_label": label_of.get((row["question_id"], row["chosen_model"])),
                "rejected_label": label_of.get((row["question_id"], row["rejected_model"])),
                "reason1": row["reason1"],
                "reason2": row["reason2"],
                "chosen_group": group_of[row["chosen_model"]],
                "rejected_group": group_of[row["rejected_model"]],
                "agreement": row["agreement"],
            }
        )
    order = pl.Enum(["train", "validation", *EVAL_SPLITS])
    return frame(DatasetRows, rows).sort(pl.col("split").cast(order), "row_id")


def left_out(
    questions: pl.DataFrame, images: pl.DataFrame, rows: pl.DataFrame, params: DatasetParams, seed: int
) -> pl.DataFrame:
    """The questions that train nothing, each with its reason.

    Args:
        questions: Table `questions`.
        images: Table `images`.
        rows: Table `dataset` that was built of them, with the same params and seed.
        params: How it was split.
        seed: The project's seed.

    Returns:
        Columns question_id and reason: about an image of an evaluation split, or asked there in the same words.
    """
    splits = assign_splits(images, questions, params, seed)
    held_out = [group for group, split in splits.items() if split in EVAL_SPLITS]
    evaluated = rows.filter(pl.col("split").is_in(EVAL_SPLITS))["question"]
    reason = (
        pl.when(pl.col("near_duplicate_group").is_in(held_out))
        .then(pl.lit(HELD_OUT))
        .when(pl.col("question").is_in(evaluated.to_list()))
        .then(pl.lit(SAME_WORDING))
    )
    asked = questions.join(images.select("image_id", "near_duplicate_group"), on="image_id", how="left")
    return asked.select("question_id", reason=reason).drop_nulls().sort("question_id")


def agreement(preferences: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """Columns pair_id and agreement: the share of a pair's verdicts that name the chosen answer."""
    named = preferences.select("pair_id", "chosen_model").join(verdicts, on="pair_id", how="inner")
    agreeing = (pl.col("preferred_model") == pl.col("chosen_model")).fill_null(value=False)
    return named.group_by("pair_id").agg(agreement=agreeing.mean())


def _common(row: Mapping[str, Any], taxonomy: Taxonomy) -> Row:
    harm = taxonomy.find_class(row["class_id"])
    kept = (
        "split",
        "image_id",
        "image_name",
        "near_duplicate_group",
        "question_id",
        "question_type",
        "question",
    )
    return {key: row[key] for key in (*kept, "class_id")} | {
        "class1": harm.class1,
        "class2": harm.class2,
        "class3": harm.class3,
    }


def _mixed(rows: Iterable[Row], count: int, seed: str) -> Sequence[Row]:
    """Up to `count` questions, the types taken in turn, drawn by seed."""
    rng = random.Random(seed)
    by_type: dict[str, list[Row]] = {kind: [] for kind in QUESTION_TYPES}
    for row in rows:
        by_type[row["question_type"]].append(row)
    for group in by_type.values():
        rng.shuffle(group)
    drawn: list[Row] = []
    while len(drawn) < count and any(by_type.values()):
        drawn += [group.pop() for group in by_type.values() if group]
    return drawn[:count]
