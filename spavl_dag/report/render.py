"""Templates as HTML and as Markdown: one content, written by the macros of one format or the other.

Whatever a template puts out is escaped here, in both formats: a value is shown literally, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined
from markupsafe import Markup

from spavl_dag.report import numbers
from spavl_dag.text import escape_html, escape_markdown, redact

Format = Literal["html", "markdown"]

_ESCAPES: Mapping[Format, Callable[[str], str]] = {"html": escape_html, "markdown": escape_markdown}


class Column(NamedTuple):
    """A column's head; numbers stand to the right."""

    title: str
    note: str | None = None
    number: bool = False


def losses(lost: Mapping[str, int]) -> str:
    """How many were lost for which reason, most first."""
    return "; ".join(f"{reason} {n:,}" for reason, n in sorted(lost.items(), key=lambda item: (-item[1], item[0])))


@cache
def environment(format_: Format) -> Environment:
    """Templates whose values are escaped for a format; `f` holds the format's macros."""
    escape = _ESCAPES[format_]

    def shown(value: Any) -> Markup:
        if isinstance(value, Markup):
            return value
        nothing = value is None or type(value) is Undefined  # what `x if y` gives without y; a lacking name is an error
        return Markup(escape(numbers.NOTHING if nothing else str(value)))

    made = Environment(
        loader=PackageLoader("spavl_dag.report"),
        autoescape=True,  # what `finalize` has escaped is Markup: it is not escaped again
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {name: getattr(numbers, name) for name in ("percent", "points", "p_value", "plain", "short")}
    made.filters |= {"thousands": "{:,}".format, "redact": redact, "losses": losses, "col": Column, "num": _number}
    made.filters |= {"drawn": Markup, "one_line": lambda text: Markup(" ".join(text.split()))}
    made.globals |= {
        "col": Column,
        "num": _number,
        "span": numbers.span,
        "points_span": numbers.points_span,
    }
    made.globals["f"] = made.get_template(f"{format_}.j2").module
    return made


def render(template: str, format_: Format, **context: Any) -> str:
    """A template, filled in; in Markdown at most one line in a row is empty.

    Args:
        template: Its name in `templates/`.
        format_: What is escaped for, and whose macros are used.
        **context: What the template reads.
    """
    text = environment(format_).get_template(template).render(**context)
    if format_ == "html":
        return text
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for i, line in enumerate(lines) if line or (i and lines[i - 1])]
    return "\n".join(kept).strip() + "\n"


def _number(title: str, note: str | None = None) -> Column:
    return Column(title, note, number=True)
