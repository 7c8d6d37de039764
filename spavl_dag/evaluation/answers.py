"""What a short answer says: pure functions from text to text or number.

Belongs here: yes/no, and the normal form in which answers and captions are compared. Verdicts of judges and refusals
are read in `spavl_dag.inference.verdicts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from spavl_dag.inference.verdicts import is_refusal
from spavl_dag.thoughts import without_thoughts

YesNo = Literal["yes", "no", "unparsable"]

_WINDOW = 400
_FIRST = re.compile(
    r"\W*(?:(?:the )?(?:final )?(?:answer|response)(?: is)?|a)?\s*[:=]?\W*(yes|no|yeah|yep|nope)\b", re.IGNORECASE
)
_NEGATION = re.compile(
    r"\b(?:no|not|cannot|isn't|aren't|doesn't|don't|can't|wasn't|weren't|none|neither|nor|nothing|nobody|without)\b",
    re.IGNORECASE,
)
_AFFIRMATION = re.compile(r"\b(?:yes|yeah|yep)\b", re.IGNORECASE)
# Denials that no word of _NEGATION shows, and negations that deny nothing: how they are meant is not guessed.
_IN_OTHER_WORDS = re.compile(
    r"\b(?:hardly|barely|scarcely|rarely|seldom|lacks?|lacking|absence|absent|missing|impossible|unlikely|doubtful|doubt"
    r"|false|untrue|incorrect|wrong|nothing but|not (?:just|only|merely|one but))\b",
    re.IGNORECASE,
)
_SOMETHING_ELSE = re.compile(r"\b(?:instead of|rather than|only|zero|0)\b", re.IGNORECASE)
_STATEMENT = re.compile(
    r"(?:in (?:the|this) (?:image|picture|photo),? )?(?:there(?:'s| is| are)|it is|it's|i (?:can )?see"
    r"|the \w+ (?:is|shows|has|contains))\b",
    re.IGNORECASE,
)
# What such a clause denies is not the statement before it: "there are two dogs, and none of them is asleep".
_ASIDE = re.compile(
    r"[,;]?\s*(?:\bwith(?:out| (?:no|not))\b|\bnot (?:far|too|very|quite|fully|yet)\b"
    r"|\bno[- ](?:parking|smoking|entry|stopping|swimming|trespassing|littering|dogs allowed)\b"
    r"|\b(?:that|which) (?:says?|reads?)\b|\b(?:which|who|whose|where|none of|neither of)\b|\bthat (?=(?:is|are"
    r"|was|were|do|does|has|have|can"
    r"|seems?"
    r"|appears?|looks?)\b|\w+n't\b|cannot\b)|\b(?:and|but|although|though|while|because|since) (?:it|they|he|she|its"
    r"|their"
    r"|none|neither|both|all|some|most)\b)[^,;]*",
    re.IGNORECASE,
)
# The question, before its answer.
_REPEATED = re.compile(r"\A(?:q(?:uestion)?: ?)?(?!yes\b|no\b)[^.!?]{1,200}\?\s+(?=\S)", re.IGNORECASE)
# The word that opens, taken back or with a value: "yes or no", "yes: false", "no - wait, yes".
_TAKEN_BACK = re.compile(
    r"\W*(?:(?:or|and|/)\W*)?(?:yes|no|true|false|[01]|n/a)\b(?! (?:doubt|problem|question))"
    r"|[^.!?]{0,60}[.!?,;\u2013\u2014-]+ ?(?:wait|actually|correction|on second thought)\b",
    re.IGNORECASE,
)
_PAUSE = re.compile(r"\W*(?:[,.;:!\u2013\u2014]|$)")
_IMAGE = r"(?:images?|pictures?|photos?|photographs?|attachments?|visuals?|files?|screenshots?)"
_GIVEN = (
    r"(?:provided|given|shown|attached|included|uploaded|load(?:ed)?|available|shared|displayed|visible|come through)"
)
_NO_IMAGE = re.compile(
    rf"\bno (?:\w+ )?{_IMAGE}(?:[.,;!]|$| (?:was|were|is|has|have|to|here|{_GIVEN})\b)", re.IGNORECASE
)
_NOT_SEEN = re.compile(
    r"(?:\b(?:not|cannot|unable to|never)|n't) (?:able to |actually |currently |directly |really |been )*"
    r"(?:see|seen|view|access|open|load|receive|received|display|process|have|find|interpret|analy[sz]e|get|perceive"
    r"|look at"
    rf"|given|shown|attach|provide)(?: access to)? (?:the |any |an? |your |this |that |these )?(?:\w+ )?{_IMAGE}"
    r"\b(?! (?:of|with|frame)\b)"
    r"|\b(?:ability|capability) to (?:see|view|process|access)\b"
    rf"|\b{_IMAGE} (?:(?:is|was|are|were|has|have|did|does|could) not|\w+n't)(?: been| be)? {_GIVEN}\b"
    rf"|\b{_IMAGE} (?:is|was|seems to be|appears to be) (?:missing|blank|empty|unavailable|too)\b"
    r"|\b(?:please|could you|can you) (?:provide|upload|attach|share|send)\b",
    re.IGNORECASE,
)
_KNOW = (
    r"(?:tell|say|determine|know|answer|confirm|verify|judge|conclude"
    r"|be (?:sure|certain|determined|known|answered|confirmed))"
)
_UNSURE = re.compile(
    rf"(?:\bnot|n't) (?:\w+ ){{0,3}}?(?:sure|certain|clear|possible to {_KNOW}|enough|able to {_KNOW})\b"
    r"|\b(?:unsure|uncertain|unclear|unknown|indeterminate|ambiguous|maybe|perhaps|may be|might|could be"
    r"|insufficient|depends"
    rf"|(?:can't|can ?not|could not|couldn't|unable to|impossible to|difficult to|hard to|no way (?:to"
    rf"|of)) (?:\w+ly )?{_KNOW}\w*"
    r"|(?:don't|do not|didn't) (?:really )?(?:know|understand|have (?:enough|any|an? (?:idea|answer|opinion)))"
    r"|not (?:possible|applicable)|n/a"
    r"|no (?:problem|worries|thanks?|idea|clue|answer|information|way|context|one can|opinion|comment|doubt"
    r"|question|certain\w*|definit\w*"
    r"|clear))\b"
    r"|^(?:neither|either|both)\b[ .!]*$",
    re.IGNORECASE,
)


def parse_yes_no(text: str) -> YesNo:
    """Whether an answer to a yes/no question says yes or no; never raises.

    The answer opens with the word ("Yes, there is a dog."), or its first sentence says one of the two only, or it is
    a statement ("There is no dog in the image."). POPE's own script takes everything without a "no" or "not" for a
    yes, and "I'm not sure" for a no; here a text that says neither, or both, or refuses, doesn't know or has not seen
    the image, is `unparsable`.
    """
    said = " ".join((without_thoughts(text) or "")[: 4 * _WINDOW].replace("\u2019", "'").split())[:_WINDOW]
    said = _REPEATED.sub("", said)
    first = re.split(r"(?<=[.!?])\s", said, maxsplit=1)[0]
    if _NOT_SEEN.search(said):
        return "unparsable"
    opening = _FIRST.match(said)
    # "No, there is no picture" answers; "No picture was attached" doesn't.
    if _NO_IMAGE.search(said) and not (opening and _PAUSE.match(said, opening.end())):
        return "unparsable"
    if opening:
        word: YesNo = "yes" if opening[1].lower().startswith("y") else "no"
        unsure = word == "no" and _UNSURE.search(first)
        return "unparsable" if unsure or _TAKEN_BACK.match(said, opening.end()) else word
    if is_refusal(said) or _UNSURE.search(first):
        return "unparsable"
    if not _AFFIRMATION.search(first) and _IN_OTHER_WORDS.search(first):
        return "unparsable"
    if statement := _STATEMENT.match(first):
        first = statement[0] + _ASIDE.sub("", first[statement.end() :])
    no, yes = bool(_NEGATION.search(first)), bool(_AFFIRMATION.search(first))
    if not no and not yes and _SOMETHING_ELSE.search(first):
        return "unparsable"
    if no != yes:
        return "no" if no else "yes"
    return "yes" if not no and statement else "unparsable"


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
