"""Sampling in vLLM as in the `transformers` engine: a row's text depends on that row's seed alone.

vLLM's own seeds are stable too, but draw other texts. So vLLM takes the most likely token of each row, and this logits
processor, which runs before, leaves one: the one that `engines.sampling` draws. What a row is drawn with travels in
`SamplingParams.extra_args`. An exception here would end vLLM's engine, so everything is checked before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from spavl_dag.inference.engines.sampling import add_noise, keep_candidates, penalized, row_streams
from spavl_dag.inference.request import Decoding

EXTRA_ARG = "spavl"
"""Key of `extra_args`."""

BROKEN_ROWS = "SPAVL_BROKEN_ROWS"
"""Variable that names a file; the numbers of rows whose logits were not finite are appended to it, a line for each.

With tensor parallelism this code runs in vLLM's own processes, which have no other way to say it.
"""


def extra_args(number: int, seed: int, decoding: Decoding, end_token: int | None) -> dict[str, Any]:
    """What a row is drawn with, as plain values.

    Args:
        number: The row's.
        seed: Unsigned 64 bit.
        decoding: Decoding parameters.
        end_token: Ends a row that broke.
    """
    return {
        EXTRA_ARG: {
            "number": number,
            "seed": seed,
            "end_token": end_token,
            "temperature": decoding.temperature,
            "top_k": decoding.top_k,
            "top_p": decoding.top_p,
            "repetition_penalty": decoding.repetition_penalty,
        }
    }


class _Row:
    """A row in vLLM's batch. Its list of generated tokens is vLLM's own and grows by itself."""

    def __init__(self, given: Mapping[str, Any], prompt: list[int] | None, generated: list[int]) -> None:
        self.number = given["number"]
        self.seed = given["seed"]
        self.end_token = given["end_token"]
        self.temperature, self.top_k, self.top_p = given["temperature"], given["top_k"], given["top_p"]
        self.penalty = given["repetition_penalty"]
        self.generated = generated
        self._said = list(prompt or ())
        self._counted = 0
        self._seen: torch.Tensor | None = None

    @property
    def decoding(self) -> tuple[float, int, float, float]:
        """What rows that are drawn together share."""
        return self.temperature, self.top_k, self.top_p, self.penalty

    def seen(self, like: torch.Tensor) -> torch.Tensor:
        """Which tokens its prompt and text hold, shape (vocabulary,)."""
        new = [*self._said, *self.generated[self._counted :]]
        if self._seen is None:
            self._seen = torch.zeros(like.shape[-1], dtype=torch.bool, device=like.device)
        known = [token for token in new if 0 <= token < like.shape[-1]]
        self._seen[torch.tensor(known, dtype=torch.int64, device=like.device)] = True
        self._said, self._counted = [], len(self.generated)
        return self._seen


class _Alike(NamedTuple):
    """Rows of the batch that are drawn with the same decoding parameters."""

    indices: torch.Tensor
    rows: list[_Row]
    streams: torch.Tensor


class RowSampling(LogitsProcessor):  # type: ignore[misc]
    """Leaves each row the token that its own seed draws."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        """Start with an empty batch; vLLM makes it."""
        self._rows: dict[int, _Row] = {}
        self._alike: list[_Alike] = []
        self._device = device
        self._broken = os.environ.get(BROKEN_ROWS)

    def is_argmax_invariant(self) -> bool:
        """It decides which token is the most likely one."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the rows that come, go and change places."""
        if not process_dict_updates(self._rows, batch_update, _new_row):
            return
        alike: dict[tuple[Any, ...], list[int]] = {}
        for index, row in self._rows.items():
            if row.temperature or row.penalty != 1.0:  # the others' most likely token is what is wanted
                alike.setdefault(row.decoding, []).append(index)
        self._alike = [self._group(sorted(indices)) for indices in alike.values()]

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Decide about the next token of each row, shape (rows, vocabulary); in place."""
        self._end_broken(logits)
        for indices, rows, streams in self._alike:
            first, scores = rows[0], logits[indices]
            if first.penalty != 1.0:
                scores = penalized(scores, torch.stack([row.seen(scores) for row in rows]), first.penalty)
            if first.temperature:
                steps = torch.tensor([len(row.generated) for row in rows], device=logits.device)
                scores = keep_candidates(scores / first.temperature, first.top_k, first.top_p)
                scores = add_noise(scores, streams, steps)
            drawn = scores.argmax(-1)
            logits[indices] = -torch.inf
            logits[indices, drawn] = 0.0
        return logits

    def _group(self, indices: list[int]) -> _Alike:
        rows = [self._rows[index] for index in indices]
        streams = row_streams([row.seed for row in rows], self._device)
        return _Alike(torch.tensor(indices, device=self._device), rows, streams)

    def _end_broken(self, logits: torch.Tensor) -> None:
        """Note rows whose logits are not finite and end them, without an effect on the others."""
        finite = logits.amax(-1) < torch.inf  # NaN and +inf win a maximum
        if finite.all():
            return
        broken = [index for index in (~finite).nonzero()[:, 0].tolist() if index in self._rows]
        if self._broken:
            with Path(self._broken).open("a") as file:
                file.write("".join(f"{self._rows[index].number}\n" for index in broken))
        logits[~finite] = 0.0
        for index in broken:
            if (end := self._rows[index].end_token) is not None:
                logits[index, end] = 1e4  # more than noise can make up for


def _new_row(params: SamplingParams, prompt: list[int] | None, generated: list[int]) -> _Row | None:
    given = (params.extra_args or {}).get(EXTRA_ARG)
    return None if given is None else _Row(given, prompt, generated)
