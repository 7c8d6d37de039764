"""What stands behind the comparison: examples, the dataset, every score, lineage, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spavl_dag.report.blocks import Block, Cell, Code, Column, Fold, Section, Table, Text
from spavl_dag.report.numbers import NOTHING, finite, percent, points_span, span
from spavl_dag.report.view import View
from spavl_dag.text import redact

SHARES = {
    "responses_unsafe": "answers labelled unsafe",
    "chosen_unsafe": "chosen answers labelled unsafe",
    "rejected_unsafe": "rejected answers labelled unsafe",
    "agreement": "pairs on which both verdicts agree",
    "preferences": "pairs that became a preference",
    "position_bias": "pairs lost to position bias",
}
"""Shares of the dataset's statistics (`card.dataset_statistics`), in words."""


def examples(view: View) -> Section:
    """Answers of all checkpoints to the same questions, side by side."""
    title, table, show = "Examples", view.inputs.examples, view.inputs.show_text
    if table.is_empty():
        return Section("examples", title, (Text("There are no examples."),))
    answers: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for row in table.iter_rows(named=True):
        item = (row["benchmark"], row["item_id"], row["question"])
        text = NOTHING if row["response"] is None else redact(row["response"], show)
        answers.setdefault(item, {})[row["checkpoint"]] = Cell(text, note=row["label"] or "no label")
    shown = [i for i in view.inputs.checkpoints if any(i.key in by_checkpoint for by_checkpoint in answers.values())]
    rows = tuple(
        (
            Cell(item_id, note=benchmark),
            Cell(redact(question, show)),
            *(by_checkpoint.get(info.key, Cell(NOTHING)) for info in shown),
        )
        for (benchmark, item_id, question), by_checkpoint in answers.items()
    )
    columns = tuple(map(Column, ("Item", "Question", *(info.label for info in shown))))
    told = "Texts are hidden, for they can be harmful; report.show_text in params.yaml shows them."
    blocks: list[Block] = [] if show else [Text(told)]
    return Section("examples", title, (*blocks, Table("Answers to the same questions", columns, rows)))


def dataset(view: View) -> Section:
    """The numbers of the data card."""
    title, counted = "Dataset", view.inputs.dataset
    if not counted:
        return Section("dataset", title, (Text("The dataset was not counted."),))
    counts = {
        "images": counted.get("images"),
        "questions": counted.get("questions"),
        "pairs of answers": counted.get("pairs"),
        **{f"rows of {split}": rows for split, rows in counted.get("splits", {}).items()},
    }
    sizes = tuple((Cell(name), Cell(f"{number:,}")) for name, number in counts.items() if number is not None)
    shares = tuple(_share_row(what, counted[name]) for name, what in SHARES.items() if name in counted)
    blocks = [Table("Size", (Column("What"), Column("Count", numeric=True)), sizes)]
    if shares:
        columns = (Column("What"), *(Column(name, numeric=True) for name in ("Share", "95 % interval", "Count")))
        blocks.append(Table("Judge statistics", columns, shares))
    return Section("dataset", title, tuple(blocks))


def _share_row(what: str, share: Mapping[str, Any]) -> tuple[Cell, ...]:
    interval = span(share["ci_low"], share["ci_high"]) or NOTHING
    return Cell(what), Cell(percent(share["rate"])), Cell(interval), Cell(f"{share['count']} of {share['n']}")


def all_scores(view: View) -> Section:
    """Every score with its numerator, its interval and what failed."""
    columns = (
        Column("Score"),
        *(Column(name, numeric=True) for name in ("Value", "Interval", "Numerator", "n", "Failed")),
        Column("Difference", numeric=True, note="points"),
        Column("Method of the interval"),
    )
    folds = []
    for info in view.inputs.checkpoints:
        rows = tuple(
            (
                Cell(score.name),
                Cell(_plain(score.value)),
                Cell(NOTHING if score.ci_low is None else f"{_plain(score.ci_low)} to {_plain(score.ci_high)}"),
                Cell(NOTHING if score.count is None else f"{score.count:g}"),
                Cell(str(score.n)),
                Cell(str(score.failed)),
                Cell(points_span(score.diff_low, score.diff_high) or NOTHING),
                Cell((score.interval or "").replace("_", " ")),
            )
            for score in view.scores.of(info.key)
        )
        if rows:
            folds.append(Fold(f"{info.label}: {len(rows)} scores", (Table(f"Scores of {info.label}", columns, rows),)))
    return Section("scores", "All scores", tuple(folds) or (Text("There are no scores."),))


def _plain(value: float | None) -> str:
    return NOTHING if finite(value) is None else f"{value:.4f}"


def lineage(view: View) -> Section:
    """Which bytes, which commit and which run each number comes from."""
    timed = any(info.seconds is not None for info in view.inputs.checkpoints)
    rows = tuple(
        (
            Cell(info.label, note=None if info.label == info.key else info.key),
            Cell(info.method),
            Cell(", ".join(f"{k} {v}" for k, v in sorted(info.params.items()) if v is not None) or NOTHING),
            Cell(info.md5 or "not recorded"),
            Cell(info.run_id or "not logged"),
            *([Cell(NOTHING if info.seconds is None else f"{info.seconds:,.0f}")] if timed else []),
        )
        for info in view.inputs.checkpoints
    )
    columns = tuple(map(Column, ("Checkpoint", "Method", "What differs", "DVC md5", "MLflow run")))
    if timed:
        columns += (Column("Training", numeric=True, note="seconds"),)
    blocks: list[Block] = [Table("Checkpoints", columns, rows)]
    if view.inputs.lineage.is_empty():
        blocks.append(Text("The lineage of the stages is not recorded."))
    else:
        stages = tuple(
            (Cell(row["stage"]), Cell(row["md5"] or "not recorded"), Cell(row["commit"] or "not committed"))
            for row in view.inputs.lineage.iter_rows(named=True)
        )
        blocks.append(Table("Stages", tuple(map(Column, ("Stage", "DVC md5", "git commit"))), stages))
    return Section("lineage", "Lineage", tuple(blocks))


def reproduce() -> Section:
    """The commands that make the report again."""
    commands = (
        "dvc pull    # fetch what was made, or:",
        "dvc repro   # make what is stale or missing",
        "spavl ui    # look at it in Dagster and MLflow",
    )
    told = "In a checkout of the commit above; dvc.lock holds the inputs, code and parameters of every stage."
    return Section("reproduce", "How to make it again", (Text(told), Code("\n".join(commands))))
