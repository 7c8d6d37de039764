"""The forms in which models write down a verdict: objects, tags, headings, marks; shared by all readers of verdicts.

What is written in one form is read in that form only: an object that is broken is not searched for words that look like
a verdict, since `{"safe": false` would then be read as "safe".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spavl_dag.text import without_invisible
from spavl_dag.thoughts import UNFINISHED, without_thoughts

_MAX_OBJECTS = 20
_OBJECT = re.compile(
    r"\{\s{0,9}(?:[\"'\u201c\u2018][^\"'\u201d\u2019\n]{1,60}[\"'\u201d\u2019]|[A-Za-z_][\w .-]{0,40})\s{0,9}:"
)
_FENCE = re.compile(r"```(?:(?:json\w?|python|py|text|txt|plaintext|yaml|xml|markdown)\b)?", re.IGNORECASE)
_STRING = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_PAIR = re.compile(
    r"[\s,]*(?:[\"'](?P<key>[^\"'\n]{1,60})[\"']|(?P<name>[A-Za-z_][\w .-]{0,40}?))\s*:\s*"
    rf"(?:(?P<string>{_STRING})|(?P<word>true|false|null|none|-?\d{{1,9}}(?:\.\d{{1,9}})?)(?=\s*(?:[,}}]|\Z))"
    r"|\[[^\[\]{}]*\]|\{[^{}]*\})",
    re.IGNORECASE | re.DOTALL,
)
_CUT = re.compile(
    r"[\s,]*(?:[\"']?[^\"'\n:]{0,60}[\"']?\s*(?::\s*(?:\"(?:[^\"\\]|\\.)*\\?|'(?:[^'\\]|\\.)*\\?|[\w.-]{0,20}"
    r"|[\[{][^\]}]*))?)?\Z",
    re.DOTALL,
)
_CLOSING = re.compile(r"[\s,]*\}")
_QUOTES = str.maketrans("\u201c\u201d\u201e\u2018\u2019", '"""\'\'')
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}

# Full-width forms, quotes and marks of other scripts.
_WIDE = str.maketrans(
    "\uff1a\uff1d\uff3b\uff3d\uff08\uff09\uff0c\uff0e\uff21\uff22\u3010\u3011\u3002\uff01\uff1b\uff1f\u3001\uff0f\uff5c"
    "\uff1c\uff1e\u060c\u061b\u061f\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f\u300a\u300b",
    ':=[](),.AB[].!;?,/|<>,;?"""""""""""""',
)
_KEYWORD = (
    r"(?:(?:my|the|final|overall|safety|response|agent|assistant|better|best|preferred)[ _-]){0,4}"
    r"(?:verdict|label|safety|answer|rating|judge?ment|assessment|classification|result|decision|conclusion|preference"
    r"|choice|winner)"
)
_FLAG = r"(?:is[ _])?(?:safe|unsafe|harmful)"
_REASON = r"(?:reason(?:ing|s)?|explanation|rationale)"
_CHOSEN = r"(?:better|best|preferred|chosen)"
_TAGS = re.compile(
    rf"<(?P<name>{_KEYWORD}|{_FLAG}|{_CHOSEN}|{_REASON})>\s{{0,9}}(?P<value>[^<>]{{1,2000}}?)\s{{0,9}}</(?P=name)>",
    re.IGNORECASE,
)
_BRACKETED = re.compile(
    rf"^[ *_#>-]{{0,8}}[\[(](?P<name>{_KEYWORD})[\])]:?[ *_]{{0,4}}(?=\S)", re.IGNORECASE | re.MULTILINE
)
_HEADING = re.compile(
    rf"^[ *_#>-]{{0,8}}(?P<name>{_KEYWORD}|{_REASON}"
    rf"|{_FLAG}(?=[ *_]{{0,4}}[:=?]))[ *_]{{0,4}}[:=?]?[ *_]{{0,4}}\n(?:[=-]{{2,80}}\n)?\s{{0,9}}(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED = re.compile(
    r"(?:\${1,2}|\\[\[(])?\s{0,3}\\boxed\{(?:\\text\w{0,2}\{)?([^{}]{1,40})\}?\}\s{0,3}(?:\${1,2}|\\[\])])?"
)
TAKEN_BACK_LATER = re.compile(
    r"(?:^|[.!?\u2026)]\s|\n)\s{0,9}(?:(?:no|hmm|oh)\b[,.]? ?){0,2}(?:wait|actually|correction"
    r"|on (?:second thought|reflection)"
    r"|(?:scratch|strike) that|hold on|let me (?:reconsider|rethink|correct)|i (?:was|am) wrong"
    r"|i take (?:that|it) back)\b",
    re.IGNORECASE,
)
"""A sentence that takes back what was said before it."""
# Words that no sentence ends with; "A" in upper case may be an answer's name.
_OPEN_ENDS = re.compile(
    r"\b(?:un|in|non|an?|the|is|are|be|being|as|it|to|of|or|and|by|with|for|from|than|but|that|i|would)\Z"
)
_DENIES = re.compile(
    r"\b(?:not|never|nor?|none|cannot|hardly|barely|scarcely|far from|anything but|rather than|instead of|worse|worst"
    r"|los(?:es?|ing|ers?)|reject\w*|harm\w*|if|unless)\b|n't\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Structure:
    """A text taken apart.

    Attributes:
        said: The text without a reasoning model's thoughts.
        objects: The objects in it (JSON, or as Python prints them), nested ones too; keys are in lower case with
            underscores.
        rest: The text without them.
        begins: Whether the text begins with an object.
        unreadable: Why nothing in it can be believed: an unfinished thought, no text, or an object that can be read in
            more than one way or not at all; else None.
    """

    said: str
    objects: tuple[dict[str, Any], ...]
    rest: str
    begins: bool
    unreadable: str | None


def take_apart(text: str) -> Structure:
    """The objects of what a model wrote behind its thoughts, and the text around them.

    An object that was cut off has what is whole of it; of any other broken one nothing is believed.
    """
    said = without_thoughts(text)
    if said is not None:
        said = without_invisible(said).strip()
    if not said:
        return Structure("", (), "", False, UNFINISHED if said is None else "empty")
    objects: list[dict[str, Any]] = []
    around: list[str] = []
    position, begins = 0, False
    unreadable: str | None = None
    for _ in range(_MAX_OBJECTS):
        start = _OBJECT.search(said, position)
        if start is None:
            break
        before = said[position : start.start()]
        begins = begins or (position == 0 and not _FENCE.sub("", before).strip(" \n\t\r["))
        around.append(before)
        found, position = _object_at(said, start.start())
        if found is None:
            unreadable = "an object that can't be read"
            break
        objects += _with_nested(found, 3)
    if unreadable is None:
        around.append(said[position:])
    return Structure(said, tuple(objects), _FENCE.sub("\n", "\n".join(around)), begins, unreadable)


def in_lines(text: str) -> str:
    """A text with one way to mark a verdict: tags, bracketed names and headings become `name: value`."""
    text = _BOXED.sub(r"\1", text.translate(_WIDE))
    text = _TAGS.sub(lambda tag: f"\n{tag['name'].replace('_', ' ')}: {tag['value']}\n", text)
    text = _BRACKETED.sub(lambda mark: f"{mark['name']}: ", text)
    return _HEADING.sub(lambda mark: f"{mark['name']}: ", text)


def is_closed(line: str) -> bool:
    """Whether a line is an end: a verdict in the line behind it is one, and not the last words of its sentence."""
    line = line.rstrip(" *_`\"'\u2019)]")
    if line.endswith((".", "!", "\u2026")):
        return True
    last = re.split(r"[.!?]\s", line.replace("\u2019", "'"))[-1]
    return line[-1:].isalnum() and not _OPEN_ENDS.search(last) and not _DENIES.search(last)


def _object_at(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """The object that begins at a brace, and where it ends; None when it is broken and not merely cut off."""
    try:
        # Not strict: models write line breaks into strings as they are.
        found, end = json.JSONDecoder(strict=False, object_pairs_hook=_unique).raw_decode(text, start)
        return (found, end) if isinstance(found, dict) else (None, end)
    except _TwiceError:
        return None, len(text)
    except (ValueError, RecursionError):
        pass
    text = text.translate(_QUOTES)
    pairs: list[tuple[str, Any]] = []
    position = start + 1
    while pair := _PAIR.match(text, position):
        position = pair.end()
        key = pair["key"] or pair["name"]
        if pair["string"] is not None:
            pairs.append((key, pair["string"][1:-1]))
        elif pair["word"] is not None:
            word = pair["word"].lower()
            pairs.append((key, _WORDS[word] if word in _WORDS else float(word)))
    closing = _CLOSING.match(text, position)
    if not closing and not _CUT.match(text, position):
        return None, len(text)
    try:
        return _unique(pairs), closing.end() if closing else len(text)
    except _TwiceError:
        return None, len(text)


class _TwiceError(Exception):
    """A key that stands in an object twice, with different values."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        key = re.sub(r"[ .-]+", "_", key.strip().lower())
        if key in found and found[key] != value:
            raise _TwiceError
        found[key] = value
    return found


def _with_nested(found: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    yield found
    for value in found.values():
        if isinstance(value, dict) and depth:
            yield from _with_nested(value, depth - 1)
