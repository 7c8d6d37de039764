"""The dataset's numbers, and the data card that states them.

Belongs here: counting, and Markdown made of counts. Texts of models don't appear in the card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from spavl_dag.integrations.huggingface.export import FILE_NAMES
from spavl_dag.params.models import BASE_MODEL
from spavl_dag.params.sections import Params
from spavl_dag.stats import wilson_interval
from spavl_dag.taxonomy import Taxonomy
from spavl_dag.text import escape_markdown

PUBLISHED = {"chosen_unsafe": 0.117, "rejected_unsafe": 0.4223}
"""Judge statistics of the published data (paper.md, 'Judge statistics of the published data')."""

_NAMED = 100  # converted images that the card names


@dataclass(frozen=True, slots=True)
class CardTables:
    """What the card counts; tables as in `schemas.py`, and names of the images that are exported as PNG."""

    dataset: pl.DataFrame
    images: pl.DataFrame
    questions: pl.DataFrame
    missing_questions: pl.DataFrame
    labels: pl.DataFrame
    groups: pl.DataFrame
    verdicts: pl.DataFrame
    preferences: pl.DataFrame
    undecided: pl.DataFrame
    converted_images: Sequence[str] = ()


def rate(numerator: int, denominator: int) -> dict[str, Any]:
    """A share with its parts and 95 % Wilson interval; the share is None when there is nothing to count."""
    if denominator == 0:
        return {"n": 0, "count": numerator, "rate": None, "ci_low": None, "ci_high": None}
    low, high = wilson_interval(numerator, denominator)
    return {
        "n": denominator,
        "count": numerator,
        "rate": numerator / denominator,
        "ci_low": low,
        "ci_high": high,
    }


def dataset_statistics(tables: CardTables) -> dict[str, Any]:
    """All numbers of the card, as a JSON document."""
    rows = tables.dataset
    pairs = tables.preferences.height + tables.undecided.height
    reasons = dict(tables.undecided.group_by("reason").len().sort("reason").iter_rows())
    verdicts = tables.verdicts.filter(pl.col("verdict").is_in(["A", "B"]))
    trained = rows.filter(pl.col("chosen").is_not_null())

    def unsafe(column: str) -> dict[str, Any]:
        labelled = trained.filter(pl.col(column).is_not_null())
        return rate(labelled.filter(pl.col(column) == "unsafe").height, labelled.height)

    return {
        "images": tables.images.height,
        "questions": tables.questions.height,
        "questions_missing": tables.missing_questions.height,
        "question_types": _counts(tables.questions, "question_type"),
        "splits": _counts(rows, "split"),
        "split_images": dict(rows.group_by("split").agg(pl.col("image_id").n_unique()).sort("split").iter_rows()),
        "classes": {
            class_id: {
                "images": images,
                **{
                    split: rows.filter((pl.col("class_id") == class_id) & (pl.col("split") == split)).height
                    for split in ("train", "validation", "harm_eval", "help_eval")
                },
            }
            for class_id, images in _counts(tables.images, "class_id").items()
        },
        "pairs": pairs,
        "preferences": rate(tables.preferences.height, pairs),
        "agreement": rate(tables.preferences.height + sum(reasons.get(name, 0) for name in ("tie", "neither")), pairs),
        "undecided": reasons,
        "position_bias": rate(reasons.get("position_biased", 0), pairs),
        "first_place_preferred": rate(verdicts.filter(pl.col("verdict") == "A").height, verdicts.height),
        "chosen_unsafe": unsafe("chosen_label"),
        "rejected_unsafe": unsafe("rejected_label"),
        "responses_unsafe": rate(
            tables.labels.filter(pl.col("label") == "unsafe").height,
            tables.labels.filter(pl.col("label").is_not_null()).height,
        ),
        "labels_missing": tables.labels.filter(pl.col("label").is_null()).height,
        "safety_groups": tables.groups.to_dicts(),
        "converted_images": list(tables.converted_images),
    }


def _counts(table: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(table.group_by(column).len().sort(column).iter_rows())


def flat_metrics(statistics: Mapping[str, Any]) -> dict[str, float]:
    """The statistics that are worth comparing between runs."""
    metrics: dict[str, float] = {name: statistics[name] for name in ("images", "questions", "pairs")}
    metrics |= {f"rows_{split}": count for split, count in statistics["splits"].items()}
    for name in ("agreement", "preferences", "position_bias", "chosen_unsafe", "rejected_unsafe", "responses_unsafe"):
        if statistics[name]["rate"] is not None:
            metrics[f"{name}_rate"] = statistics[name]["rate"]
    return metrics


def data_card(statistics: Mapping[str, Any], taxonomy: Taxonomy, params: Params) -> str:
    """The data card (README.md of the dataset folder), with the front matter that the Hub and `datasets` read."""
    judge = params.roles.judge
    annotators = ", ".join(f"`roles.annotator_{criterion}`" for criterion in params.preferences.asked)
    sees = "sees" if params.safety_labels.sees_image else "does not see"
    lines = [
        *_front_matter(statistics["splits"]),
        "# Safety preference dataset",
        "",
        "Built by spavl-dag, after SPA-VL (arXiv 2406.12030). Each training row is a question about an image with a",
        "chosen and a rejected answer. The material is harmful by its nature: it is meant for safety research.",
        "",
        "## How it was made",
        "",
        f"- Images: {statistics['images']} in {len(statistics['classes'])} classes, source `{params.images.source}`.",
        f"- Answers: {len(params.models)} answering models"
        + (" (simulated respondents: one tiny model under different prompts)." if _simulated(params) else "."),
        f"- Safety labels: {escape_markdown(judge.model)}, which {sees} the image.",
        f"- Preferences: {annotators}; each pair is asked in both orders and kept when both verdicts agree.",
        "- Every number's lineage: `dvc.lock` (content hashes) and the call ledger (`spavl trace ID`).",
        *_converted(statistics["converted_images"]),
        "",
        "## Splits",
        "",
        "No image, and no near duplicate of one, is in two splits.",
        "",
        "| split | rows | images |",
        "| --- | ---: | ---: |",
    ]
    for split in ("train", "validation", "harm_eval", "help_eval"):
        lines.append(f"| {split} | {statistics['splits'].get(split, 0)} | {statistics['split_images'].get(split, 0)} |")
    lines += [
        "",
        "## Judge statistics",
        "",
        "| what | share | 95 % interval | count | published |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for name, what in (
        ("responses_unsafe", "answers labelled unsafe"),
        ("chosen_unsafe", "chosen answers labelled unsafe"),
        ("rejected_unsafe", "rejected answers labelled unsafe"),
        ("agreement", "pairs on which both verdicts agree (ties included)"),
        ("preferences", "pairs that became a preference"),
        ("position_bias", "pairs lost to position bias"),
        ("first_place_preferred", "verdicts for the answer shown first"),
    ):
        share = statistics[name]
        published = _percent(PUBLISHED.get(name))
        interval = f"{_percent(share['ci_low'])} to {_percent(share['ci_high'])}" if share["n"] else ""
        lines.append(
            f"| {what} | {_percent(share['rate'])} | {interval} | {share['count']} of {share['n']} | {published} |"
        )
    lines += ["", f"Answers without a label: {statistics['labels_missing']}.", ""]
    lines += ["Pairs that became no preference:", "", "| reason | pairs |", "| --- | ---: |"]
    lines += [f"| {reason} | {count} |" for reason, count in statistics["undecided"].items()]
    lines += [
        "",
        "## Safety groups",
        "",
        "| group | model | safe rate | 95 % interval | labelled |",
        "| ---: | --- | ---: | --- | ---: |",
    ]
    for row in statistics["safety_groups"]:
        entry = params.models[row["model"]]
        shown = escape_markdown(entry.label or row["model"])
        lines.append(
            f"| {row['safety_group']} | {shown} | {_percent(row['safe_rate'])} | "
            f"{_percent(row['ci_low'])} to {_percent(row['ci_high'])} | {row['labelled']} |"
        )
    lines += [
        "",
        "## Harm classes",
        "",
        "| class | images | train | validation | HarmEval | HelpEval |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for harm in taxonomy.classes:
        counts = statistics["classes"].get(harm.slug)
        if counts:
            numbers = " | ".join(str(counts[k]) for k in ("images", "train", "validation", "harm_eval", "help_eval"))
            lines.append(f"| {escape_markdown(harm.name)} | {numbers} |")
    return "\n".join(lines) + "\n"


def _converted(names: Sequence[str]) -> list[str]:
    """What to know of images whose files show a plain reader something else than the models saw."""
    if not names:
        return []
    more = f", and {len(names) - _NAMED} more in `statistics.json`" if len(names) > _NAMED else ""
    return [
        "",
        "## Converted images",
        "",
        f"{len(names)} image files are turned by their EXIF, transparent, or deeper than 8 bits. The models saw them",
        "upright, over white, in 8 bits, and the Parquet files hold them like that, as PNG. `trainer/*.json` names the",
        "files as they came: a reader that only converts them to RGB sees something else, so read them with",
        "`spavl_dag.media.decode.decode_image`. They are:",
        f"{', '.join(names[:_NAMED])}{more}.",
    ]


def _simulated(params: Params) -> bool:
    tiny = params.base_model.source == "pictograms"
    return tiny and any(entry.model == BASE_MODEL for entry in params.models.values())


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _front_matter(splits: Mapping[str, int]) -> list[str]:
    """The configs that `datasets` and the Hub read; a split without rows has no file and no entry."""
    lines = ["---", "configs:"]
    for config, members in (
        ("default", ("train", "validation")),
        ("harm", ("harm_eval",)),
        ("help", ("help_eval",)),
    ):
        filled = [split for split in members if splits.get(split)]
        if filled:
            lines += [f"- config_name: {config}", "  data_files:"]
        for split in filled:
            name = split if config == "default" else "test"
            lines += [f"  - split: {name}", f"    path: hf/{FILE_NAMES[split]}.parquet"]
    return [*lines, "tags:", "- safety", "- preference", "- vision-language", "---", ""]


class CardFacts: ...
