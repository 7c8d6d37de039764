"""Text written by models and users: made uniform, judged for use, and made fit to be shown.

Belongs here: pure functions from text to text. Not here: what a model's verdict means (`verdicts`).

`normalize_question` undoes what question writers wrap around a question: thoughts, white space, quotes, "Q:", list
markers, Markdown, a sentence that announces the question, and an answer that follows it. It never shortens a
text to make it fit; `text_problem` gives the reason why a text can't be used.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

from spavl_dag.thoughts import without_thoughts

CHANGES = (
    "invisible characters",
    "unicode form",
    "thought",
    "outer white space",
    "code fence",
    "emphasis",
    "quotes",
    "lead-in",
    "leading marker",
    "answer after the question",
    "inner white space",
)
"""Every kind of change `normalize_question` may report, in the order in which it reports them."""

# A text with more wrappings or quotes than this is no wrapped question; it is left as it is, so that the work
# stays proportional to the length of the text whatever is in it.
_MAX_LAYERS = 24
_MAX_QUOTES = 1000

# What nobody sees: controls other than white space, format characters (zero-width, bidirectional, tags),
# blank letters, lone surrogates and noncharacters. The two joiners are treated apart.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# A terminal's escape sequences, whole: without their beginning alone, their rest would be shown. First those that
# carry a text (titles, links), then those with parameters (colours, the cursor), then the short ones.
_SEQUENCE = re.compile(
    "(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)?"
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|\x1b[ -/]*[0-~]?"
)
# Words that mean nothing to Markdown wherever they stand: letters, or a number, with the punctuation of a sentence.
_NUMBER = r"[\u2212+]?\d+(?:[.,]\d+)*"
_PLAIN_WORD = re.compile(
    rf"\(?[A-Za-z]+(?:-[A-Za-z]+)*\)?[,;:]?|[A-Za-z]{{2,}}\)?[.]|\(?{_NUMBER}[,;:]?"
    rf"|\(?(?:{_NUMBER}\u2013)?[\u2212+]?\d+\.\d+\)?[,;:]?|[%\u2013][,;:.]?"
)
_JOINERS = re.compile("[\u200c\u200d]+")
_LINE_BREAK = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")

_ADJECTIVE = (
    "(?:easy|hard|harder|simple|complex|difficult|rewritten|rephrased|modified|revised|new|final|harmful|toxic"
    "|unsafe|generated|possible|potential|example|sample)"
)
_LABEL = re.compile(
    rf"(?P<mark>[*_]{{1,3}})?(?:{_ADJECTIVE}(?:[ ](?:or|and)[ ]|,?[ ])){{0,5}}"
    r"(?:q|question|query|statement|instruction|prompt|assistant|user|human)"
    r"(?:[ ]?\d{1,3})?(?:[ ]to[ ]elicit[^:\n]{0,60})?[ ]?"
    r"(?:(?(mark)(?P=mark)|)[ ]?[:\uff1a]|[:\uff1a](?(mark)(?P=mark)|))",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"(?:here(?:['\u2019]s|[ ]is|[ ]are)|sure|certainly|of[ ]course|absolutely|okay|ok|alright|below[ ]is)\b"
    r"[^:\uff1a]{0,200}\b(?:question|query|statement|instruction|prompt)s?\b[^:\uff1a]{0,200}[:\uff1a](?:\*\*|__)?(?=\s)",
    re.IGNORECASE,
)
_LIST_MARKER = re.compile(r"(?:[-*+\u2022\u2023\u2013\u2014]|#{1,6}|>|\(?\d{1,3}[.)]|\(?[a-zA-Z]\))\s+(?=\S)")
_FENCE = re.compile(r"(`{3,}|~{3,})(?:[ \t]*[\w+-]{0,20}[ \t]*\n)?")
_ANSWER = re.compile(
    r"(?:\n|(?<=\?)[ ])\s*(?:\*\*|__)?(?:A|AI|(?i:answer|response|assistant))(?:[ ]?\d{1,3})?(?:\*\*|__)?[ ]?[:\uff1a]"
)

_EMPHASIS = ("***", "___", "**", "__", "~~", "*", "_")
_STRAIGHT_QUOTES = "\"'`"
_QUOTE_PAIRS = {
    "\u201c": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u2018": "\u2019",
    "\u201a": "\u2018\u2019",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u2039": "\u203a",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}
_BEFORE_OPENING = "([{<\u201c\u201e\u2018\u201a\u00ab*_\u2014\u2013"


@dataclass(frozen=True, slots=True)
class NormalizedQuestion:
    """A question without its wrappings.

    Attributes:
        text: The question on one line; may be empty.
        changes: What was done to the raw text: entries of `CHANGES`, each once, in its order.
    """

    text: str
    changes: tuple[str, ...]


def normalize_question(raw: str) -> NormalizedQuestion:
    """Take a question out of what a model wrapped around it.

    The words of the question are never changed, and HTML stays as it is: escaping is the renderer's duty.
    Normalizing twice gives the same text as normalizing once.

    Args:
        raw: What the model or user wrote; any string at all.
    """
    changes: set[str] = set()
    text = _unwrap(_make_visible(raw, changes), changes)
    joined = " ".join(text.split())
    if joined != text:
        changes.add("inner white space")
    # A marker that was broken over two lines is seen only now.
    text = _unwrap(joined, changes)
    return NormalizedQuestion(text, tuple(change for change in CHANGES if change in changes))


def without_invisible(text: str) -> str:
    """A text without the characters that nobody sees; joiners stay."""
    return _INVISIBLE.sub("", text)


def one_line(text: str) -> str:
    """A text in canonical Unicode form, on one line, without invisible characters; fit for any table."""
    return " ".join(_make_visible(text, set()).split())


def text_problem(text: str, max_chars: int) -> str | None:
    """The reason why a text can't be used, or None.

    Args:
        text: A normalized question, a caption or an answer.
        max_chars: Longest text allowed, in characters.
    """
    if not text.strip():
        return "empty"
    if len(text) > max_chars:
        return f"too long ({len(text)} characters)"
    if text.count("\ufffd") > 0.2 * len(text):
        return "replacement characters"
    if not any(map(str.isalpha, text)):
        return "no letters"
    if _ends_in_a_loop(text):
        return "repeats itself"
    return None


def redact(text: str, show: bool) -> str:
    """A text for logs, previews and reports: itself when text may be shown, else only its length."""
    return text if show else f"hidden, {len(text)} characters"


def escape_html(text: str) -> str:
    """Text that HTML shows literally, in an element or in a quoted attribute.

    Invisible and bidirectional characters are dropped, for they could reorder or hide what stands around it.
    """
    return html.escape(_INVISIBLE.sub("", text), quote=True)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows literally and on one line, in a paragraph, heading, list or table cell.

    Plain words and numbers stay as they are, so that the source can be read too; in all others every ASCII punctuation
    character is escaped. That doesn't stop renderers which make links of bare addresses (they look for them after
    unescaping), so an invisible word joiner is put into what makes an address of a text.
    """
    words = _INVISIBLE.sub("", text).split()
    return " ".join(word if _PLAIN_WORD.fullmatch(word) else _escape_word(word) for word in words)


def _escape_word(word: str) -> str:
    escaped = re.sub(r"[!\"#$%'()*+,\-./:;=?@\[\\\]^_`{|}~]", r"\\\g<0>", html.escape(word, quote=False))
    # html.escape made entities; their & and ; must not be escaped again.
    escaped = re.sub(r"&(amp|lt|gt)\\;", r"&\1;", escaped)
    return re.sub(r"(?i)(?<=www)(?=\\\.)|(?<=\\:)(?=\\/)|(?<=\\@)|(?<=mailto\\:)|(?<=xmpp\\:)", "\u2060", escaped)


def escape_terminal(text: str) -> str:
    """Text that a terminal shows and does not obey: without escape sequences, controls and reordering marks.

    Line breaks and tabs stay, and what can't be encoded (half a surrogate pair) is dropped.
    """
    return _INVISIBLE.sub("", _SEQUENCE.sub("", _LINE_BREAK.sub("\n", text)))


def _make_visible(raw: str, changes: set[str]) -> str:
    """Canonical composed form, without invisible characters, with newlines for all line breaks."""
    text = unicodedata.normalize("NFC", raw)
    seen = _JOINERS.sub(_useful_joiner, _INVISIBLE.sub("", text))
    if seen != text:
        changes.add("invisible characters")
    # Taking out a character may bring a letter and its accent together.
    composed = unicodedata.normalize("NFC", seen)
    if text != raw or composed != seen:
        changes.add("unicode form")
    return _LINE_BREAK.sub("\n", composed)


def _useful_joiner(match: re.Match[str]) -> str:
    """A joiner carries meaning in emoji, Persian and Indic scripts: between two letters, marks or symbols."""
    text, start, end = match.string, match.start(), match.end()
    if start == 0 or end == len(text):
        return ""
    useful = all(char > "\x7f" and unicodedata.category(char)[0] in "LMS" for char in (text[start - 1], text[end]))
    return match.group()[0] if useful else ""


def _unwrap(text: str, changes: set[str]) -> str:
    """Take off wrappings until none is left, or none at all if there are absurdly many."""
    done: set[str] = set()
    inner = text
    for _ in range(_MAX_LAYERS):
        if (said := without_thoughts(inner) or "") != inner.strip():
            done.add("thought")
            inner = said
        stripped = inner.strip()
        if stripped != inner:
            done.add("outer white space")
        change, inner = _unwrap_once(stripped, answered="leading marker" in done)
        if change is None:
            changes |= done
            return inner
        done.add(change)
    if text != text.strip():
        changes.add("outer white space")
    return without_thoughts(text) or ""


def _unwrap_once(text: str, answered: bool) -> tuple[str | None, str]:
    """Take off the outermost wrapping: (kind of change, rest), or (None, text) when there is none."""
    fence = _FENCE.match(text)
    if fence and text.endswith(fence[1]) and len(text) >= fence.end() + len(fence[1]):
        inside = text[fence.end() : len(text) - len(fence[1])]
        if fence[1] not in inside:
            return "code fence", inside
    for mark in _EMPHASIS:
        inside = text[len(mark) : -len(mark)]
        if inside and text == f"{mark}{inside}{mark}" and mark not in inside:
            if inside[0] not in "*_~ " and inside[-1] not in "*_~ ":
                return "emphasis", inside
            break
    if _is_quoted(text):
        return "quotes", text[1:-1]
    if match := _LEAD_IN.match(text):
        return "lead-in", text[match.end() :]
    if match := _LABEL.match(text) or _LIST_MARKER.match(text):
        return "leading marker", text[match.end() :]
    # Only behind "Q:" is "A:" an answer; elsewhere it may be part of the question.
    if answered and (match := _ANSWER.search(text)):
        return "answer after the question", text[: match.start()]
    return None, text


def _is_quoted(text: str) -> bool:
    """Whether the first and the last character are one pair of quotes around everything between."""
    if len(text) < 2 or text.count(text[0]) > _MAX_QUOTES:
        return False
    first, last = text[0], text[-1]
    if first in _STRAIGHT_QUOTES:
        return first == last and _is_straight_pair(text, first)
    closing = _QUOTE_PAIRS.get(first, "")
    if last not in closing or not closing:
        return False
    depth = 1
    for match in re.finditer(f"[{first}{closing}]", text[1:-1]):
        i = match.start() + 1
        if _is_apostrophe(text, i):
            continue
        depth += 1 if text[i] == first else -1
        if depth == 0:
            return False
    return depth == 1


def _is_straight_pair(text: str, quote: str) -> bool:
    depth, last_opening = 1, 0
    for match in re.finditer(quote, text[1:-1]):
        i = match.start() + 1
        if _is_apostrophe(text, i):
            continue
        before, after = text[i - 1], text[i + 1]
        opens = before.isspace() or before in _BEFORE_OPENING or last_opening == i - 1
        if opens and not after.isspace():
            depth, last_opening = depth + 1, i
        else:
            depth -= 1
        if depth == 0:
            return False
    return depth == 1


def _is_apostrophe(text: str, i: int) -> bool:
    return text[i] in "'\u2019" and text[i - 1].isalnum() and text[i + 1].isalnum()


def _ends_in_a_loop(text: str) -> bool:
    """Whether at least the second half of a text is one short piece again and again, as models get stuck.

    The piece must come four times or more and fill 24 characters; a last, broken-off repetition counts.
    """
    folded = text.casefold()
    end = len(folded)
    while end and not folded[end - 1].isalnum():
        end -= 1
    tail = folded[:end][::-1]
    enough = max(24, (end + 1) // 2)
    # In a loop of i characters, three quarters of what must loop at least come again i characters further on. Nearly no
    # other text has that, and `find` is fifty times faster than what follows.
    if not 0 < tail.find(tail[: enough * 3 // 4], 1) <= end // 4:
        return False
    # z[i]: for how many characters the reversed text agrees with itself shifted by i (Z algorithm, linear).
    z, left, right = [0] * len(tail), 0, 0
    for i in range(1, len(tail)):
        length = min(right - i, z[i - left]) if i < right else 0
        while i + length < len(tail) and tail[length] == tail[i + length]:
            length += 1
        z[i] = length
        if i + length > right:
            left, right = i, i + length
        if i + length >= max(enough, 4 * i):
            return True
    return False
