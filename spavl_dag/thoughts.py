"""What a model said, without what it thought before: the one place where the thoughts of reasoning models are known.

Every role reads a model's text through `without_thoughts`: captions, questions, answers, keywords, verdicts, refusals,
yes and no. Chat templates of some models end the prompt with the opening tag, so that a text has the closing tag alone:
whatever stands before the last closing tag was thought.
"""

from __future__ import annotations

import re
from collections import Counter

UNFINISHED = "reasoning without an end"
"""What is wrong with a text whose thought never ended."""

# <think> and its kin (Qwen, DeepSeek, GLM, EXAONE, Seed, ...), Magistral, Kimi-VL, Sky-T1, Command A, MedGemma, and the
# channels of gpt-oss.
_NAME = r"(?:seed:|antml:|longcat_)?(?:think(?:ing)?(?:_process)?|thoughts?)"
_LEFT, _RIGHT = r"(?<!`)\\?(?:<|&lt;|\uff1c)\|?\s{0,3}", r"[\s\u200b\ufeff]{0,3}\|?\\?(?:>|&gt;|\uff1e)"
_OPENING = re.compile(
    rf"{_LEFT}{_NAME}(?:\s[^<>\n]{{0,60}}(?<!/))?{_RIGHT}|(?-i:\[THINK\])|\u25c1think\u25b7"
    r"|<\|(?:begin|start)_of_thought\|>|<\|START_THINKING\|>|<unused94>thought\b|<\|channel\|>(?:analysis|commentary)\b[^<]{0,80}<\|message\|>",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"{_LEFT}(?:\\?/\s{{0,3}}{_NAME}|{_NAME}\s{{0,3}}/){_RIGHT}|(?-i:\[/THINK\])|\u25c1/think\u25b7"
    r"|<\|end_of_thought\|>|<\|END_THINKING\|>|<unused95>|<\|channel\|>final\b[^<]{0,80}<\|message\|>",
    re.IGNORECASE,
)
# Names that verdicts also give to reasons that follow them: such a block is a thought only where it comes first.
_BLOCK = re.compile(
    r"\s*<(?P<end>/)?(?P<name>reasoning|analysis|reflection|scratchpad|cot|planning|inner_monologue)>\s*", re.IGNORECASE
)

# LLaVA-CoT writes four blocks, of which the last is the answer.
_STAGES = re.compile(r"\s*<(?:summary|caption)>.*<conclusion>", re.IGNORECASE | re.DOTALL)
_STAGES_BEGUN = re.compile(r"\s*<summary>.*<(?:caption|reasoning)>", re.IGNORECASE | re.DOTALL)

_TURN_STARTS = (
    "<|start_header_id|>assistant<|end_header_id|>",
    "<|im_start|>assistant",
    "<start_of_turn>model",
    "<|start|>assistant",
    "<|assistant|>",
    "<|START_RESPONSE|>",
    "<|begin_of_text|>",
)
_TURN_ENDS = (
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|END_RESPONSE|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end_of_solution|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",  # unless it ends struck-out text in HTML
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
_MARKS = ("<", "&", "\uff1c", "\u25c1", "THINK]")
"""Whatever is taken off below has one of these in it."""

_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>|<\|begin_of_solution\|>")
_ENVELOPE = re.compile(r"<(answer|response|output|conclusion|final_answer)>", re.IGNORECASE)


def without_thoughts(text: str) -> str | None:
    """What a model said after its thoughts, or None when it never came to an end with them.

    Tokens around a turn, and one pair of tags around all that was said (`<answer>…</answer>`), are taken off too.

    Args:
        text: The model's whole output; any string at all.
    """
    if not any(map(text.__contains__, _MARKS)):  # nearly all texts
        return text.strip()
    start = max((match.end() for match in _CLOSING.finditer(text)), default=0)
    if _OPENING.search(text, start):
        return None
    said = _without_turn(text[start:])
    if stages := _STAGES.match(said):
        said = said[stages.end() - len("<conclusion>") :]
    elif _STAGES_BEGUN.match(said):
        return None
    behind = _without_first_blocks(said)
    return None if behind is None else _without_envelope(_without_turn(_BOX.sub("", behind)))


def opened_by(prompt: str) -> str:
    """The opening tag that a rendered prompt ends with, or nothing: what the model then writes is a thought."""
    tail = prompt[-200:].rstrip()
    return next((match[0] for match in _OPENING.finditer(tail) if match.end() == len(tail)), "")


def _without_first_blocks(text: str) -> str | None:
    """The text behind blocks of reasons at its start, whose opening tag the prompt may have written."""
    tags = list(_BLOCK.finditer(text))
    opened: Counter[str] = Counter()
    start = 0
    for tag in tags:
        name = tag["name"].lower()
        if not tag["end"]:
            opened[name] += 1
        elif opened[name]:
            opened[name] -= 1
        else:
            start = tag.end()
    open_name = None
    for tag in tags:
        if tag.start() < start:
            continue
        if open_name is None and not tag["end"] and tag.start() == start:
            open_name = tag["name"].lower()
        elif open_name is not None and tag["end"] and tag["name"].lower() == open_name:
            open_name, start = None, tag.end()
    return None if open_name is not None else text[start:]


def _without_turn(text: str) -> str:
    start, end = 0, len(text)
    while True:
        while start < end and text[start].isspace():
            start += 1
        token = next((token for token in _TURN_STARTS if text.startswith(token, start, end)), None)
        if token is None:
            break
        start += len(token)
    ends = [token for token in _TURN_ENDS if token != "</s>" or "<s>" not in text]
    while True:
        while start < end and text[end - 1].isspace():
            end -= 1
        token = next((token for token in ends if text.endswith(token, start, end)), None)
        if token is None:
            return text[start:end]
        end -= len(token)


def _without_envelope(text: str) -> str:
    opening = _ENVELOPE.match(text)
    if not opening:
        return text
    closing = f"</{opening[1].lower()}>"
    inside = text[opening.end() :]
    if inside.lower().endswith(closing):
        inside = inside[: -len(closing)]
    # Two such blocks, or something behind one: no envelope.
    return text if closing in inside.lower() or _ENVELOPE.search(inside) else inside.strip()
