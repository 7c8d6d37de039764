"""Markdown shows every text literally, and a page shows every text once."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from spavl_dag.report.render import Format, environment

WORDS = st.sampled_from(
    [
        *(
            "1.",
            "1)",
            "(1)",
            "12)",
            "-",
            "+",
            "+1",
            "#",
            ">",
            "*a*",
            "_b_",
            "a:",
            "http:",
            "www.",
            "1.5)",
            "[x]",
            "(a)",
        ),
        *("&amp;", "<b>", "|", "\\", "`", "~~~", "===", "2,000", "44.0", "\u22123.4", "1.5\u20135.8,", "a.", "A.", "%"),
    ]
)
TEXTS = st.one_of(
    st.lists(WORDS, min_size=1, max_size=8).map(" ".join),
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=40),
)


def shown(markdown: str, tag: str) -> list[str]:
    """Text of all elements of a kind, as a reader sees it."""
    page = MarkdownIt("commonmark").enable("table").render(markdown)
    found = re.findall(rf"<{tag}(?: [^>]*)?>(.*?)</{tag}>", page, re.DOTALL)
    assert not any("<" in text for text in found), page
    return [" ".join(html.unescape(text).replace("\u2060", "").split()) for text in found]


def plain(text: str) -> str:
    """What is expected to be seen: without blank letters, on one line."""
    return " ".join(re.sub("[\u2800\u3164\uffa0]", "", text).split())


def written(template: str, text: str, format_: Format = "markdown") -> str:
    return environment(format_).from_string(template).render(text=text)


@given(TEXTS)
def test_paragraphs_are_literal(text: str) -> None:
    template = "{% call f.p() %}begin {{ text }}{% endcall %}{% call f.p() %}{{ text }}{% endcall %}"
    assert shown(written(template, text), "p") == [p for p in (plain(f"begin {text}"), plain(text)) if p]


@given(TEXTS)
def test_cells_are_literal(text: str) -> None:
    template = """{% call f.table(text, [col("a"), num(text)]) %}
{% call f.row() %}{{ f.name("x", "note") }}{{ f.number(text) }}{% endcall %}
{% endcall %}"""
    markdown = written(template, text)
    assert shown(markdown, "td") == ["x (note)", plain(text)]
    assert shown(markdown, "th") == ["a", plain(text)]


@given(TEXTS)
def test_pages_are_literal(text: str) -> None:
    page = written("{{ f.cell(text, text, head=text) }}", text, "html")
    cell = re.fullmatch(r'<td data-head="([^"]*)">([^<]*)<small>([^<]*)</small></td>\n', page)
    assert cell, page
    assert {plain(html.unescape(part)) for part in cell.groups()} == {plain(text)}


def test_what_is_lacking_is_an_error_and_nothing_is_a_dash() -> None:
    for format_ in ("html", "markdown"):
        assert environment(format_).from_string("{{ x }}{{ 1 if x }}").render(x=None) == "\u2013\u2013"
        with pytest.raises(UndefinedError):
            environment(format_).from_string("{{ lacking }}").render()


def test_both_formats_have_the_same_parts() -> None:
    parts = {
        format_: {name for name in dir(environment(format_).globals["f"]) if not name.startswith("_")}
        for format_ in ("html", "markdown")
    }
    assert parts["html"] == parts["markdown"]
