"""Prompts joined with answers."""

from __future__ import annotations

import torch

from spavl_dag.training.sequences import join_answers


def test_padding_moves_to_the_end() -> None:
    prompts = {
        "input_ids": torch.tensor([[0, 0, 5, 6], [7, 8, 9, 4]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
        "mm_token_type_ids": torch.tensor([[0, 0, 1, 0], [1, 1, 0, 0]]),
        "pixel_values": torch.ones(2, 3),
    }
    joined = join_answers(prompts, [(1, 2, 3), (2,)], pad_token=0)
    assert joined["input_ids"].tolist() == [[5, 6, 1, 2, 3], [7, 8, 9, 4, 2]]
    assert joined["attention_mask"].tolist() == [[1] * 5, [1] * 5]
    assert joined["completion_mask"].tolist() == [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]
    assert joined["mm_token_type_ids"].tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]
    assert joined["pixel_values"] is prompts["pixel_values"]
    shorter = join_answers(prompts, [(1,), (2,)], pad_token=3)
    assert shorter["input_ids"].tolist() == [[5, 6, 1, 3, 3], [7, 8, 9, 4, 2]]
    assert shorter["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
