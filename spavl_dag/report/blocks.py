"""What a report's sections are built of, whatever they are rendered to.

All texts here are plain: rendering escapes them. The one exception is the SVG of a panel, which `charts` has escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mark = Literal["better", "worse"]
"""What a difference from the baseline means, where its interval excludes zero."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Its content.
        note: Smaller text below.
        mark: Colours the text, which says the same in words.
        heat: Share in 0..1 that colours the background.
    """

    text: str
    note: str | None = None
    mark: Mark | None = None
    heat: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head; numbers stand to the right."""

    title: str
    numeric: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first column names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str

    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]

    kind: Literal["bullets"] = "bullets"


@dataclass(frozen=True, slots=True)
class Code:
    """Commands to copy."""

    text: str

    kind: Literal["code"] = "code"


@dataclass(frozen=True, slots=True)
class Panel:
    """One small chart: a title and its SVG."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend: a sample of the line as SVG, and what it stands for."""

    svg: str
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """Small charts with a common legend, and their numbers as a table."""

    panels: tuple[Panel, ...]
    legend: tuple[Key, ...]
    numbers: Table

    kind: Literal["figure"] = "figure"


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that are shown on request."""

    title: str
    blocks: tuple[Block, ...]

    kind: Literal["fold"] = "fold"


Block = Text | Bullets | Code | Table | Figure | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
