"""Sections as one HTML page, and as Markdown.

Everything is escaped here: the page by Jinja, the Markdown word by word. The page needs nothing from outside and runs
no script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spavl_dag.report.blocks import Block, Bullets, Cell, Code, Column, Figure, Fold, Section, Table, Text
from spavl_dag.report.charts import COLOURS
from spavl_dag.text import escape_html, escape_markdown

TITLE = "SPA-VL: alignment report"

# Words that mean nothing to Markdown wherever they stand: letters, or a number, with the punctuation of a sentence.
_NUMBER = r"[\u2212+]?\d+(?:[.,]\d+)*"
_PLAIN_WORD = re.compile(
    rf"\(?[A-Za-z]+(?:-[A-Za-z]+)*\)?[,;:]?|[A-Za-z]{{2,}}\)?[.]|\(?{_NUMBER}[,;:]?"
    rf"|\(?(?:{_NUMBER}\u2013)?[\u2212+]?\d+\.\d+\)?[,;:]?|[%\u2013]"
)


def render_html(sections: Sequence[Section]) -> str:
    """A self-contained page."""
    environment = Environment(
        loader=PackageLoader("spavl_dag.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Besides escaping, this drops invisible and bidirectional characters.
    environment.filters["literal"] = lambda text: Markup(escape_html(text))
    environment.filters["drawn"] = Markup
    return environment.get_template("report.html.j2").render(title=TITLE, sections=sections, colours=range(COLOURS))


def render_markdown(sections: Sequence[Section]) -> str:
    """The same in Markdown; charts are given as their numbers."""
    lines = [f"# {_inline(TITLE)}", ""]
    for section in sections:
        lines += [f"## {_inline(section.title)}", ""]
        for block in section.blocks:
            lines += _markdown(block)
    return "\n".join(lines).rstrip() + "\n"


def _markdown(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield from (_inline(block.text), "")
        case Bullets():
            yield from (f"- {_inline(item)}" for item in block.items)
            yield ""
        case Code():
            yield from (f"    {line}" for line in block.text.splitlines())
            yield ""
        case Figure():
            yield from _markdown(block.numbers)
        case Fold():
            yield from (f"### {_inline(block.title)}", "")
            for inner in block.blocks:
                yield from _markdown(inner)
        case Table():
            yield from (f"{_inline(block.caption)}:", "")
            yield _row([_head(column) for column in block.columns])
            yield _row(["---:" if column.numeric else "---" for column in block.columns])
            yield from (_row([_cell(cell) for cell in row]) for row in block.rows)
            yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(column: Column) -> str:
    return _inline(f"{column.title} ({column.note})" if column.note else column.title)


def _cell(cell: Cell) -> str:
    return _inline(f"{cell.text} ({cell.note})" if cell.note else cell.text)


def _inline(text: str) -> str:
    """Text that Markdown shows literally; plain words are left as they are, so that the source can be read too."""
    return " ".join(word if _PLAIN_WORD.fullmatch(word) else escape_markdown(word) for word in text.split())
