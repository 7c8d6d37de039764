"""What a person is shown of an artifact: redacted tables and small pictures.

Belongs here: values for a run's metadata that any door can render. Text is redacted unless `runtime.show_text` is on,
and always escaped: it was written by models.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from spavl_dag.charts import BLUE, INK, new_figure, to_png
from spavl_dag.inference.request import ImageRef
from spavl_dag.media.decode import decode_image
from spavl_dag.text import escape_markdown, redact

ROWS = 8


@dataclass(frozen=True, slots=True)
class Markdown:
    """Text to be rendered as Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG image.

    Attributes:
        png: Encoded bytes.
        title: What it shows.
    """

    png: bytes
    title: str


def table_preview(table: pl.DataFrame, hidden: Collection[str] = (), columns: Sequence[str] | None = None) -> Markdown:
    """The first rows as a Markdown table.

    Args:
        table: Any table of an artifact.
        hidden: Columns whose text is not to be shown (`schemas.hidden_columns`).
        columns: Which columns; all when None.
    """
    names = list(columns or table.columns)
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    for row in table.select(names).head(ROWS).iter_rows(named=True):
        lines.append(" | ".join(_cell(row[name], name not in hidden) for name in names))
    return Markdown("\n".join(f"| {line} |" for line in lines))


def counts_of(table: pl.DataFrame, column: str, what: str, number: str = "count") -> Markdown:
    """How often each value of a column occurs, as a Markdown table."""
    counts = dict(table.group_by(column).len().sort(column).iter_rows())
    return counts_table({"none" if value is None else value: count for value, count in counts.items()}, what, number)


def counts_table(counts: Mapping[str, object], what: str, number: str = "count") -> Markdown:
    """Names and numbers as a Markdown table."""
    lines = [f"| {what} | {number} |", "| --- | --- |"]
    lines += [f"| {escape_markdown(str(name))} | {value} |" for name, value in counts.items()]
    return Markdown("\n".join(lines))


def contact_sheet(refs: Sequence[ImageRef], show: bool, side: int = 72, columns: int = 12) -> Picture:
    """Small copies of images beside each other.

    Args:
        refs: The images.
        show: Whether they may be shown; else they are pixelated beyond recognition.
        side: Side of a copy in pixels.
        columns: Copies per row.
    """
    from PIL import Image

    rows = max(1, -(-len(refs) // columns))
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for place, ref in enumerate(refs):
        small = decode_image(ref.read())
        small.thumbnail((side - 4, side - 4))
        if not show:
            small = small.resize((4, 4)).resize(small.size, Image.Resampling.NEAREST)
        sheet.paste(small, ((place % columns) * side + 2, (place // columns) * side + 2))
    data = io.BytesIO()
    sheet.save(data, format="PNG", optimize=True)
    return Picture(data.getvalue(), f"{len(refs)} images" + ("" if show else ", pixelated (runtime.show_text is off)"))


def bar_chart(
    values: Mapping[str, float],
    title: str,
    axis: str,
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Picture:
    """Horizontal bars, with whiskers where there are intervals.

    Args:
        values: Length of each bar by name, drawn from the top.
        title: What is shown.
        axis: What the length means, with its unit.
        intervals: Lower and upper bound by name.
    """
    figure, axes = new_figure(6.4, 0.9 + 0.26 * len(values))
    names = list(values)
    axes.barh(names, [values[name] for name in names], color=BLUE, height=0.7)
    if intervals:
        for place, name in enumerate(names):
            if name in intervals:
                axes.plot(intervals[name], (place, place), color=INK, linewidth=1.2)
    axes.invert_yaxis()
    return Picture(to_png(figure, title, axis), title)


def line_chart(points: Sequence[tuple[float, float]], title: str, axis: str) -> Picture:
    """A line through points.

    Args:
        points: x and y.
        title: What is shown.
        axis: What x means.
    """
    figure, axes = new_figure(4.8, 2.4)
    axes.plot([x for x, _ in points], [y for _, y in points], color=BLUE, linewidth=1.6)
    return Picture(to_png(figure, title, axis), title)


def _cell(value: object, show_text: bool) -> str:
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, float):
        text = f"{value:.3f}"
    elif isinstance(value, str | list):
        text = redact(text, show_text)
    return escape_markdown(text).replace("\n", " ")
