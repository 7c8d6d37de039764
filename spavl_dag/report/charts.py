"""Small charts as SVG, drawn with the page's own colours so that they follow light and dark.

Every chart is a panel 360 units wide: side by side on a wide window, one below the other on a narrow one, readable on
both. Lines differ in colour, dashes and markers; each chart has a title and a description for those who don't see it.
Everything written into it is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from spavl_dag.report.blocks import Mark
from spavl_dag.text import escape_html

EffectKind = Literal["better", "same", "worse"]

WIDTH = 360
COLOURS = 6
"""Number of line colours that the page's style sheet defines, as `--line-0` and so on."""

_DASHES = ("", "6 3", "2 2", "8 3 2 3")
_MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 18, 10, 40
_CHARACTER = 6.5
"""About how wide a character of a label is."""
_HEIGHT = 230
_MAX_POINTS = 120


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line, with an interval where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Attributes:
        label: What it stands for.
        points: In the order of x.
        style: Number that decides colour, dashes and markers; None draws a thin grey line to compare with.
        markers: Whether each point is marked.
    """

    label: str
    points: tuple[Point, ...]
    style: int | None
    markers: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """A chart's axis: what it measures, how its numbers are written, what it must reach, whether it is logarithmic."""

    label: str
    write: Callable[[float], str]
    include: tuple[float, ...] = ()
    log: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """A row of a forest plot: an estimate with its interval, and what it means."""

    label: str
    value: float
    low: float
    high: float
    mark: Mark | None


def line_chart(name: str, title: str, description: str, lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """Lines over a common x.

    Args:
        name: Unique in the document; letters, digits and hyphens.
        title: What is shown, in a few words.
        description: What is to be seen, in a sentence.
        lines: At least one line with a point.
        x: The horizontal axis.
        y: The vertical axis.
    """
    every = [point for line in lines for point in line.points]
    ends = [end for p in every for end in (p.y, p.low, p.high) if end is not None]
    x_ticks = log_ticks([p.x for p in every]) if x.log else ticks([*(p.x for p in every), *x.include])
    y_ticks = ticks([*ends, *y.include])
    left = 16 + _CHARACTER * max(len(y.write(tick)) for tick in y_ticks)
    place_x = _scale(x_ticks[0], x_ticks[-1], left, WIDTH - _MARGIN_RIGHT, x.log)
    place_y = _scale(y_ticks[0], y_ticks[-1], _HEIGHT - _MARGIN_BOTTOM, _MARGIN_TOP)
    parts = []
    for tick in y_ticks:
        at = place_y(tick)
        parts.append(_tag("line", x1=left, x2=WIDTH - _MARGIN_RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(_tag("text", y.write(tick), x=left - 5, y=at + 4, class_="end"))
    for tick in x_ticks:
        at, base = place_x(tick), _HEIGHT - _MARGIN_BOTTOM
        parts.append(_tag("line", x1=at, x2=at, y1=base, y2=base + 4, class_="axis"))
        parts.append(_tag("text", x.write(tick), x=at, y=base + 16, class_="middle"))
    parts.append(_tag("text", x.label, x=(left + WIDTH - _MARGIN_RIGHT) / 2, y=_HEIGHT - 6, class_="middle"))
    for line in lines:
        parts += _draw(line, place_x, place_y)
    return _svg(name, title, description, _HEIGHT, parts)


def forest_plot(
    name: str, title: str, description: str, effects: Sequence[Effect], write: Callable[[float], str]
) -> str:
    """Estimates with their intervals around zero, one row each.

    Args:
        name: Unique in the document; letters, digits and hyphens.
        title: What is shown, in a few words.
        description: What is to be seen, in a sentence.
        effects: At least one.
        write: How a number on the axis is written.
    """
    left, row = 132.0, 20
    bottom = _MARGIN_TOP + row * len(effects)
    marks = ticks([0.0, *(end for e in effects for end in (e.low, e.high))], wanted=4)
    place = _scale(marks[0], marks[-1], left, WIDTH - _MARGIN_RIGHT)
    parts = []
    for tick in marks:
        at = place(tick)
        parts.append(_tag("line", x1=at, x2=at, y1=_MARGIN_TOP, y2=bottom, class_="axis" if tick == 0 else "grid"))
        parts.append(_tag("text", write(tick), x=at, y=bottom + 14, class_="middle"))
    for index, effect in enumerate(effects):
        at = _MARGIN_TOP + row * (index + 0.5)
        kind: EffectKind = effect.mark or "same"
        parts.append(_tag("text", _short(effect.label, 20), x=left - 8, y=at + 4, class_="end"))
        parts.append(_tag("line", x1=place(effect.low), x2=place(effect.high), y1=at, y2=at, class_=f"span {kind}"))
        parts.append(_marker(_EFFECT_MARKERS[kind], place(effect.value), at, f"dot {kind}"))
    return _svg(name, title, description, bottom + 22, parts)


def sample(style: int) -> str:
    """A short piece of a line, for a legend."""
    line = Line("", (Point(2, 6), Point(26, 6)), style, markers=False)
    return _sample([*_draw(line, float, float), _marker(style % 4, 14, 6, f"dot line-{style % COLOURS}")])


def sample_effect(kind: EffectKind) -> str:
    """The marker of an effect, for a legend."""
    span = _tag("line", x1=2, x2=26, y1=6, y2=6, class_=f"span {kind}")
    return _sample([span, _marker(_EFFECT_MARKERS[kind], 14, 6, f"dot {kind}")])


def thinned(points: Sequence[tuple[float, float]]) -> tuple[Point, ...]:
    """A curve as at most 120 points: each is the mean of a stretch of steps, drawn at its last step."""
    size = max(1, math.ceil(len(points) / _MAX_POINTS))
    stretches = [points[i : i + size] for i in range(0, len(points), size)]
    return tuple(Point(s[-1][0], math.fsum(y for _, y in s) / len(s)) for s in stretches)


def ticks(values: Sequence[float], wanted: int = 5) -> list[float]:
    """Round numbers that enclose all values, about so many as wanted."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - abs(low) * 0.5 - (low == 0), high + abs(high) * 0.5 + (high == 0)
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    # Whole multiples, so that 0 is 0 and not 1e-17.
    return [round(k * step, 12) for k in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def log_ticks(values: Sequence[float]) -> list[float]:
    """Powers of ten that enclose all values; they must be positive."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _scale(low: float, high: float, start: float, end: float, log: bool = False) -> Callable[[float], float]:
    measure: Callable[[float], float] = math.log10 if log else float
    first, last = measure(low), measure(high)
    return lambda value: start + (measure(value) - first) / (last - first) * (end - start)


def _draw(line: Line, place_x: Callable[[float], float], place_y: Callable[[float], float]) -> list[str]:
    kind = "reference" if line.style is None else f"line-{line.style % COLOURS}"
    dashes = "3 3" if line.style is None else _DASHES[line.style % len(_DASHES)]
    route = " ".join(f"{_number(place_x(p.x))},{_number(place_y(p.y))}" for p in line.points)
    parts = [_tag("polyline", points=route, stroke_dasharray=dashes, class_=f"line {kind}")]
    for point in line.points:
        at = place_x(point.x)
        if point.low is not None and point.high is not None:
            parts.append(
                _tag("line", x1=at, x2=at, y1=place_y(point.low), y2=place_y(point.high), class_=f"bar {kind}")
            )
        if line.markers:
            parts.append(_marker((line.style or 0) % 4, at, place_y(point.y), f"dot {kind}"))
    return parts


_EFFECT_MARKERS: dict[EffectKind, int] = {"same": 0, "worse": 1, "better": 2}


def _marker(shape: int, x: float, y: float, kind: str) -> str:
    """Circle, square, diamond or triangle."""
    match shape:
        case 0:
            return _tag("circle", cx=x, cy=y, r=3.5, class_=kind)
        case 1:
            return _tag("rect", x=x - 3.2, y=y - 3.2, width=6.4, height=6.4, class_=kind)
        case 2:
            corners = [(0.0, -4.6), (4.6, 0.0), (0.0, 4.6), (-4.6, 0.0)]
        case _:
            corners = [(0.0, -4.4), (4.4, 3.4), (-4.4, 3.4)]
    return _tag("polygon", points=" ".join(f"{_number(x + dx)},{_number(y + dy)}" for dx, dy in corners), class_=kind)


def _svg(name: str, title: str, description: str, height: float, parts: Sequence[str]) -> str:
    ids = f"{name}-title {name}-description"
    head = _tag("title", title, id=f"{name}-title") + _tag("desc", description, id=f"{name}-description")
    size = f'viewBox="0 0 {WIDTH} {_number(height)}"'
    return f'<svg {size} role="img" aria-labelledby="{escape_html(ids)}">{head}{"".join(parts)}</svg>'


def _sample(parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">{"".join(parts)}</svg>'


def _tag(tag: str, text: str | None = None, **attributes: str | float) -> str:
    """One element; an underscore in an attribute's name is a hyphen, and one at its end is dropped."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape_html(value if isinstance(value, str) else _number(value))}"'
        for name, value in attributes.items()
        if value != ""
    )
    return f"<{tag}{written}/>" if text is None else f"<{tag}{written}>{escape_html(text)}</{tag}>"


def _number(value: float) -> str:
    """With one decimal, which is finer than the eye sees and the same on every machine."""
    shown = f"{value:.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
