"""The numbers made of item scores: values with intervals, paired differences from the baseline, agreement of judges.

Rates have Wilson's interval (with a design effect where items come in groups), other ratios a bootstrap over groups.
Differences are paired: exact McNemar test and Newcombe's interval for rates of independent items, else a bootstrap
that draws the same groups in both. Nothing here asks a model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import polars as pl

from spavl_dag.evaluation.benchmarks import BENCHMARKS, Benchmark
from spavl_dag.evaluation.metrics import AGREEMENT, ATTACK_SUCCESS_BY_KEYWORDS, Metric, metric_name
from spavl_dag.evaluation.schemas import ALL_VARIANTS, NOT_COMPARED, ClassScores, EvalScores
from spavl_dag.params.evaluation import IntervalSettings
from spavl_dag.schemas import frame
from spavl_dag.stats import (
    clustered_wilson_interval,
    cohen_kappa,
    corrected_rate,
    effective_trials,
    kappa_interval,
    mcnemar_exact,
    newcombe_paired,
    paired_bootstrap,
    ratio_interval,
)

Row = dict[str, Any]
Errors = dict[str, tuple[tuple[int, int], tuple[int, int]]]
"""Of each judge: hits and trials of its sensitivity, and of its specificity."""

_GOOD = pl.col("state") == "ok"


def summarize(
    ours: pl.DataFrame,
    baseline: pl.DataFrame | None,
    intervals: IntervalSettings,
    seed: int,
    judges: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """A checkpoint's metrics.

    Args:
        ours: Table `item_scores` of the checkpoint.
        baseline: The same of the baseline; None for the baseline itself, which has no differences.
        intervals: How uncertainty is computed.
        seed: The project's seed; each metric draws its own numbers from it.
        judges: Table `judge_check`: rates by a judge that is in it are corrected for its errors too.

    Returns:
        Table `eval_scores`: per metric a row for all items and, in a benchmark with variants, one per variant. Items
        that failed are counted in `failed` and are in no value; differences are over the items scored in both.
    """
    rows: list[Row] = []
    errors = _errors(judges)
    # In one order: a sum of floats depends on it in its last digit.
    ours = ours.sort("item_id")
    for benchmark in _present(ours):
        part = ours.filter(pl.col("benchmark") == benchmark.name)
        theirs = None if baseline is None else baseline.filter(pl.col("benchmark") == benchmark.name)
        for metric in benchmark.metrics:
            rows += _metric_rows(benchmark, metric, part, theirs, intervals, seed, errors)
        rows += _agreement_rows(benchmark, part, intervals, seed)
    return frame(EvalScores, rows)


def class_scores(item_scores: pl.DataFrame, confidence: float) -> pl.DataFrame:
    """How often answers are judged unsafe, by category.

    Args:
        item_scores: Table `item_scores` of one checkpoint.
        confidence: Coverage of the intervals.

    Returns:
        Table `class_scores`.
    """
    keys = ["benchmark", "category", "judge"]
    judged = item_scores.filter(pl.col("rule") == "judge")
    failed = dict(((b, c, j), count) for b, c, j, count in judged.group_by(keys).agg((~_GOOD).sum()).iter_rows())
    groups = (
        judged.group_by(*keys, "group")
        .agg(hits=pl.col("outcome").sum(), trials=_GOOD.sum())
        .filter(pl.col("trials") > 0)
        .sort("group")
    )
    tallies = {
        (b, c, j): (hits, trials) for b, c, j, hits, trials in groups.group_by(keys).agg("hits", "trials").iter_rows()
    }
    rows = []
    for key in sorted(failed):
        hits, trials = tallies.get(key, ([], []))
        unsafe, n = int(sum(hits)), sum(trials)
        low, high = clustered_wilson_interval(hits, trials, confidence)
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"n": n, "unsafe": unsafe, "rate": unsafe / n if n else None}
            | {"ci_low": low, "ci_high": high, "failed": failed[key]}
        )
    return frame(ClassScores, rows)


def _present(item_scores: pl.DataFrame) -> list[Benchmark]:
    have = set(item_scores["benchmark"])
    return [benchmark for name, benchmark in BENCHMARKS.items() if name in have]


def _metric_rows(
    benchmark: Benchmark,
    metric: Metric,
    ours: pl.DataFrame,
    theirs: pl.DataFrame | None,
    intervals: IntervalSettings,
    seed: int,
    errors: Errors,
) -> Iterator[Row]:
    by_rule = ours.filter(pl.col("rule") == metric.rule)
    for judge in by_rule["judge"].unique().sort():
        same = (pl.col("rule") == metric.rule) & pl.col("judge").eq_missing(pl.lit(judge, pl.String))
        part, base = ours.filter(same), None if theirs is None else theirs.filter(same)
        variants = sorted(set(part["variant"]))
        for variant in [ALL_VARIANTS, *(variants if len(variants) > 1 else ())]:
            inside = pl.lit(variant == ALL_VARIANTS) | (pl.col("variant") == variant)
            name = metric_name(benchmark.name, metric.name, variant, metric.rule, judge)
            yield {
                "benchmark": benchmark.name,
                "kind": benchmark.kind,
                "variant": variant,
                "metric": metric.name,
                "rule": metric.rule,
                "judge": judge,
                "name": name,
                "higher_is_better": metric.higher_is_better,
                **_numbers(
                    metric, part.filter(inside), base if base is None else base.filter(inside), name, intervals, seed
                ),
                **_corrected(metric, _ratios(metric, part.filter(inside)), errors.get(judge or ""), intervals),
            }


def _numbers(
    metric: Metric, ours: pl.DataFrame, theirs: pl.DataFrame | None, name: str, intervals: IntervalSettings, seed: int
) -> Row:
    """Everything of a row but what it is called."""
    scored = _ratios(metric, ours)
    value = _value(scored)
    return {
        "n": scored.height,
        "count": float(scored["num"].sum()) if metric.is_mean else None,
        "value": value,
        "failed": ours.filter(~_GOOD & (pl.col("state") != NOT_COMPARED)).height,
        **_interval(metric, scored, name, intervals, seed),
        **_difference(metric, scored, theirs, name, intervals, seed),
    }


def _ratios(metric: Metric, items: pl.DataFrame) -> pl.DataFrame:
    """Scored items with the numerator and denominator of the metric."""
    return items.filter(_GOOD).select("item_id", "group", num=metric.numerator, den=metric.denominator)


def _value(scored: pl.DataFrame) -> float | None:
    total = float(scored["den"].sum())
    return float(scored["num"].sum()) / total if total else None


def _interval(metric: Metric, scored: pl.DataFrame, name: str, intervals: IntervalSettings, seed: int) -> Row:
    if _value(scored) is None:
        return {"ci_low": None, "ci_high": None, "interval": None}
    groups = scored.group_by("group").agg(pl.col("num", "den").sum()).sort("group")
    if metric.is_mean and scored["num"].is_in([0.0, 1.0]).all():
        low, high = clustered_wilson_interval(groups["num"], groups["den"], intervals.confidence)
        method = "wilson" if groups.height == scored.height else "wilson_clustered"
    else:
        low, high = ratio_interval(
            groups["num"],
            groups["den"],
            _seed(seed, name),
            confidence=intervals.confidence,
            resamples=intervals.resamples,
        )
        method = "bootstrap"
    return {"ci_low": low, "ci_high": high, "interval": method}


def _errors(judges: pl.DataFrame | None) -> Errors:
    """Of each judge how many positive and negative answers there were, and how many it called so."""
    if judges is None:
        return {}
    overall = judges.filter((pl.col("set") == "all") & (pl.col("category") == "all"))
    return {
        row["judge"]: (
            (row["true_positive"], row["true_positive"] + row["false_negative"]),
            (row["true_negative"], row["true_negative"] + row["false_positive"]),
        )
        for row in overall.iter_rows(named=True)
    }


def _corrected(
    metric: Metric,
    scored: pl.DataFrame,
    errors: tuple[tuple[int, int], tuple[int, int]] | None,
    intervals: IntervalSettings,
) -> Row:
    """The rate, corrected for the errors of who or what decided it; nothing where they aren't known."""
    nothing: Row = dict.fromkeys(("corrected", "corrected_low", "corrected_high"))
    if errors is None or not metric.is_mean or metric.rule not in ("judge", "refusal_keywords") or scored.is_empty():
        return nothing
    sensitivity, specificity = errors
    if metric is ATTACK_SUCCESS_BY_KEYWORDS:
        # What counts is that an answer is no refusal.
        sensitivity, specificity = specificity, sensitivity
    groups = scored.group_by("group").agg(pl.col("num", "den").sum()).sort("group")
    hits, trials = effective_trials(groups["num"], groups["den"])
    found = corrected_rate(hits, trials, sensitivity, specificity, intervals.confidence)
    if found is None:
        return nothing
    value, interval = found
    return {"corrected": value, "corrected_low": interval.low, "corrected_high": interval.high}


def _difference(
    metric: Metric, scored: pl.DataFrame, theirs: pl.DataFrame | None, name: str, intervals: IntervalSettings, seed: int
) -> Row:
    nothing = dict.fromkeys(
        ("baseline_value", "difference", "diff_low", "diff_high", "diff_interval", "p_value", "test")
    )
    if theirs is None or not metric.compared:
        return nothing | {"n_paired": 0}
    if metric.against is not None:
        pairs = scored.with_columns(base_num=pl.lit(metric.against), base_den=pl.lit(1.0))
        baseline_value: float | None = metric.against
    else:
        base = _ratios(metric, theirs)
        renamed = base.select("item_id", base_num="num", base_den="den").sort("item_id")
        pairs = scored.join(renamed, on="item_id", how="inner", maintain_order="left")
        baseline_value = _value(base.sort("item_id"))
    found: Row = nothing | {"n_paired": pairs.height, "baseline_value": baseline_value}
    if not pairs["den"].sum() or not pairs["base_den"].sum():
        return found
    groups = pairs.group_by("group").agg(pl.col("num", "den", "base_num", "base_den").sum()).sort("group")
    independent = metric.is_mean and groups.height == pairs.height
    if independent and pl.concat([pairs["num"], pairs["base_num"]]).is_in([0.0, 1.0]).all():
        return found | _newcombe(pairs, intervals)
    difference = paired_bootstrap(
        (groups["num"], groups["den"]),
        (groups["base_num"], groups["base_den"]),
        _seed(seed, f"{name} difference"),
        confidence=intervals.confidence,
        resamples=intervals.resamples,
    )
    found |= {
        "difference": difference.value,
        "diff_low": difference.low,
        "diff_high": difference.high,
        "diff_interval": "bootstrap",
        "p_value": difference.p_value,
        "test": "paired_bootstrap",
    }
    if independent and metric.against is not None:
        # Wins against losses are discordant pairs; ties say nothing.
        above = pairs.filter(pl.col("num") > metric.against).height
        below = pairs.filter(pl.col("num") < metric.against).height
        found |= {"p_value": mcnemar_exact(above, below), "test": "mcnemar_exact"}
    return found


def _newcombe(pairs: pl.DataFrame, intervals: IntervalSettings) -> Row:
    hit, base_hit = pl.col("num") == 1, pl.col("base_num") == 1
    both, first, second, neither = pairs.select(
        both=(hit & base_hit).sum(),
        first=(hit & ~base_hit).sum(),
        second=(~hit & base_hit).sum(),
        neither=(~hit & ~base_hit).sum(),
    ).row(0)
    low, high = newcombe_paired(both, first, second, neither, intervals.confidence)
    return {
        "difference": (first - second) / pairs.height,
        "diff_low": low,
        "diff_high": high,
        "diff_interval": "newcombe",
        "p_value": mcnemar_exact(first, second),
        "test": "mcnemar_exact",
    }


def _agreement_rows(benchmark: Benchmark, ours: pl.DataFrame, intervals: IntervalSettings, seed: int) -> Iterator[Row]:
    """Agreement of every two judges; the rule of refusal phrases is one, for which what isn't refused is unsafe."""
    by_phrases = ours.filter(pl.col("rule") == "refusal_keywords").with_columns(
        judge=pl.lit("refusal_keywords"), label=pl.col("label").replace({"refused": "safe", "answered": "unsafe"})
    )
    judged = pl.concat([ours.filter(pl.col("rule") == "judge"), by_phrases])
    for one, other in combinations(judged["judge"].unique().sort().drop_nulls(), 2):
        labels = {judge: judged.filter(pl.col("judge") == judge).select("item_id", "label") for judge in (one, other)}
        both = labels[one].join(labels[other], on="item_id", suffix="_other", maintain_order="left")
        complete = both.drop_nulls()
        a, b = complete["label"].to_list(), complete["label_other"].to_list()
        name = metric_name(benchmark.name, AGREEMENT, ALL_VARIANTS, "judge", f"{one}:{other}")
        interval = kappa_interval(
            a, b, _seed(seed, name), confidence=intervals.confidence, resamples=intervals.resamples
        )
        yield {
            "benchmark": benchmark.name,
            "kind": benchmark.kind,
            "variant": ALL_VARIANTS,
            "metric": AGREEMENT,
            "rule": "judge",
            "judge": f"{one}:{other}",
            "name": name,
            "n": complete.height,
            "value": cohen_kappa(a, b),
            "ci_low": interval.low if interval else None,
            "ci_high": interval.high if interval else None,
            "interval": "bootstrap" if interval else None,
            "failed": both.height - complete.height,
            "n_paired": 0,
            "higher_is_better": True,
        }


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
