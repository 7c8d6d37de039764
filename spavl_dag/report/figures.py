"""The charts of a report: each 360 units wide, side by side on a wide window, one below the other on a narrow one.

Lines differ in colour, dashes and markers; each chart has a title and a description for those who don't see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from spavl_dag.charts import (
    BAD,
    DASHES,
    EDGE,
    GOOD,
    GREY,
    LINES,
    MARKERS,
    Margins,
    draw_calibration,
    new_figure,
    to_svg,
)
from spavl_dag.report.numbers import MINUS, Mark, percent, points, points_span, short
from spavl_dag.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 5.0, 3.2  # inches of 72 units
_FOR_NUMBERS: Margins = (0.78, 0.6, 0.22, 0.08)
_FOR_LABELS: Margins = (1.9, 0.4, 0.22, 0.08)
_MAX_POINTS = 120
_MAX_LABEL = 20

# Drawing takes a twentieth of a second, and both formats ask for it.
_drawn_once = lru_cache(maxsize=512)

EffectKind = Literal["better", "same", "worse"]
EFFECTS: Mapping[EffectKind, tuple[str, str]] = {"better": (GOOD, "D"), "same": (GREY, "o"), "worse": (BAD, "s")}
"""Colour and marker of an effect."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: what it shows, and its SVG; `label` stands for what a legend names."""

    label: str
    svg: str


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line, with an interval where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart; its style is a number that decides colour, dashes and marker."""

    label: str
    points: tuple[Point, ...]
    style: int
    markers: bool = True


@dataclass(frozen=True, slots=True)
class Effect:
    """A row of a forest plot: an estimate with its interval, and what it means."""

    label: str
    value: float
    low: float
    high: float
    mark: Mark | None


class Rate(NamedTuple):
    """A rate with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Place:
    """A mark in a chart of two rates; its style is a number that decides colour and marker."""

    label: str
    across: Rate
    up: Rate
    style: int


@_drawn_once
def forest_plot(name: str, title: str, effects: tuple[Effect, ...]) -> str:
    """Differences from the baseline with their intervals around zero, one row each."""
    figure, axes = _empty(0.5 + 0.28 * len(effects), _FOR_LABELS)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.grid(axis="x", color=EDGE, linewidth=0.8)
    for row, effect in enumerate(effects):
        color, marker = EFFECTS[effect.mark or "same"]
        axes.plot((effect.low, effect.high), (row, row), color=color, linewidth=2)
        axes.plot(effect.value, row, marker, color=color, markersize=6)
    axes.set_yticks(range(len(effects)), [_shortened(effect.label) for effect in effects])
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _written(axes.xaxis, lambda value: f"{100 * value:+.3g}".replace("-", MINUS) if value else "0", most=5)
    told = "; ".join(f"{e.label} {points(e.value)} ({points_span(e.low, e.high)})" for e in effects)
    return to_svg(figure, name, f"{title}, difference in points", one_line(told))


@_drawn_once
def scale_chart(name: str, title: str, ours: tuple[Line, ...], others: tuple[Line, ...] = ()) -> str:
    """Rates over the number of training pairs, which is logarithmic; only ours are described."""
    from matplotlib.ticker import LogLocator

    figure, axes = _empty()
    lines = (*ours, *others)
    _draw(axes, lines)
    axes.set_xscale("log")
    axes.minorticks_off()
    sizes = [point.x for line in lines for point in line.points]
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if max(sizes) > 100 * min(sizes) else (1, 2, 5)))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training pairs", fontsize=11)
    _written(axes.xaxis, lambda pairs: f"{pairs:g}" if pairs < 1000 else f"{pairs / 1000:g}k")
    _written(axes.yaxis, _whole_percent, most=6)
    told = (f"{line.label}: {', '.join(f'{percent(p.y)} with {p.x:,.0f} pairs' for p in line.points)}" for line in ours)
    return to_svg(figure, name, f"{title} over training pairs", one_line("; ".join(told)))


@_drawn_once
def trade_off_chart(name: str, across: str, up: str, places: tuple[Place, ...]) -> str:
    """Two rates of each checkpoint, one over the other, with both intervals."""
    figure, axes = _empty()
    axes.grid(color=EDGE, linewidth=0.8)
    for place in places:
        color = _color(place.style)
        axes.plot(place.across[1:], (place.up.value,) * 2, color=color, linewidth=1.2)
        axes.plot((place.across.value,) * 2, place.up[1:], color=color, linewidth=1.2)
        axes.plot(place.across.value, place.up.value, _marker(place.style), color=color, markersize=7)
    axes.set_xlabel(across, fontsize=11)
    axes.set_ylabel(up, fontsize=11, color=GREY)
    _written(axes.xaxis, _whole_percent, most=6)
    _written(axes.yaxis, _whole_percent, most=6)
    told = "; ".join(f"{p.label}: {percent(p.across.value)} and {percent(p.up.value)}" for p in places)
    return to_svg(figure, name, f"{up} over {across}", one_line(told))


@_drawn_once
def curve_chart(name: str, title: str, lines: tuple[Line, ...]) -> str:
    """A metric over the steps of trainings."""
    figure, axes = _empty()
    _draw(axes, lines)
    axes.set_xlabel("step", fontsize=11)
    _written(axes.xaxis, "{:,.0f}".format, most=6)
    _written(axes.yaxis, short, most=6)
    told = "; ".join(f"{ln.label} from {short(ln.points[0].y)} to {short(ln.points[-1].y)}" for ln in lines)
    return to_svg(figure, name, title, one_line(told))


def calibration_chart(name: str, bins: Sequence[Mapping[str, float]]) -> str:
    """How often the preferred answer is the chosen one over how sure the model is, with the pairs of each point."""
    figure, axes = _empty()
    draw_calibration(axes, bins)
    axes.set_xlabel("confidence (beside each point: pairs)", fontsize=11)
    _written(axes.xaxis, _whole_percent, most=6)
    _written(axes.yaxis, _whole_percent, most=6)
    told = "; ".join(
        f"right in {percent(row['accuracy'])} of {row['n']:g} where {percent(row['confidence'])} sure" for row in bins
    )
    return to_svg(figure, name, "Calibration of the reward model", told)


@_drawn_once
def line_sample(name: str, style: int) -> str:
    """A short piece of a line, for a legend."""
    return _sample(f"{name}-{style}", _color(style), _marker(style), DASHES[style % len(DASHES)])


@_drawn_once
def effect_sample(kind: EffectKind) -> str:
    """The marker of an effect, for a legend."""
    return _sample(f"effect-{kind}", *EFFECTS[kind])


def thinned(curve: Sequence[tuple[float, float]]) -> tuple[Point, ...]:
    """A curve as at most 120 points: each is the mean of a stretch of steps, drawn at its last step."""
    size = max(1, math.ceil(len(curve) / _MAX_POINTS))
    stretches = [curve[i : i + size] for i in range(0, len(curve), size)]
    return tuple(Point(s[-1][0], math.fsum(y for _, y in s) / len(s)) for s in stretches)


def _empty(height: float = _HEIGHT, margins: Margins = _FOR_NUMBERS) -> tuple[Figure, Axes]:
    figure, axes = new_figure(_WIDTH, height, margins)
    axes.tick_params(labelsize=11, labelcolor=GREY, color=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.spines[["left", "bottom"]].set_color(EDGE)
    return figure, axes


def _draw(axes: Axes, lines: Sequence[Line]) -> None:
    axes.grid(axis="y", color=EDGE, linewidth=0.8)
    for line in lines:
        color, marker = _color(line.style), _marker(line.style) if line.markers else ""
        x, y = [point.x for point in line.points], [point.y for point in line.points]
        axes.plot(
            x, y, color=color, marker=marker, linestyle=DASHES[line.style % len(DASHES)], linewidth=2, markersize=6
        )
        for point in line.points:
            if point.low is not None and point.high is not None:
                axes.plot((point.x, point.x), (point.low, point.high), color=color, linewidth=1.2)


def _written(axis: Axis, write: Callable[[float], str], most: int | None = None) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    if most is not None:
        axis.set_major_locator(MaxNLocator(most, steps=(1, 2, 5, 10)))


def _sample(name: str, color: str, marker: str, dashes: Any = "-") -> str:
    figure, axes = new_figure(28 / 72, 12 / 72, (0.04, 0, 0.04, 0))
    axes.set_axis_off()
    axes.plot((0, 1), (0, 0), color=color, linestyle=dashes, linewidth=2)
    axes.plot(0.5, 0, marker, color=color, markersize=6)
    return to_svg(figure, name)


def _color(style: int) -> str:
    return LINES[style % len(LINES)]


def _marker(style: int) -> str:
    return MARKERS[style % len(MARKERS)]


def _whole_percent(share: float) -> str:
    return f"{100 * share:g} %"


def _shortened(label: str) -> str:
    label = one_line(label)
    return label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 1]}…"
