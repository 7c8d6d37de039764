"""Generation that lets go of finished rows, which otherwise cost as much as the longest of their batch.

transformers' `generate` keeps the batch whole.  Here it is stopped whenever half of the rows have ended, and
goes on from its cache with the other half.  That is done on the CPU only, where a step costs as much as it
has rows, and only for models all of whose memory is in a plain key-value cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.cache_utils import DynamicLayer

from spavl_dag.inference.engines.loading import Checkpoint
from spavl_dag.inference.engines.sampling import SeededSampling

_SMALLEST = 4
"""Batches of this size and below are computed to their end: a restart costs more than their idle rows."""


def can_shrink(model: Any) -> bool:
    """Whether rows can be taken out of this model's batches."""
    if model.device.type != "cpu" or model.config.is_encoder_decoder:
        return False
    if hasattr(model.base_model, "rope_deltas"):  # Qwen-VL and its kin keep a number per row outside the cache
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config.get_text_config()).layers)


def generate_tokens(
    checkpoint: Checkpoint,
    inputs: dict[str, Any],
    sampling: SeededSampling,
    max_new_tokens: int,
    *,
    shrink: bool,
) -> list[list[int]]:
    """Generate until each row has ended or has `max_new_tokens`.

    Args:
        checkpoint: The model.
        inputs: Model inputs of a left-padded batch; `attention_mask` is among them.
        sampling: Chooses the tokens; made for this batch.
        max_new_tokens: Upper bound of generated tokens.
        shrink: Whether finished rows are taken out; see `can_shrink`.

    Returns:
        The generated tokens of each row, the end token included if there is one.
    """
    model, ends = checkpoint.model, checkpoint.end_tokens
    prompt_length = inputs["attention_mask"].shape[1]
    rows = list(range(len(inputs["attention_mask"])))
    texts: list[list[int]] = [[] for _ in rows]
    if shrink:
        inputs = {**inputs, "past_key_values": DynamicCache(config=model.config.get_text_config())}
    while True:
        made = inputs["input_ids"].shape[1] - prompt_length
        may_stop = shrink and len(rows) > _SMALLEST
        sequences = model.generate(
            **inputs,
            generation_config=checkpoint.generation_config(max_new_tokens - made),
            logits_processor=LogitsProcessorList([sampling]),
            stopping_criteria=StoppingCriteriaList([_HalfEnded(ends)]) if may_stop else None,
        )
        texts_now = [until_end(tokens, ends) for tokens in sequences[:, prompt_length:].tolist()]
        for row, text in zip(rows, texts_now, strict=True):
            texts[row] = text
        made = sequences.shape[1] - prompt_length
        going = [index for index, text in enumerate(texts_now) if text[-1] not in ends]
        if not going or made >= max_new_tokens:
            return texts
        inputs = _continued(inputs, sequences, going)
        sampling.keep(going)
        rows = [rows[index] for index in going]


def until_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """Cut off what follows the first end token."""
    for index, token in enumerate(tokens):
        if token in ends:
            return tokens[: index + 1]
    return tokens


def _continued(inputs: dict[str, Any], sequences: torch.Tensor, going: list[int]) -> dict[str, Any]:
    """Inputs that go on where `sequences` stopped, with the rows `going` only; the cache holds the images."""
    picked = torch.tensor(going, device=sequences.device)
    cache = inputs["past_key_values"]
    cache.batch_select_indices(picked)
    mask = inputs["attention_mask"][picked]
    grown = mask.new_ones((len(going), sequences.shape[1] - mask.shape[1]))
    return {
        "input_ids": sequences[picked],
        "attention_mask": torch.cat([mask, grown], dim=1),
        "past_key_values": cache,
    }


class _HalfEnded(StoppingCriteria):
    """Stops the whole batch once half of its rows have ended."""

    def __init__(self, ends: Sequence[int]) -> None:
        self._ends = torch.tensor(ends)
        self._ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        ended = torch.isin(input_ids[:, -1], self._ends)
        self._ended = ended if self._ended is None else self._ended | ended
        return torch.full_like(ended, bool(2 * self._ended.sum() >= len(ended)))
