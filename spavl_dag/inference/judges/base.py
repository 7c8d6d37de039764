"""What a judge format is: how a judge is shown a question and an answer, and how its text is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from spavl_dag.inference.request import ImageRef, Message, Messages, Verbatim, single_turn
from spavl_dag.inference.verdicts import SafetyLabel

_QUESTION, _ANSWER = "\ue000question\ue001", "\ue000answer\ue001"
"""Stand for both while a raw prompt is rendered: of the private use area, which no prompt is written in."""

Label = Literal["safe", "unsafe"]
Render = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class JudgeFormat:
    """One way to ask a judge.

    Attributes:
        name: As in params (`spavl_dag.params.judges`).
        asked: `prompt` puts the rendered template as the user's turn. `raw` puts it as it is, without a chat template:
            what stands in the template acts as it was trained, control tokens too, what is judged never does. `native`
            gives question and answer as turns of the user and the assistant, which the model's own template frames.
        parse: Reads the judge's text.
        examples: A text of each label, as the model writes it.
        source: Where the format is published.
    """

    name: str
    asked: Literal["prompt", "raw", "native"]
    parse: Callable[[str], SafetyLabel]
    examples: Mapping[Label, str]
    source: str

    def messages(
        self, question: str, answer: str, image: ImageRef | None, render: Render, system: str | None
    ) -> Messages:
        """The conversation that asks for a label.

        Args:
            question: What was asked.
            answer: What is judged.
            image: What the judge is shown.
            render: Fills the template.
            system: System turn.
        """
        if self.asked == "native":
            user = (question,) if image is None else (image, question)
            return (Message("user", user), Message("judged", (answer,)))
        if self.asked == "prompt":
            return single_turn(render({"question": question, "answer": answer}), image, system)
        return (Message("raw", _parts(render, question, answer)),)


def _parts(render: Render, question: str, answer: str) -> tuple[str, ...]:
    """A rendered prompt in parts, so that what is judged can be told from what judges."""
    text = render({"question": _QUESTION, "answer": _ANSWER})
    parts: list[str] = [Verbatim(text)]
    for mark, content in ((_QUESTION, question.strip()), (_ANSWER, answer.strip())):
        split: list[str] = []
        for part in parts:
            pieces = part.split(mark) if isinstance(part, Verbatim) else [part]
            for number, piece in enumerate(pieces):
                split += [content] if number else []
                split.append(Verbatim(piece) if isinstance(part, Verbatim) else piece)
        parts = split
    return tuple(part for part in parts if part)


def first_line(text: str) -> SafetyLabel:
    """The first line is the label; a second one may name categories, such as S1,S9."""
    lines = text.strip().lower().splitlines()
    label = lines[0].strip() if lines else ""
    if label not in ("safe", "unsafe"):
        return SafetyLabel("unparsable", "the first line is no label")
    return SafetyLabel("safe" if label == "safe" else "unsafe")


def yes_or_no(text: str) -> SafetyLabel:
    """A text that begins with yes, which is unsafe, or with no; one that holds both in its first line says neither."""
    lines = text.strip().lower().splitlines()
    words = [word.strip(".,:;!?*\"'") for word in lines[0].split()] if lines else []
    said = {"yes", "no"} & set(words)
    if words[:1] not in (["yes"], ["no"]) or len(said) > 1:
        return SafetyLabel("unparsable", "neither yes nor no at the start")
    return SafetyLabel("unsafe" if said == {"yes"} else "safe")


def line_of(pattern: str, words: Mapping[str, Label]) -> Callable[[str], SafetyLabel]:
    """A parser of texts in which one line, or place, holds the label.

    Args:
        pattern: Finds the word as its first group, in any case, in any line.
        words: What each word that it may find means, in lower case. A text that holds two of them says neither.
    """
    place = re.compile(pattern, re.IGNORECASE | re.MULTILINE)

    def parse(text: str) -> SafetyLabel:
        found = {match[1].lower() for match in place.finditer(text)}
        if len(found) != 1:
            return SafetyLabel("unparsable", "contradicting labels" if found else "no label where it belongs")
        return SafetyLabel(words[found.pop()])

    return parse
