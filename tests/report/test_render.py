"""Markdown shows every text literally, and a page shows every text once."""

from __future__ import annotations

import html
import re

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from spavl_dag.report.blocks import Cell, Column, Section, Table, Text

from spavl_dag.report.render import render_markdown

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
    found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)
    assert not any("<" in text for text in found), page
    return [" ".join(html.unescape(text).replace("\u2060", "").split()) for text in found]


def plain(text: str) -> str:
    """What is expected to be seen: without blank letters, on one line."""
    return " ".join(re.sub("[\u2800\u3164\uffa0]", "", text).split())


@given(TEXTS)
def test_paragraphs_are_literal(text: str) -> None:
    markdown = render_markdown([Section("a", "A", (Text(f"begin {text}"), Text(text)))])
    assert shown(markdown, "p") == [p for p in (plain(f"begin {text}"), plain(text)) if p]


@given(TEXTS)
def test_cells_are_literal(text: str) -> None:
    table = Table("caption", (Column("a"), Column("b", numeric=True)), ((Cell("x"), Cell(text)),))
    assert shown(render_markdown([Section("a", "A", (table,))]), "td") == ["x", plain(text)]
