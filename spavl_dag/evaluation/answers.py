"""What a short answer says: pure functions from text to text or number.

Belongs here: yes/no, and the normal form in which answers and captions are compared. Verdicts of judges and refusals
are read in `spavl_dag.inference.verdicts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from spavl_dag.inference.verdicts import is_refusal

YesNo = Literal["yes", "no", "unparsable"]

_WINDOW = 400
_FIRST = re.compile(r"\W*(?:answer|response|a)?\s*[:=]?\W*(yes|no|yeah|yep|nope)\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:no|not|cannot|isn't|aren't|doesn't|don't|can't|none|neither|nor)\b", re.IGNORECASE)
_AFFIRMATION = re.compile(r"\b(?:yes|yeah|yep)\b", re.IGNORECASE)
_STATEMENT = re.compile(r"\b(?:there (?:is|are)|it is|it's|the \w+ (?:is|shows|has|contains))\b", re.IGNORECASE)


def parse_yes_no(text: str) -> YesNo:
    """Whether an answer to a yes/no question says yes or no; never raises.

    The answer opens with the word ("Yes, there is a dog."), or its first sentence says one of the two only, or it is
    a statement ("There is no dog in the image."). POPE's own script takes everything without a "no" or "not" for a
    yes; here a text that says neither, or both, or refuses, is `unparsable`.
    """
    said = " ".join(text[: 4 * _WINDOW].replace("\u2019", "'").split())[:_WINDOW]
    opening = _FIRST.match(said)
    first = re.split(r"(?<=[.!?])\s", said, maxsplit=1)[0]
    if opening:
        word: YesNo = "yes" if opening[1].lower().startswith("y") else "no"
        # "Yes or no", "yes / no": an echo of the question.
        return "unparsable" if re.match(r"\W*(?:or|and)?\W*(?:yes|no)\b", said[opening.end() :], re.I) else word
    if is_refusal(said):
        return "unparsable"
    no, yes = bool(_NEGATION.search(first)), bool(_AFFIRMATION.search(first))
    if no != yes:
        return "no" if no else "yes"
    return "yes" if not no and _STATEMENT.match(first) else "unparsable"


# --- VQA ------------------------------------------------------------------------------------------

_COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_COUNTED)}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_INNER_COMMA = re.compile(r"(?<=\d),(?=\d)")
_PERIOD = re.compile(r"(?<!\d)\.(?!\d)|(?<=\d)\.(?!\d)|(?<!\d)\.(?=\d)")
# "hell", "shell" and "were" are words of their own, so those contractions are not restored.
_CONTRACTED = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's i'm i've
isn't it'd it'll let's ma'am might've mightn't must've mustn't needn't o'clock oughtn't shan't should've shouldn't
somebody's someone's something's that's there'd there're there's they'd they'll they're they've wasn't we've weren't
what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't
would've wouldn't y'all you'd you'll you're you've
"""
_CONTRACTIONS = {word.replace("'", ""): word for word in _CONTRACTED.split()}


def normalize_answer(text: str) -> str:
    """An answer as VQA compares them: lower case, digits for numbers, no articles, no punctuation (VQA v2).

    What the official script does, with two of its accidents left out: it leaves a point after a digit, and it joins
    words around a slash in some texts and parts them in others (here they are parted).
    """
    spoken = _INNER_COMMA.sub("", " ".join(text.lower().replace("\u2019", "'").split()))
    bare = _PERIOD.sub(" ", spoken.translate({ord(mark): " " for mark in _PUNCTUATION}).replace(":", " "))
    words = [_NUMBERS.get(word, word) for word in (word.strip("'") for word in bare.split())]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word and word not in _ARTICLES)


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """How far an answer agrees with the annotators' (VQA v2).

    With ten answers or more: the mean, over leaving out one annotator, of min(agreeing among the others / 3, 1). With
    fewer there is no consensus to measure, and an answer is right (1) if it equals any of them.

    Args:
        answer: The model's answer.
        references: The annotators' answers; at least one.

    Raises:
        ValueError: There are no references.
    """
    if not references:
        raise ValueError("an answer can't be scored without references")
    said = normalize_answer(answer)
    agreeing = sum(said == normalize_answer(reference) for reference in references)
    n = len(references)
    if n < 10:
        return float(agreeing > 0)
    leaving_one_that_agrees = agreeing * min((agreeing - 1) / 3, 1) if agreeing else 0.0
    return (leaving_one_that_agrees + (n - agreeing) * min(agreeing / 3, 1)) / n


# --- Captions -------------------------------------------------------------------------------------


def normalize_caption(text: str) -> str:
    """A caption as it is compared: its words in lower case, without punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """Whether an answer is one of the references, after `normalize_caption`; a text without words never is."""
    said = normalize_caption(answer)
    return bool(said) and any(said == normalize_caption(reference) for reference in references)
