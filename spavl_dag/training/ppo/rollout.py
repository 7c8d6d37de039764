"""Rollouts: answers that the policy draws to questions, and their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from spavl_dag.inference.engines.early_release import can_shrink, generate_tokens
from spavl_dag.inference.engines.loading import Checkpoint
from spavl_dag.inference.engines.sampling import SeededSampling
from spavl_dag.inference.request import Decoding
from spavl_dag.training.examples import Encoder, PreferenceRow
from spavl_dag.training.models import Loaded
from spavl_dag.training.sequences import inputs_for


@dataclass(frozen=True, slots=True)
class Rollout:
    """One drawn answer.

    Attributes:
        row: The question and picture it answers; the answers of the row are not read.
        tokens: Token ids, with the end token if there is one.
        text: The same without control tokens.
        ended: Whether it ended by itself.
    """

    row: PreferenceRow
    tokens: tuple[int, ...]
    text: str
    ended: bool


class AnswerSampling(SeededSampling):
    """Draws by row seeds, and never one of the suppressed tokens."""

    def __init__(self, suppressed: Sequence[int], *args: Any) -> None:
        """Take the suppressed tokens; see SeededSampling for the rest."""
        super().__init__(*args)
        self._suppressed = list(suppressed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Give scores whose argmax is the token to take."""
        scores = scores.clone()
        scores[:, self._suppressed] = -torch.inf
        return super().__call__(input_ids, scores)


@torch.no_grad()
def roll_out(
    loaded: Loaded,
    encoder: Encoder,
    rows: Sequence[PreferenceRow],
    seeds: Sequence[int],
    decoding: Decoding,
    suppressed: Sequence[int],
) -> list[Rollout]:
    """Draw an answer to each question, all in one batch.

    A rollout depends on its row, its seed and the weights alone, up to rounding.

    Args:
        loaded: The policy, in evaluation mode.
        encoder: Of its prompts.
        rows: Questions with pictures.
        seeds: One per row, unsigned 64 bit.
        decoding: Temperature and number of tokens.
        suppressed: Tokens that are never drawn.

    Raises:
        UnreadableImageError: A picture can't be decoded.
        ChangedImageError: A file isn't what it was when `images` was made.
    """
    tokenizer = loaded.processor.tokenizer
    checkpoint = Checkpoint(loaded.model, loaded.processor, tokenizer.pad_token_id, loaded.end_tokens, loaded.context)
    inputs = inputs_for(loaded.model, encoder.prompts([row.question for row in rows], [row.image for row in rows]))
    end = loaded.end_tokens[0] if loaded.end_tokens else None
    sampling = AnswerSampling(suppressed, decoding, seeds, inputs["attention_mask"], end)
    drawn = generate_tokens(checkpoint, inputs, sampling, decoding.max_new_tokens, shrink=can_shrink(loaded.model))
    texts = tokenizer.batch_decode(drawn, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [
        Rollout(row, tuple(tokens), text, tokens[-1] in loaded.end_tokens)
        for row, tokens, text in zip(rows, drawn, texts, strict=True)
    ]
