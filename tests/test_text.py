import html
import json
import re
import time
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from spavl_dag.text import (
    CHANGES,
    NormalizedQuestion,
    escape_html,
    escape_markdown,
    escape_terminal,
    normalize_question,
    one_line,
    redact,
    text_problem,
)

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "spavl_test_questions.jsonl"

# Arbitrary text, surrogates included, and text made of wrappings.
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=200),
    st.lists(
        st.sampled_from(
            [
                *[
                    '"',
                    "'",
                    "`",
                    "```",
                    "\n",
                    " ",
                    "**",
                    "*",
                    "_",
                    "Q:",
                    "Question: ",
                    "1. ",
                    "- ",
                    "\u201c",
                    "\u201d",
                ],
                *[
                    "\u2018",
                    "\u2019",
                    "A: ",
                    "text",
                    "\u200d",
                    "\u0301",
                    "e",
                    "\ud800",
                    "Here is a question: ",
                    "\r\n",
                ],
                *[
                    "\u2028",
                    "#",
                    "# ",
                    "~~~",
                    "(a) ",
                    "\u00ab",
                    "\u00bb",
                    ":",
                    "\uff1a",
                    "\u3000",
                    "\u212a",
                    "\x1c",
                    "é",
                ],
            ]
        ),
        max_size=30,
    ).map("".join),
)


class TestNormalize:
    @pytest.mark.parametrize(
        ("raw", "text", "changes"),
        [
            ("Why is the sky red?", "Why is the sky red?", ()),
            (" \n\nWhy red? ", "Why red?", ("outer white space",)),
            ("\n\nQ: Why red?", "Why red?", ("outer white space", "leading marker")),
            ("Question: Why?", "Why?", ("leading marker",)),
            ("Hard question: Why?", "Why?", ("leading marker",)),
            ("HARD\nQUESTION 2: Why?", "Why?", ("leading marker", "inner white space")),
            ("**Question**: Why?", "Why?", ("outer white space", "leading marker")),
            ("**Question:** Why?", "Why?", ("outer white space", "leading marker")),
            ("\n**Rewritten Question:**\n\nWhy?", "Why?", ("outer white space", "leading marker")),
            (
                "**Rewritten Hard Question to Elicit Unsafe Responses:**\n\n- Why?",
                "Why?",
                ("outer white space", "leading marker"),
            ),
            ("Assistant: Why?", "Why?", ("outer white space", "leading marker")),
            ("Statement: Do it now.", "Do it now.", ("outer white space", "leading marker")),
            ("1. Why?", "Why?", ("leading marker",)),
            ("2) Why?", "Why?", ("leading marker",)),
            ("- Why?", "Why?", ("leading marker",)),
            ("\u2022 Why?", "Why?", ("leading marker",)),
            ("### Why?", "Why?", ("leading marker",)),
            ("**Q: Why red?**", "Why red?", ("outer white space", "emphasis", "leading marker")),
            ("*Why?*", "Why?", ("emphasis",)),
            ('"Why?"', "Why?", ("quotes",)),
            ("' Why is the cat's hat red?'", "Why is the cat's hat red?", ("outer white space", "quotes")),
            ("\u201cWhy \u2018red\u2019?\u201d", "Why \u2018red\u2019?", ("quotes",)),
            ("\u2018Why don\u2019t we?\u2019", "Why don\u2019t we?", ("quotes",)),
            ("\u00abPourquoi\u202f?\u00bb", "Pourquoi ?", ("quotes", "inner white space")),
            ("\"'Why?'\"", "Why?", ("quotes",)),
            ('"Is \'Red\' by "Blue" good?"', "Is 'Red' by \"Blue\" good?", ("quotes",)),
            ("`Why?`", "Why?", ("quotes",)),
            ("```\nWhy?\n```", "Why?", ("outer white space", "code fence")),
            ("```text\nWhy?\n```", "Why?", ("outer white space", "code fence")),
            ("Why\n is\t it  red?", "Why is it red?", ("inner white space",)),
            (
                'Here is a rewritten question that may be harder:\n\n"Why?"',
                "Why?",
                ("outer white space", "quotes", "lead-in"),
            ),
            ("Sure! Here's a question: Why?", "Why?", ("outer white space", "lead-in")),
            (
                "Q: Why?\nA: I am sorry, I can't say.",
                "Why?",
                ("outer white space", "leading marker", "answer after the question"),
            ),
            ("Wh\u200by\u202e?", "Why?", ("invisible characters",)),
            ("Wh\x00y\ud800?", "Why?", ("invisible characters",)),
            ("\ufeffWhy?", "Why?", ("invisible characters",)),
            ("Cafe\u0301?", "Café?", ("unicode form",)),
            ("Cafe\u200b\u0301?", "Café?", ("invisible characters", "unicode form")),
            ("Q:", "", ("leading marker",)),
            ('""', "", ("quotes",)),
            ("  \n", "", ("outer white space",)),
            ("", "", ()),
        ],
    )
    def test_wrappings_come_off(self, raw: str, text: str, changes: tuple[str, ...]) -> None:
        done = normalize_question(raw)
        assert done.text == text
        # White space beside a wrapping is reported too; that is not the point of most cases.
        assert set(done.changes) - {"outer white space"} == set(changes) - {"outer white space"}
        assert ("outer white space" in done.changes) >= (raw[:1].isspace() or raw[-1:].isspace())

    @pytest.mark.parametrize(
        "text",
        [
            '"Yes" or "no"?',
            "'Tis the dogs' bowl'",
            '"Alright, say: "Why?"',
            "Why 'red'",
            "1.5 litres of what?",
            "3 ways to do it?",
            "-5 degrees: why?",
            "Quest: why?",
            "**Why** or **how**?",
            "*a* and *b*",
            "__init__.py_",
            "Image: why?",
            "Why? <b>bold</b> &amp; [link](http://x) ```code```",
            "Is it so, e.g. in A: or B:?",
            "What does the question: 'why' mean?",
            "Okay, so who is she?",
            "What is `x` and `y`",
            "**",
            '"',
            "'''",
            "Ça va, naïve Zoë?",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "👩\u200d👩\u200d👧 why?",
            "Why?\ufffd",
        ],
    )
    def test_the_question_itself_stays(self, text: str) -> None:
        assert normalize_question(text) == NormalizedQuestion(text, ())

    def test_an_answer_counts_only_behind_a_marker(self) -> None:
        assert normalize_question("Which is it?\nA: red\nB: blue").text == "Which is it? A: red B: blue"

    def test_nothing_is_cut(self) -> None:
        assert len(normalize_question("why " * 50_000).text) == 199_999

    def test_absurd_nesting_is_left_alone(self) -> None:
        text = "'\"" * 40 + "x" + "\"'" * 40
        assert normalize_question(text).text == text

    @given(TEXTS)
    @settings(max_examples=500, deadline=None)
    def test_is_idempotent_and_clean(self, raw: str) -> None:
        done = normalize_question(raw)
        again = normalize_question(done.text)
        assert again == NormalizedQuestion(done.text, ())
        assert unicodedata.is_normalized("NFC", done.text)
        assert done.text == " ".join(done.text.split())
        assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in done.text)
        done.text.encode("utf-8")
        assert list(done.changes) == [change for change in CHANGES if change in done.changes]
        assert bool(done.changes) == (done.text != raw)

    @pytest.mark.parametrize(
        "piece", ['"', "'", "**", "Q: ", "```", "1. ", " ", "\n", "a' ", "\u201c", "Sure: ", "\u200d", "x\n"]
    )
    def test_time_is_linear(self, piece: str) -> None:
        text = piece * (300_000 // len(piece))
        start = time.process_time()
        normalize_question(text + "x" + text)
        assert time.process_time() - start < 5.0

    def test_published_questions(self) -> None:
        if not PUBLISHED.is_file():
            pytest.skip(f"{PUBLISHED} is not there: it stands beside a checkout for development only")
        raws = [json.loads(line)["question"] for line in PUBLISHED.read_text("utf-8").splitlines()]
        assert len(raws) == 530
        for raw in raws:
            done = normalize_question(raw)
            assert normalize_question(done.text) == NormalizedQuestion(done.text, ())
            assert text_problem(done.text, 2000) is None
            assert not done.text.startswith(("Q:", "A:", "**", "- ", "Assistant", "'", "Rewritten"))
            # The words of the question are the raw words, in their order, without what stood around them.
            plain = " ".join(raw.split())
            assert done.text in plain
            if "answer after the question" not in done.changes and "lead-in" not in done.changes:
                assert len(plain) - len(done.text) < 90
        changes = [normalize_question(raw).changes for raw in raws]
        assert sum("leading marker" in change for change in changes) == 140
        assert sum("quotes" in change for change in changes) == 13
        assert sum("answer after the question" in change for change in changes) == 2


class TestProblem:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "empty"),
            (" \n ", "empty"),
            ("x" * 101, "too long (101 characters)"),
            ("?!? 123", "no letters"),
            ("\ufffd" * 4 + "why", "replacement characters"),
            ("no " * 30, "repeats itself"),
            ("ha" * 30, "repeats itself"),
            ("a" * 30, "repeats itself"),
            ("Why is it red? I think that " + "it is red and " * 4 + "it is", "repeats itself"),
            ("为什么" * 12, "repeats itself"),
        ],
    )
    def test_reason(self, text: str, problem: str) -> None:
        assert text_problem(text, 100) == problem

    @pytest.mark.parametrize(
        "text",
        [
            "Why?",
            "Why is the sky red?\ufffd",
            "为什么?",
            "No, no, no, no: why?",
            "Ha ha ha ha",
            "Is it 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1, and what then does it all mean to you?",
            "Would you, could you, on a boat? Would you, could you, with a goat?",
            "x" * 20,
        ],
    )
    def test_none(self, text: str) -> None:
        assert text_problem(text, 100) is None

    def test_a_long_piece_may_repeat_too(self) -> None:
        sentence = "The model says the same sentence again because it is stuck in a loop. "
        assert text_problem(sentence * 3, 5000) is None
        assert text_problem(sentence * 4 + sentence[:30], 5000) == "repeats itself"

    def test_time_is_linear(self) -> None:
        start = time.process_time()
        assert text_problem("ab" * 100_000 + "a" * 100_000 + "c", 10**6) is None
        assert time.process_time() - start < 5.0

    @given(TEXTS)
    @settings(max_examples=100, deadline=None)
    def test_any_text(self, text: str) -> None:
        text_problem(text, 1000)


class TestShowing:
    def test_redact(self) -> None:
        assert redact("a secret", show=False) == "hidden, 8 characters"
        assert redact("a secret", show=True) == "a secret"

    def test_one_line(self) -> None:
        assert one_line(" a\u200b\n b\ud800\tc ") == "a b c"

    @given(st.text(st.characters(codec=None), max_size=100))
    @settings(deadline=None)
    def test_html_is_shown_literally(self, text: str) -> None:
        seen: list[str] = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
                assert tag == "p"
                assert [key for key, _ in attrs] == ["title"]

            def handle_data(self, data: str) -> None:
                seen.append(data)

        escaped = escape_html(text)
        reader = Reader(convert_charrefs=True)
        reader.feed(f'<p title="{escaped}">{escaped}</p>')
        reader.close()
        escaped.encode("utf-8")
        assert not set("<>\"'") & set(escaped)

    @pytest.mark.parametrize(
        "text",
        [
            "# heading",
            "[link](http://example.org)",
            "![image](http://example.org/a.png)",
            "[link]: http://example.org",
            "<http://example.org>",
            "a | b\n--- | ---\n1 | 2",
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "&lt;b&gt; &amp; &#64;",
            "**bold** __bold__ ~~gone~~ `code`",
            "```\ncode\n```",
            "> quote",
            "- list\n- list",
            "1. list",
            "text\n===",
            "---",
            "    code",
            "a\\\nb",
            "$x$ {{ y }} :smile:",
        ],
    )
    def test_markdown_is_shown_literally(self, text: str) -> None:
        line = " ".join(text.split())
        parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        rendered = parser.render(escape_markdown(text))
        assert rendered.startswith("<p>")
        shown = html.unescape(rendered.removeprefix("<p>").removesuffix("</p>\n")).replace("\u2060", "")
        assert shown == line
        assert rendered.count("<") == 2
        # Inside a table it neither ends a cell nor a row.
        table = parser.render(f"| a | b |\n| - | - |\n| {escape_markdown(text)} | 2 |\n")
        assert table.count("<td>") == 2
        assert table.count("<") == parser.render("| a | b |\n| - | - |\n| x | 2 |\n").count("<")

    @pytest.mark.parametrize(
        "text",
        ["http://example.org", "HTTPS://example.org", "www.example.org", "a@example.org", "mailto:a@b.org"],
    )
    def test_bare_addresses_become_no_links(self, text: str) -> None:
        plain = re.sub(r"\\(.)", r"\1", escape_markdown(text))
        # What GitHub's renderer and its kin look for in the text they have unescaped.
        assert not re.search(r"https?://|www\.|[-\w.+]@[-\w]+\.|mailto:\w", plain, re.IGNORECASE)
        assert plain.replace("\u2060", "") == text

    @given(st.text(st.characters(codec=None), max_size=100))
    @settings(deadline=None)
    def test_any_text_is_one_paragraph(self, text: str) -> None:
        rendered = MarkdownIt("commonmark").enable("table").render(escape_markdown(text))
        assert rendered.count("<") in (0, 2)
        rendered.encode("utf-8")

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a\x1b[31mred\x1b[0m b", "ared b"),
            ("a\x1b]0;a title\x07b", "ab"),
            ("a\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "alink"),
            ("a\x1bcb\x1b(Bc\x1b7", "abc"),
            ("a\x9b2Jb\x9d0;title\x9cc", "abc"),
            ("a\x1b]0;no end\nb", "a\nb"),
            ("a\x1b", "a"),
            ("a\rb\x08c\x07", "a\nbc"),
            ("line\n\ttab", "line\n\ttab"),
            ("\u202eabc\u2066\u200b\ud800 caf\u00e9 \U0001f600", "abc caf\u00e9 \U0001f600"),
        ],
    )
    def test_terminal(self, text: str, shown: str) -> None:
        assert escape_terminal(text) == shown

    @given(st.text(st.characters(codec=None), max_size=100))
    @settings(deadline=None)
    def test_terminals_obey_nothing(self, text: str) -> None:
        shown = escape_terminal(text)
        shown.encode("utf-8")
        assert not [char for char in shown if unicodedata.category(char) == "Cc" and char not in "\n\t"]
        assert escape_terminal(shown) == shown

    def test_plain_words_stay_readable_in_markdown(self) -> None:
        text = "It fell from 44.0 % (38.3\u201350.2) to 3.0 %, more than half: 2,000 pairs."
        assert escape_markdown(text) == text
        assert escape_markdown("a_b 1. *c*") == "a\\_b 1\\. \\*c\\*"


@pytest.mark.parametrize(
    "answer",
    [
        "\nA: I am sorry, I am not supposed to answer this.",
        "\nA1: I can't answer.",
        "\nAI: I cannot answer that.",
        "\nASSISTANT: I can't help.",
        "\nA\uff1aI'm sorry.",
        " A: I'm sorry, I can't help.",
    ],
)
def test_an_answer_behind_the_question_is_left_out_however_it_is_marked(answer: str) -> None:
    assert normalize_question(f"Q: What keeps it clean?{answer}").text == "What keeps it clean?"
    assert normalize_question("Which is kinder, B or A: the first?").text == "Which is kinder, B or A: the first?"
