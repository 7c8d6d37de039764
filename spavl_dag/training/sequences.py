"""Token batches for trainers of our own: prompts joined with answers, and what a model takes of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def join_answers(prompts: Mapping[str, Any], answers: Sequence[Sequence[int]], pad_token: int) -> dict[str, Any]:
    """Put an answer behind each prompt and pad on the right, so that positions need no correction in any model.

    Args:
        prompts: Model inputs of padded prompts (`Encoder.prompts`).
        answers: Token ids of each prompt's answer.
        pad_token: Id that fills rows up.

    Returns:
        The model inputs with input_ids and attention_mask of shape (rows, tokens), and completion_mask of the same
        shape, 1 on the answers' tokens. What else a processor says token by token (ends in `token_type_ids`) is 0
        there, as for any text; the rest, such as pixel values, is handed on.
    """
    ids, present = prompts["input_ids"], prompts["attention_mask"].bool()
    lengths = present.sum(-1).tolist()
    width = max(length + len(answer) for length, answer in zip(lengths, answers, strict=True))
    shape = (len(lengths), width)
    joined: dict[str, Any] = {
        "input_ids": ids.new_full(shape, pad_token),
        "attention_mask": ids.new_zeros(shape),
        "completion_mask": ids.new_zeros(shape),
    }
    marks = [name for name in prompts if name.endswith("token_type_ids")]
    joined |= {name: prompts[name].new_zeros(shape) for name in marks}
    for row, (length, answer) in enumerate(zip(lengths, answers, strict=True)):
        end = length + len(answer)
        joined["input_ids"][row, :length] = ids[row][present[row]]
        joined["input_ids"][row, length:end] = torch.tensor(answer, dtype=ids.dtype)
        joined["attention_mask"][row, :end] = 1
        joined["completion_mask"][row, length:end] = 1
        for name in marks:
            joined[name][row, :length] = prompts[name][row][present[row]]
    return {**prompts, **joined}


def bare_network(network: Any) -> Any:
    """A network without PEFT's wrapper; adapters stay in its layers."""
    return network.get_base_model() if hasattr(network, "peft_config") else network


def inputs_for(network: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a network's `forward` takes of a batch, on its device and in its dtype."""
    bare = bare_network(network)
    accepted = {*inspect.signature(bare.forward).parameters, "pixel_values"}
    return {
        name: value.to(bare.device, bare.dtype if value.is_floating_point() else None)
        if isinstance(value, Tensor)
        else value
        for name, value in batch.items()
        if name in accepted
    }
