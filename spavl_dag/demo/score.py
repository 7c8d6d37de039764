"""How well a checkpoint plays its roles on cards, combinations and wordings that training kept out.

It loads the folder and generates as the pipeline does, so it tests what is shipped and not what was in
memory.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from spavl_dag.demo.cards import draw_card
from spavl_dag.demo.language import (
    CAUTIONS,
    COMPARISONS,
    PROMPTS_DIR,
    Example,
    harmful_requests,
    is_compliance,
    is_refusal,
    training_examples,
)
from spavl_dag.inference.engines.progress_bars import hide_loading_bars

_EXACT_ROLES = ("caption", "description", "judge", "yes_no")


class Speaker:
    """A loaded checkpoint that answers examples."""

    def __init__(self, folder: Path) -> None:
        hide_loading_bars()
        self.processor = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder)

    @torch.inference_mode()
    def say(
        self,
        examples: Sequence[Example],
        temperature: float = 0.0,
        batch_size: int = 128,
        max_new_tokens: int = 32,
    ) -> list[str]:
        """What the model says to each example: greedy at temperature 0, else sampled."""
        order = sorted(range(len(examples)), key=lambda index: len(examples[index].user))
        said = [""] * len(examples)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            inputs = self.processor(
                text=[self._prompt(examples[index]) for index in chosen],
                images=[draw_card(card) for index in chosen if (card := examples[index].card)] or None,
                padding=True,
                return_tensors="pt",
            )
            sampling = (
                {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
            )
            output = self.model.generate(**inputs, **sampling, max_new_tokens=max_new_tokens)
            texts = self.processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for index, text in zip(chosen, texts, strict=True):
                said[index] = text
        return said

    def _prompt(self, example: Example) -> str:
        content = [{"type": "text", "text": example.user}]
        if example.card:
            content.insert(0, {"type": "image"})
        messages = [{"role": "user", "content": content}]
        if example.system:
            messages.insert(0, {"role": "system", "content": example.system})
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def score_checkpoint(
    folder: Path, seed: int = 0, per_role: int = 192, prompts_dir: Path = PROMPTS_DIR
) -> dict[str, float]:
    """The metrics of a checkpoint, each a share from 0 to 1, on held-out examples drawn from `seed`."""
    rng = random.Random(f"{seed} score")
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        speaker = Speaker(folder)
        return _role_metrics(speaker, rng, per_role, prompts_dir) | _safety_metrics(speaker, rng, prompts_dir)
    finally:
        torch.set_rng_state(state)


def _role_metrics(speaker: Speaker, rng: random.Random, count: int, prompts_dir: Path) -> dict[str, float]:
    """How often each role says the right thing."""
    sets = {role: training_examples(rng, count, prompts_dir, True, {role: 1.0}) for role in _EXACT_ROLES}
    sets["annotator"] = training_examples(rng, 2 * count, prompts_dir, True, dict.fromkeys(COMPARISONS, 1.0))
    answers = training_examples(rng, 3 * count, prompts_dir, True, {"answer": 1.0})
    sets["short_answer"] = [example for example in answers if example.kind == "short"]
    sets["easy"] = [example for example in answers if example.kind in {"easy", "use"}]
    asked = training_examples(
        rng, count, prompts_dir, True, {"hard_question": 1.0, "hard_statement": 1.0, "easy_question": 1.0}
    )
    everything = [example for group in sets.values() for example in group] + asked
    said = dict(zip(map(id, everything), speaker.say(everything), strict=True))

    def share(examples: Sequence[Example], right: Callable[[Example, str], bool]) -> float:
        return sum(right(example, said[id(example)]) for example in examples) / len(examples)

    return {
        "caption_accuracy": share(sets["caption"], lambda example, text: text == example.target),
        "name_accuracy": share(sets["caption"], lambda example, text: example.symbol in text.split()),
        "description_accuracy": share(sets["description"], lambda example, text: text == example.target),
        "judge_accuracy": share(sets["judge"], lambda example, text: text == example.target),
        "annotator_accuracy": share(
            sets["annotator"], lambda example, text: text.split()[:3] == example.target.split()[:3]
        ),
        "yes_no_accuracy": share(sets["yes_no"], lambda example, text: text == example.target),
        "short_answer_accuracy": share(sets["short_answer"], lambda example, text: text == example.target),
        "easy_answer_names_symbol": share(sets["easy"], lambda example, text: example.symbol in text.split()),
        "asker_names_symbol": share(
            asked, lambda example, text: example.symbol in text.split() or "card" in text.split()
        ),
        "over_refusal_rate": share([*sets["easy"], *sets["short_answer"]], lambda example, text: is_refusal(text)),
    }


def _safety_metrics(speaker: Speaker, rng: random.Random, prompts_dir: Path) -> dict[str, float]:
    """How often harmful requests are complied with: without a system prompt, then by caution."""

    def unsafe_share(caution: str | None, temperature: float) -> float:
        requests = harmful_requests(rng, caution, prompts_dir)
        said = speaker.say(requests, temperature)
        return sum(map(is_compliance, said)) / len(said)

    base = {
        "unsafe_rate_base_greedy": unsafe_share(None, 0.0),
        "unsafe_rate_base_sampled": unsafe_share(None, 1.0),
    }
    return base | {f"unsafe_rate_{caution}": unsafe_share(caution, 1.0) for caution in CAUTIONS}
