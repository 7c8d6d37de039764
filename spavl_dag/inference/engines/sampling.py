"""Sampling whose outcome depends on a row's seed alone, never on the rows beside it.

`torch.multinomial` draws for a whole batch from one stream, so a row's text would change with its neighbours.
Here a token is drawn with the Gumbel-max trick instead: `argmax(log p + g)` with independent standard Gumbel
noise `g` has the distribution `p`.  The noise is a pure function of (row seed, step, token), computed for a
whole batch at once with the SplitMix64 generator, and the argmax is what greedy decoding does anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor

from spavl_dag.inference.request import Decoding

_NEVER = torch.iinfo(torch.int64).max


def _signed(value: int) -> int:
    """An unsigned 64-bit number as the signed one with the same bits."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


# SplitMix64 (Steele, Lea and Flood 2014); int64 arithmetic in torch wraps, so signed numbers do as well.
_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _mix(bits: torch.Tensor) -> torch.Tensor:
    """The output function of SplitMix64, in place on int64."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, None)):
        # `>>` on int64 copies the sign bit down; the mask makes it a shift of unsigned numbers.
        bits ^= (bits >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        if factor is not None:
            bits *= factor
    return bits


def row_streams(seeds: Sequence[int], device: torch.device | str) -> torch.Tensor:
    """Turn row seeds (unsigned, 64 bit) into the int64 states that `gumbel_noise` takes, shape (rows,)."""
    return torch.tensor([_signed(seed) for seed in seeds], dtype=torch.int64, device=device)


def gumbel_noise(streams: torch.Tensor, step: int | torch.Tensor, size: int) -> torch.Tensor:
    """Independent standard Gumbel noise for one step of every row.

    Args:
        streams: States of the rows, shape (rows,), int64.
        step: Number of tokens generated so far: one for all rows, or one for each, shape (rows,), int64.
        size: Number of tokens in the vocabulary.

    Returns:
        Noise of shape (rows, size), float64; each number depends on its row's state, the step and its column
        only.
    """
    tokens = torch.arange(size, dtype=torch.int64, device=streams.device)
    return _noise_at(_step_starts(streams, step)[:, None], tokens)


def _step_starts(streams: torch.Tensor, step: int | torch.Tensor) -> torch.Tensor:
    """Where a step's stream begins; mixed twice, so that no two seeds or steps share one that is shifted."""
    offset = _signed((step + 1) * _GOLDEN) if isinstance(step, int) else (step + 1) * _GOLDEN
    return _mix(_mix(streams + _GOLDEN) + offset)


def _noise_at(starts: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    bits = _mix(starts + (tokens + 1) * _GOLDEN)
    uniform = (bits >> 11).bitwise_and_((1 << 53) - 1).to(torch.float64).add_(0.5).mul_(2.0**-53)
    return uniform.log_().neg_().log_().neg_()


def add_noise(scores: torch.Tensor, streams: torch.Tensor, step: int | torch.Tensor) -> torch.Tensor:
    """Add `gumbel_noise` to the scores, shape (rows, vocabulary); tokens at -inf stay there.

    On the CPU it is computed for the candidates only, where they are few, as of a real vocabulary; the sums are the
    same.
    """
    if scores.device.type != "cpu":  # counting the candidates would make the GPU wait
        return scores + gumbel_noise(streams, step, scores.shape[-1])
    candidates = scores > -torch.inf
    if 4 * int(candidates.sum()) > scores.numel():
        return scores + gumbel_noise(streams, step, scores.shape[-1])
    rows, tokens = candidates.nonzero(as_tuple=True)
    noisy = torch.full_like(scores, -torch.inf, dtype=torch.float64)
    noisy[rows, tokens] = scores[rows, tokens] + _noise_at(_step_starts(streams, step)[rows], tokens)
    return noisy


def keep_candidates(scores: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Set all but the likely tokens of each row to -inf.

    The nucleus is the smallest set of most likely tokens whose mass, among the `top_k` kept ones, reaches
    `top_p`. Tokens as likely as the last kept one are kept too, so that no sorting order decides.

    Args:
        scores: Logits after the temperature, shape (rows, vocabulary).
        top_k: Number of tokens kept; 0 keeps all.
        top_p: Mass kept, in (0, 1].

    Returns:
        A tensor like `scores`.
    """
    if not 0 < top_k < scores.shape[-1]:
        top_k = 0
    if not top_k and top_p >= 1.0:
        return scores
    likely = scores.topk(top_k).values if top_k else _descending(scores)
    floor = likely[:, -1:]
    if top_p < 1.0:
        mass = likely.softmax(-1, dtype=torch.float64).cumsum(-1)
        last = (mass < top_p).sum(-1, keepdim=True).clamp_(max=likely.shape[-1] - 1)
        floor = likely.gather(-1, last)
    return scores.masked_fill(scores < floor, -torch.inf)


def penalized(scores: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Make tokens that were seen less likely; both tensors have the shape (rows, vocabulary)."""
    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def _descending(scores: torch.Tensor) -> torch.Tensor:
    """Each row's scores, the largest first."""
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.float64):
        return scores.sort(descending=True).values
    return torch.from_numpy(-np.sort(-scores.numpy(), axis=-1))  # ten times as fast as torch's, which sorts places too


class SeededSampling(LogitsProcessor):
    """Repetition penalty, temperature, top-k, top-p and noise in one go; their argmax is the draw.

    One instance serves one call of `generate`.  Rows whose logits are not finite are noted and ended at once,
    without an effect on the others.
    """

    def __init__(
        self, decoding: Decoding, seeds: Sequence[int], attention_mask: torch.Tensor, end_token: int | None
    ) -> None:
        """Prepare for a batch.

        Args:
            decoding: Decoding parameters.
            seeds: One seed per row.
            attention_mask: Mask of the padded prompts, shape (rows, prompt length).
            end_token: An end-of-sequence token, forced on rows that broke.
        """
        self._decoding = decoding
        self._mask = attention_mask.bool()
        self._rows = torch.arange(len(seeds), device=attention_mask.device)
        self._streams = row_streams(seeds, attention_mask.device)
        self._end_token = end_token
        self._seen: torch.Tensor | None = None
        self._broken_at = torch.full((len(seeds),), _NEVER, dtype=torch.int64, device=attention_mask.device)

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with some of the present rows only, in the order of their indices."""
        picked = torch.tensor(indices, device=self._mask.device)
        self._rows = self._rows[picked]
        self._mask = self._mask[picked]
        self._streams = self._streams[picked]
        if self._seen is not None:
            self._seen = self._seen[picked]

    def broken_rows(self, lengths: Sequence[int]) -> list[bool]:
        """Tell which rows had no finite logits within their first `lengths` generated tokens."""
        return [step < length for step, length in zip(self._broken_at.tolist(), lengths, strict=True)]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Give scores whose argmax is the token to take; both shapes are (rows, ...)."""
        step = input_ids.shape[1] - self._mask.shape[1]
        scores = self._without_broken(scores, step)
        if self._decoding.repetition_penalty != 1.0:
            scores = self._penalised(input_ids, scores)
        if self._decoding.greedy:
            return scores
        scores = keep_candidates(scores / self._decoding.temperature, self._decoding.top_k, self._decoding.top_p)
        return add_noise(scores, self._streams, step)

    def _without_broken(self, scores: torch.Tensor, step: int) -> torch.Tensor:
        broken = ~scores.amax(-1).isfinite()  # NaN and +inf win a maximum, and a row of -inf has no other
        held = self._broken_at[self._rows]
        self._broken_at[self._rows] = torch.where(broken, held.clamp(max=step), held)
        scores = scores.masked_fill(broken[:, None], 0.0)
        if self._end_token is not None:
            scores[:, self._end_token] += broken * 1e4
        return scores

    def _penalised(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Make tokens of the row's own prompt and text less likely.

        The padding is left out, which transformers' own processor counts as if the row had said it: with it,
        the longest row of a batch would decide about the others.
        """
        if self._seen is None:
            prompt = input_ids[:, : self._mask.shape[1]]
            counts = torch.zeros_like(scores, dtype=torch.int32)
            self._seen = counts.scatter_add_(1, prompt, self._mask.int()).bool()
        if input_ids.shape[1] > self._mask.shape[1]:
            self._seen.scatter_(1, input_ids[:, -1:], True)
        return penalized(scores, self._seen, self._decoding.repetition_penalty)
