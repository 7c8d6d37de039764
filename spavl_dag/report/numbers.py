"""The scores a report speaks of: found in the table of all scores, compared, and written as people read them.

Belongs here: what a number means. Not here: sentences and tables made of numbers (`templates/content.j2`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import polars as pl

from spavl_dag.evaluation.headlines import Headline
from spavl_dag.evaluation.schemas import ALL_VARIANTS

NOTHING = "\u2013"
"""Stands where there is no number."""

MINUS = "\u2212"

Mark = Literal["better", "worse"]
"""What a difference from the baseline means, where its interval excludes zero."""


@dataclass(frozen=True, slots=True)
class Score:
    """A row of the table of scores; a number that isn't known or isn't finite is None."""

    name: str
    metric: str
    variant: str
    rule: str
    judge: str | None
    higher_is_better: bool | None
    n: int
    count: float | None
    value: float | None
    ci_low: float | None
    ci_high: float | None
    interval: str | None
    corrected: float | None
    corrected_low: float | None
    corrected_high: float | None
    failed: int
    difference: float | None
    diff_low: float | None
    diff_high: float | None
    p_value: float | None
    test: str | None
    n_paired: int | None

    @property
    def mark(self) -> Mark | None:
        """Whether it differs from the baseline beyond the interval of the paired difference."""
        if self.diff_low is None or self.diff_high is None or self.higher_is_better is None:
            return None
        if self.diff_low <= 0 <= self.diff_high:
            return None
        return "better" if (self.diff_low > 0) == self.higher_is_better else "worse"


class Scores:
    """All scores, by checkpoint and headline."""

    def __init__(self, table: pl.DataFrame, judge: str | None) -> None:
        """Index the table once; an empty one will do.

        Args:
            table: Scores of all checkpoints.
            judge: Whose scores stand for a headline that several judged.
        """
        self._judge = judge
        self._rows: dict[tuple[str, str, str], list[Score]] = {}
        names = [field.name for field in fields(Score)]
        for row in table.iter_rows(named=True):
            score = Score(**{name: finite(row[name]) for name in names})
            self._rows.setdefault((row["checkpoint"], row["benchmark"], row["metric"]), []).append(score)

    def get(self, checkpoint: str, headline: Headline, variant: str = ALL_VARIANTS) -> Score | None:
        """A checkpoint's score, by the first of the headline's rules that was used.

        A benchmark with one variant has no pooled score: its only one stands for it.
        """
        found = self._rows.get((checkpoint, headline.benchmark, headline.metric), [])
        of_variant = [score for score in found if score.variant == variant]
        if not of_variant and variant == ALL_VARIANTS and len({score.variant for score in found}) == 1:
            of_variant = found
        by_rule = {rule: [s for s in of_variant if s.rule == rule] for rule in headline.rules}
        scores = next((scores for scores in by_rule.values() if scores), [])
        return next((score for score in scores if score.judge == self._judge), scores[0] if scores else None)

    def of(self, checkpoint: str) -> list[Score]:
        """All scores of a checkpoint, by name."""
        listed = (score for (owner, _, _), rows in self._rows.items() if owner == checkpoint for score in rows)
        return sorted(listed, key=lambda score: score.name)


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate says of a checkpoint.

    Attributes:
        state: `baseline` is compared with nothing; `unchecked` has no rows; `incomplete` broke no condition, but some
            could not be measured.
        failed: Conditions that were broken, with their metric.
    """

    state: Literal["passed", "failed", "incomplete", "baseline", "unchecked"]
    failed: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The state as it is shown."""
        signs = {"passed": "✓ passed", "failed": "✗ failed", "baseline": "baseline", "unchecked": "not checked"}
        return signs.get(self.state, "? not fully measured")

    @property
    def mark(self) -> Mark | None:
        """Its colour."""
        return {"passed": "better", "failed": "worse"}.get(self.state)  # type: ignore[return-value]


def gate_result(gate: pl.DataFrame, checkpoint: str, baseline: str) -> GateResult:
    """What the gate's rows say of one checkpoint."""
    if checkpoint == baseline:
        return GateResult("baseline")
    rows = [row for row in gate.iter_rows(named=True) if row["checkpoint"] == checkpoint]
    failed = tuple(f"{row['condition'].replace('_', ' ')}: {row['metric']}" for row in rows if row["passed"] is False)
    if failed:
        return GateResult("failed", failed)
    if not rows:
        return GateResult("unchecked")
    return GateResult("passed" if all(row["passed"] for row in rows) else "incomplete")


def percent(value: float | None) -> str:
    """A rate as people read it: 0.1234 is `12.3 %`."""
    return NOTHING if value is None or not math.isfinite(value) else f"{_rounded(100 * value, 1)} %"


def points(value: float | None) -> str:
    """A difference of rates in percentage points, with its sign: -0.034 is 3.4 with a minus."""
    if value is None or not math.isfinite(value):
        return NOTHING
    shown = _rounded(100 * value, 1)
    return shown.replace("-", MINUS) if shown.startswith("-") else f"+{shown}"


def short(value: float | None) -> str:
    """A number with three digits that count."""
    return NOTHING if value is None else f"{value:.3g}".replace("-", MINUS)


def p_value(value: float | None) -> str:
    """A p value with three digits, or that it is smaller than they can show."""
    return NOTHING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def plain(value: float | None) -> str:
    """A number with four digits behind the point."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.4f}"


def span(low: float | None, high: float | None) -> str | None:
    """Both ends of an interval of a rate, in percent; None where there is no interval."""
    return None if low is None or high is None else f"{_rounded(100 * low, 1)}\u2013{_rounded(100 * high, 1)}"


def points_span(low: float | None, high: float | None) -> str | None:
    """Both ends of an interval of a difference, in percentage points; None where there is no interval."""
    return None if low is None or high is None else f"{points(low)} to {points(high)}"


def finite(value: Any) -> Any:
    """The value itself, or None for a number that isn't finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rounded(value: float, digits: int) -> str:
    shown = f"{value:.{digits}f}"
    return shown.removeprefix("-") if float(shown) == 0 else shown  # no minus before a zero
