"""One checkpoint's evaluation, from its answers to its numbers: asks the judges, then scores and summarizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from spavl_dag.evaluation.benchmarks import BENCHMARKS, Benchmark
from spavl_dag.evaluation.judging import compare_with_baseline, judge_items
from spavl_dag.evaluation.metrics import judge_name
from spavl_dag.evaluation.schemas import Rule
from spavl_dag.evaluation.scoring import score_items
from spavl_dag.evaluation.summary import class_scores, summarize
from spavl_dag.inference.client import ModelClient
from spavl_dag.inference.request import ImageRef
from spavl_dag.names import Criterion
from spavl_dag.params.evaluation import IntervalSettings

Tables = dict[str, pl.DataFrame]


def evaluate(
    items: pl.DataFrame,
    responses: pl.DataFrame,
    baseline: pl.DataFrame | None,
    judges: Sequence[ModelClient],
    annotators: Mapping[Criterion, ModelClient],
    refs: Mapping[str, ImageRef],
    intervals: IntervalSettings,
    judges_checked: pl.DataFrame | None = None,
    *,
    seed: int,
    judge_sees_image: bool,
) -> Tables:
    """Score a checkpoint against the baseline.

    Args:
        items: Table `benchmarks`.
        responses: Table `eval_responses` of the checkpoint.
        baseline: The same of the baseline; None when the checkpoint is the baseline.
        judges: Label answers as safe or unsafe. The first decides which pairs are both harmless; with two or more,
            their agreement is a metric.
        annotators: Compare with the baseline's answers, by criterion.
        refs: Image content by image id.
        intervals: How uncertainty is computed.
        judges_checked: Table `judge_check`, to correct rates for the errors of judges.
        seed: The project's seed.
        judge_sees_image: Whether judges are shown the image too.

    Returns:
        Tables `eval_scores`, `item_scores` and `class_scores`.
    """
    named = name_judges(judges)
    shown = refs if judge_sees_image else None
    judged = items.filter(pl.col("benchmark").is_in(_with_rule("judge")))
    labels = {name: judge_items(judged, responses, judge, shown) for name, judge in named.items()}
    base_responses = responses if baseline is None else baseline
    base_labels = (
        labels
        if baseline is None
        else {name: judge_items(judged, baseline, judge, shown) for name, judge in named.items()}
    )
    comparisons = _compare(items, responses, base_responses, annotators, refs, _harmless(labels, base_labels))
    ours = score_items(items, responses, labels, comparisons)
    theirs = None if baseline is None else score_items(items, baseline, base_labels, {})
    return {
        "eval_scores": summarize(ours, theirs, intervals, seed, judges_checked),
        "item_scores": ours,
        "class_scores": class_scores(ours, intervals.confidence),
    }


def name_judges(judges: Sequence[ModelClient]) -> dict[str, ModelClient]:
    """Judges by the name they have in metrics: the model's, with the role's where two share a model."""
    models = [judge_name(judge.spec.model) for judge in judges]
    return {
        name if models.count(name) == 1 else f"{name}.{judge_name(judge.spec.role.rpartition('.')[2])}": judge
        for name, judge in zip(models, judges, strict=True)
    }


def _compare(
    items: pl.DataFrame,
    responses: pl.DataFrame,
    baseline: pl.DataFrame,
    annotators: Mapping[Criterion, ModelClient],
    refs: Mapping[str, ImageRef],
    harmless: pl.DataFrame | None,
) -> Tables:
    """Comparisons by annotator; those of several benchmarks under one name."""
    found: dict[str, list[pl.DataFrame]] = {}
    for benchmark in _present(items):
        if benchmark.criterion is None or benchmark.criterion not in annotators:
            continue
        annotator = annotators[benchmark.criterion]
        verdicts = compare_with_baseline(
            items.filter(pl.col("benchmark") == benchmark.name),
            responses,
            baseline,
            annotator,
            benchmark.criterion,
            refs,
            harmless if benchmark.both_harmless else None,
        )
        found.setdefault(judge_name(annotator.spec.model), []).append(verdicts)
    return {name: pl.concat(parts) for name, parts in found.items()}


def _harmless(labels: Tables, base_labels: Tables) -> pl.DataFrame | None:
    """Items whose two answers the first judge labels safe; None without a judge."""
    if not labels:
        return None
    first = next(iter(labels))
    safe = pl.col("label") == "safe"
    keys = ["benchmark", "item_id"]
    return labels[first].filter(safe).select(keys).join(base_labels[first].filter(safe), on=keys, how="semi")


def _with_rule(rule: Rule) -> list[str]:
    return [name for name, benchmark in BENCHMARKS.items() if rule in benchmark.rules]


def _present(items: pl.DataFrame) -> list[Benchmark]:
    have = set(items["benchmark"])
    return [benchmark for name, benchmark in BENCHMARKS.items() if name in have]
