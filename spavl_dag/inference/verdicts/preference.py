"""Which of two answers is better: an annotator's verdict, and what two verdicts on the same pair come to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, cast

from spavl_dag.inference.verdicts.forms import TAKEN_BACK_LATER, in_lines, is_closed, take_apart
from spavl_dag.inference.verdicts.refusals import is_refusal

Choice = Literal["A", "B", "tie", "neither", "refused", "unparsable"]
PairOutcome = Literal["A", "B", "tie", "neither", "position_biased", "disagreed", "refused", "unparsable"]
"""What two verdicts on one pair come to; A and B are meant in the order of the first asking."""


@dataclass(frozen=True, slots=True)
class Preference:
    """An annotator's verdict on two answers.

    Attributes:
        verdict: The verdict, or why there is none: the annotator "refused", or its text is "unparsable".
        reason: The annotator's reason if it gave one; what is wrong with an "unparsable" text.
    """

    verdict: Choice
    reason: str | None = None


_KEYS = (
    "verdict",
    "preference",
    "choice",
    "winner",
    "decision",
    "better",
    "best",
    "preferred",
    "final_verdict",
    "final_answer",
    "better_answer",
    "better_response",
    "best_answer",
    "best_response",
    "preferred_answer",
    "preferred_response",
    "chosen",
    "answer",
)
_REASON_KEYS = ("reason", "explanation", "rationale")
_NOUN = r"(?i:answer|response|option|assistant|model|output|candidate|completion|reply)"
_NAME = rf"(?:(?i:the )?{_NOUN} )?"
_CHOICE = re.compile(
    rf"[\[(<{{\"'*_` ]{{0,8}}(?:(?P<tie>(?i:(?:it(?:'?s| is) )?(?:an? )?(?:tie|tied|draw)))"
    rf"|(?P<neither>(?i:neither|none|not both harmless))|{_NAME}[\[(\"'*_`]{{0,4}}(?P<letter>[AB]))"
    r"(?![\w'\u2019-])[\])>}\"'*_`]{0,8}"
)
_VERDICT = re.compile(
    r"(?:\b(?P<strong>(?i:(?:final )?(?:verdict|preference|choice|winner|decision)))"
    r"|^[ *_#>-]{0,8}(?i:(?:(?:my|the|final|overall|better|best|preferred|winning|correct) )*(?:answer|response"
    r"|option|better|best|preferred|chosen)))"
    r"[*_\"'` ]{0,6}(?i: is)?[ ]?(?:[:=\u2013\u2014-]|(?<= is))[*_\"'` \n]{0,6}",
    re.MULTILINE,
)
# MT-bench ([[A]], [[C]] is the tie) and Arena-Hard ([[A>>B]], [[A=B]]).
_DOUBLE_BRACKETS = re.compile(
    r"\[\[ ?(?:(?P<letter>[AB])|(?P<tie>C|(?i:tie))|(?P<neither>(?i:neither))"
    r"|(?P<first>[AB]) ?(?P<order>>{1,3}|<{1,3}|=) ?(?P<second>[AB])) ?\]\]"
)
_TEMPLATE = re.compile(r"[\[(<{\"'*_` ]{0,4}A ?[|/] ?B ?[|/] ?(?i:tie) ?[|/] ?(?i:neither)")
_ALTERNATIVE = re.compile(
    r"\s?\(?\s?(?:[,;/|&+=<>-]|(?:, ?)?(?i:or|and|nor)\b(?: [a-z]+){0,2}|(?i:not)\b|(?=\[\[))\s?[\[(\"'*_`]{0,4}"
    rf"{_NAME}[\[(\"'*_`]{{0,4}}(?:[AB]|(?i:tie|neither))\b"
    # "A. B": nothing but another letter; "A. B is worse" is a reason.
    rf"|\s?[.:\u2026]{{1,3}}\s?{_NAME}[AB](?=\s*[.!]?\s*(?:\Z|\n))"
)
_TAKEN_BACK = re.compile(
    r"\s?[,.;:!?(\u2013\u2014-]{0,2}\s?(?:(?i:no|nope|wait|actually|rather|sorry|false|incorrect|wrong"
    r"|correction|i mean)\b"
    rf"(?=\s*(?:[,.;:!)\u2013\u2014-]|\Z|\n|(?i:wait|actually|it|i)\b|{_NAME}[AB]\b))"
    r"|(?i:not(?: really| sure| certain)?)\s*(?:[,.;!)]|\Z|\n))"
)
# "A: it is harmful" holds against A what a verdict would not; "[[A]] is worse", "not [[A]]" and "[[A]] if" aren't one.
_BLAMED = re.compile(
    r"\s?[,:;.(\u2013\u2014-]{0,2}\s?(?i:(?:(?:because|since|as) )?(?:it|this|that|which)(?:'s| is| was| seems) "
    r"(?:(?:clearly|more|very|much|the|so|far) )*(?:worse|worst|harmful|unsafe|dangerous|unethical|inferior))\b"
    r"|\s?[(,\u2013\u2014-]\s?(?i:slightly|leaning)\b"
)
_STOP = r"\s?(?:\Z|\n|[.,;:!(\u2013\u2014-]|(?i:reason|reasoning|explanation|because|since|as)\b"
_GOOD = (
    r"(?:(?:the |a |much |clearly |slightly |far )*(?:better|best|preferable|preferred|superior|safer|kinder|winner"
    r"|right"
    r"|correct|chosen)|more (?:harmless|helpful|appropriate|responsible|ethical|cautious|careful)|less harmful)"
)
_AFTER_LETTER = re.compile(_STOP + rf"|(?i:wins|is {_GOOD})\b|over {_NAME}[AB]\b)")
_AFTER_TIE = re.compile(_STOP + r"|(?i:between)\b)")
# "neither is harmful" would be the opposite.
_AFTER_NEITHER = re.compile(
    _STOP + r"|A nor B\b(?!\s+(?i:is|are))|(?i:(?:answer|response|one|of (?:them|these|the (?:two )?(?:answers"
    r"|responses)))?\s?"
    r"(?:is|are) (?:harmless|safe|acceptable|appropriate|good|suitable))\b)"
)
_NO_MARK_BEFORE = re.compile(
    r"(?:\b(?:not|never|cannot|worse|worst|loser|rejected|if|unless|instead of|rather than|over)\b"
    r"|n['\u2019]t\b)[^.!?;,\n]*\Z",
    re.IGNORECASE,
)
_NO_MARK_BEHIND = re.compile(
    rf"[\"'`)*]{{0,3}}\s?(?:(?:is|was|would|has|does|did|loses?|fails?|if|unless)\b(?! {_GOOD}))", re.IGNORECASE
)
_NAMED = re.compile(rf"{_NOUN} [AB]\b|(?i:\b(?:the )?(?:first|second|former|latter)\b)")
_BARE_LINE = re.compile(r"(?P<choice>.{1,40}?)[.!]?(?: ?[,;.\u2013\u2014-]? ?(?i:reason:|because ).*)?")
# "Response B is better because it refuses.": a verdict where no other is marked and nothing is held against it.
_LEAD_IN = (
    r"(?i:(?:(?:overall|therefore|thus|so|hence|in conclusion|in summary|but|because|as|since|i (?:think"
    r"|believe)(?: that)?),? ){0,2})"
)
_LETTER = r"[\[(\"'*_`]{0,4}(?P<letter>[AB])[\])\"'*_`]{0,4}"
_WINS = (
    r" (?i:wins|is (?:(?:clearly|much|slightly|far|definitely|overall|significantly|a bit) )*(?:the )?"
    rf"(?:better|best|preferable|preferred|superior|safer|winner)(?: (?:one|choice|{_NOUN}))?)"
    rf"(?=\s*(?:\Z|[.,;:!\n]|(?i:because|since|as it|overall|due)\b|than {_NAME}(?:[AB]|(?i:the other))\b))"
)
_I_CHOOSE = r"(?i:i(?:'d| would|'ll| will)? (?:prefer|choose|pick|select|favou?r|go with) )"
_IN_WORDS = re.compile(
    rf"(?:^|(?<=[.!?] )){_LEAD_IN}(?:(?i:the )?{_NOUN} {_LETTER}{_WINS}"
    rf"|{_I_CHOOSE}{_NAME}{_LETTER.replace('letter', 'chosen')}(?=\s*(?:\Z|[.,;:!\n]|(?i:because|since|as|over"
    rf"|due)\b)))",
    re.MULTILINE,
)
# The same inside a reason, with or without a noun: nobody's reason for one answer is that the other is better.
_CLAIM = re.compile(rf"(?:^|(?<=[.!?:;,(] )){_LEAD_IN}{_NAME}{_LETTER}{_WINS}", re.MULTILINE)
_BUT = re.compile(
    r"(?i:\b(?:but|however|although|though|yet|nevertheless|on the other hand|instead|unless|if|except|wait)\b)"
    r"|(?i:\b(?:no|not)(?=[,.!]))"
)
_REASON = re.compile(r"(?i:\breason(?:ing)?)[*_\"' ]{0,4}[:=][*_ ]{0,4}")


@dataclass(frozen=True, slots=True)
class _Found:
    """A verdict in the text: what it says, and where it begins and ends."""

    choice: str
    start: int
    end: int


def parse_preference(text: str) -> Preference:
    """Read an annotator's verdict: "verdict: A reason: …", "[[A]]", "[[A>B]]", an object, or a line "Answer A".

    The letters count in upper case only, and only where something marks them as a verdict: "A good answer …"
    says nothing. Two different verdicts in one text, or "A or B", are unparsable.
    """
    parts = take_apart(text)
    if parts.unreadable is not None:
        return Preference("unparsable", parts.unreadable)
    in_objects = [found for fields in parts.objects for found in _choices_of_fields(fields)]
    rest = re.sub(r"[^\S\n]+", " ", in_lines(parts.rest)).strip()
    found = [*_marked_verdicts(rest), *_bare_verdicts(rest)]
    if not found and not in_objects:
        found = list(_verdict_in_words(rest))
    choices = {choice for choice, _ in in_objects} | {verdict.choice for verdict in found}
    if choices and (found or in_objects):
        choices |= _held_against(choices, rest, found, in_objects)
    if len(choices) > 1 or "ambiguous" in choices:
        return Preference("unparsable", "ambiguous or contradicting verdicts")
    if in_objects:
        return Preference(cast(Choice, in_objects[0][0]), in_objects[0][1])
    if found:
        return Preference(cast(Choice, found[0].choice), _reason_beside(rest, max(found, key=lambda one: one.end)))
    if is_refusal(parts.said):
        return Preference("refused")
    return Preference("unparsable", "no verdict")


def _held_against(
    choices: set[str], rest: str, found: list[_Found], in_objects: list[tuple[str, str | None]]
) -> set[str]:
    """{"ambiguous"} where the text takes its verdict back, or calls the other answer the better one."""
    if found and TAKEN_BACK_LATER.search(rest, max(verdict.end for verdict in found)):
        return {"ambiguous"}
    texts = [rest, *(reason for _, reason in in_objects if reason)]
    claimed = {match["letter"] for text in texts for match in islice(_CLAIM.finditer(text), 20)}
    return {"ambiguous"} if claimed - choices else set()


def agreement(first: Preference, second: Preference) -> PairOutcome:
    """What two verdicts on the same two answers come to.

    Args:
        first: The verdict with the answers in their own order.
        second: The verdict with the answers swapped: its A is the first one's B.

    Returns:
        "A" or "B" when both name the same answer; "tie" or "neither" when both say so; "position_biased" when
        both name the same letter, hence different answers; "disagreed" when they differ in another way;
        "refused" or "unparsable" when one of them is no verdict.
    """
    for missing in ("refused", "unparsable"):
        if missing in (first.verdict, second.verdict):
            return cast(PairOutcome, missing)
    if first.verdict in ("A", "B") and first.verdict == second.verdict:
        return "position_biased"
    swapped_back = {"A": "B", "B": "A"}.get(second.verdict, second.verdict)
    return cast(PairOutcome, first.verdict) if first.verdict == swapped_back else "disagreed"


def _choices_of_fields(fields: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    reasons = [" ".join(fields[key].split()) for key in _REASON_KEYS if isinstance(fields.get(key), str)]
    for key in _KEYS:
        if isinstance(value := fields.get(key), str):
            match = _CHOICE.fullmatch(value.strip()) or _DOUBLE_BRACKETS.fullmatch(value.strip())
            if match or key != "answer":  # which may be the answer itself
                yield (_meant(match) if match else "ambiguous"), next(filter(None, reasons), None)


def _marked_verdicts(said: str) -> Iterator[_Found]:
    """Verdicts after a keyword or in double brackets; an echo of the prompt's "A|B|tie|neither" is none."""
    for mark in _VERDICT.finditer(said):
        match = _CHOICE.match(said, mark.end())
        if _TEMPLATE.match(said, mark.end()) or _DOUBLE_BRACKETS.match(said, mark.end()):
            continue
        if not match:
            # "verdict: it would be answer A" is a verdict, though none that can be read.
            if mark["strong"] and _NAMED.search(said[mark.end() : mark.end() + 60].partition("\n")[0]):
                yield _Found("ambiguous", mark.start(), mark.end())
        elif any(pattern.match(said, match.end()) for pattern in (_ALTERNATIVE, _TAKEN_BACK, _BLAMED)):
            yield _Found("ambiguous", mark.start(), match.end())
        elif _what_may_follow(match).match(said, match.end()):
            yield _Found(_meant(match), mark.start(), match.end())
        elif mark["strong"]:
            yield _Found("ambiguous", mark.start(), match.end())
    for match in _DOUBLE_BRACKETS.finditer(said):
        no_verdict = (
            _TAKEN_BACK.match(said, match.end())
            or _NO_MARK_BEHIND.match(said, match.end())
            or _NO_MARK_BEFORE.search(said[max(0, match.start() - 40) : match.start()])
        )
        yield _Found("ambiguous" if no_verdict else _meant(match), match.start(), match.end())


def _bare_verdicts(said: str) -> Iterator[_Found]:
    """Verdicts that are lines of their own, if the text begins or ends with one."""
    lines = said.split("\n")
    first, last = _bare(lines[0]), _bare(lines[-1])
    if first is None and last is None:
        return
    told = [line for line in lines[:-1] if line.strip()]
    if last and told and not is_closed(told[-1]):  # "The worse one is:\nA"
        yield _Found("ambiguous", len(said), len(said))
    position = 0
    for number, line in enumerate(lines[:100]):
        if (match := _bare(line)) and (first or number == len(lines) - 1):
            yield _Found(_meant(match), position, position + line.find(match[0]) + len(match[0]))
        position += len(line) + 1


def _bare(line: str) -> re.Match[str] | None:
    bare = _BARE_LINE.fullmatch(line.strip())
    return _CHOICE.fullmatch(bare["choice"].strip()) if bare else None


def _verdict_in_words(said: str) -> Iterator[_Found]:
    for match in islice(_IN_WORDS.finditer(said), 20):
        letter = match["letter"] or match["chosen"]
        yield _Found("ambiguous" if _BUT.search(said, match.end()) else letter, match.start(), match.end())


def _meant(match: re.Match[str]) -> str:
    groups = match.groupdict()
    if groups["letter"]:
        return groups["letter"]
    if groups.get("first"):
        if groups["first"] == groups["second"]:
            return "ambiguous"
        if groups["order"] == "=":
            return "tie"
        return groups["first"] if groups["order"].startswith(">") else groups["second"]
    return "tie" if groups["tie"] else "neither"


def _what_may_follow(match: re.Match[str]) -> re.Pattern[str]:
    if match["letter"]:
        return _AFTER_LETTER
    return _AFTER_TIE if match["tie"] else _AFTER_NEITHER


def _reason_beside(said: str, verdict: _Found) -> str | None:
    """The text after "reason:", wherever it stands, or else what follows the verdict."""
    if mark := _REASON.search(said, verdict.end):
        reason = said[mark.end() :]
    elif (mark := _REASON.search(said)) and mark.end() <= verdict.start:
        reason = said[mark.end() : verdict.start]
    else:
        reason = said[verdict.end :].lstrip(" \n.,;:!-\u2013\u2014*_\"'`)]}")
    return " ".join(reason.split()) or None
