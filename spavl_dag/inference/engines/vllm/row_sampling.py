"""Sampling in vLLM as in the `transformers` engine: a row's text depends on that row's seed alone.

vLLM's own seeds are stable too, but draw other texts. So vLLM takes the most likely token of each row, and this logits
processor, which runs before, leaves one: the one that `engines.sampling` draws. What a row is drawn with travels in
`SamplingParams.extra_args`. An exception here would end vLLM's engine, so everything is checked before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        self.decoding = (given["temperature"], given["top_k"], given["top_p"], given["repetition_penalty"])
        self.generated = generated
        self._said = list(prompt or ())
        self._counted = 0
        self._seen: torch.Tensor | None = None

    def seen(self, like: torch.Tensor) -> torch.Tensor:
        """Which tokens its prompt and text hold, shape (vocabulary,)."""
        new = [*self._said, *self.generated[self._counted :]]
        if self._seen is None:
            self._seen = torch.zeros(like.shape[-1], dtype=torch.bool, device=like.device)
        known = [token for token in new if 0 <= token < like.shape[-1]]
        self._seen[torch.tensor(known, dtype=torch.int64, device=like.device)] = True
        self._said, self._counted = [], len(self.generated)
        return self._seen


class RowSampling(LogitsProcessor):  # type: ignore[misc]
    """Leaves each row the token that its own seed draws."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        """Start with an empty batch; vLLM makes it."""
        self._rows: dict[int, _Row] = {}
        self._broken = os.environ.get(BROKEN_ROWS)

    def is_argmax_invariant(self) -> bool:
        """It decides which token is the most likely one."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the rows that come, go and change places."""
        process_dict_updates(self._rows, batch_update, _new_row)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Decide about the next token of each row, shape (rows, vocabulary); in place."""
        broken = self._mend_broken(logits)
        alike: dict[tuple[Any, ...], list[int]] = {}
        for index, row in self._rows.items():
            temperature, _, _, penalty = row.decoding
            if index < len(logits) and index not in broken and (temperature or penalty != 1.0):
                alike.setdefault(row.decoding, []).append(index)
        for decoding, indices in alike.items():
            self._draw(logits, indices, *decoding)
        return logits

    def _draw(
        self, logits: torch.Tensor, indices: list[int], temperature: float, top_k: int, top_p: float, penalty: float
    ) -> None:
        rows = [self._rows[index] for index in indices]
        picked = torch.tensor(indices, device=logits.device)
        scores = logits[picked]
        if penalty != 1.0:
            scores = penalized(scores, torch.stack([row.seen(scores) for row in rows]), penalty)
        if temperature:
            steps = torch.tensor([len(row.generated) for row in rows], device=logits.device)
            streams = row_streams([row.seed for row in rows], logits.device)
            scores = add_noise(keep_candidates(scores / temperature, top_k, top_p), streams, steps)
        drawn = scores.argmax(-1)
        logits[picked] = -torch.inf
        logits[picked, drawn] = 0.0

    def _mend_broken(self, logits: torch.Tensor) -> set[int]:
        """Note rows whose logits are not finite and end them, without an effect on the others."""
        finite = logits.amax(-1) < torch.inf  # NaN and +inf win a maximum
        if finite.all():
            return set()
        broken = set((~finite).nonzero()[:, 0].tolist())
        numbers = [f"{self._rows[index].number}\n" for index in broken if index in self._rows]
        if self._broken:
            with Path(self._broken).open("a") as file:
                file.write("".join(numbers))
        for index in broken:
            logits[index] = 0.0
            if index in self._rows and self._rows[index].end_token is not None:
                logits[index, self._rows[index].end_token] = 1.0
        return broken


def _new_row(params: SamplingParams, prompt: list[int] | None, generated: list[int]) -> _Row | None:
    given = (params.extra_args or {}).get(EXTRA_ARG)
    return None if given is None else _Row(given, prompt, generated)
