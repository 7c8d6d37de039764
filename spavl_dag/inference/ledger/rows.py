"""A ledger's rows, as the rest of the project sees them and as SQLite holds them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from spavl_dag.inference.keys import KEY_BYTES
from spavl_dag.states import CallState


@dataclass(frozen=True, slots=True)
class CallRow:
    """One attempt at a model call.

    Attributes:
        key: Ledger key (16 bytes).
        state: How it ended.
        text: What the model wrote ("" on errors).
        finish_reason: "stop", "length" or "error".
        prompt_tokens: Tokens of the prompt, image tokens included.
        completion_tokens: Generated tokens.
        cost_usd: Price of the call.
        error: What went wrong, for the error states.
        artifact: The artifact it was made for.
        partition: That artifact's partition, or None.
        role: "captioner", "judge", …
        profile: JSON of engine, model, revision, system turn and decoding; stored once.
        prompt: Rendered user turn; for a conversation of several turns or images, JSON of all of them.
        image_sha256: Hex digest of the encoded image; None where there is none or several.
        sample_index: Number of the sample.
        seed: Seed of the row, signed 64 bit.
        created_at: Unix seconds of its batch; set by the ledger, whatever is given.
        run_id: The run that made it; set by the ledger, whatever is given.
    """

    key: bytes
    state: CallState
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    error: str | None
    artifact: str
    partition: str | None
    role: str
    profile: str
    prompt: str
    image_sha256: str | None
    sample_index: int
    seed: int
    created_at: float = 0.0
    run_id: str = ""


class SummaryRow(NamedTuple):
    """Attempts of one artifact, partition and state: how many, and what they took."""

    artifact: str
    partition: str | None
    state: CallState
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


class RateRow(NamedTuple):
    """What the calls of one role took so far.

    Attributes:
        role: Key path in params.yaml.
        calls: Attempts.
        prompt_tokens: Of all of them.
        completion_tokens: Of all of them.
        cost_usd: Of all of them.
        timed_calls: Those of which it is known how long they took: all but the first batch of a run.
        seconds: Wall time of these.
    """

    role: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    timed_calls: int
    seconds: float


Context = tuple[str, str | None, str, str]
"""What many rows share: artifact, partition, role, profile."""


context_of: Callable[[CallRow], Context] = attrgetter("artifact", "partition", "role", "profile")


def tallies(
    rows: Sequence[CallRow], contexts: Sequence[int], codes: bytes
) -> list[tuple[int, int, int, int, int, float]]:
    """Id of the context, state's code, rows, prompt tokens, completion tokens and cost."""
    groups: dict[tuple[int, int], list[CallRow]] = {}
    for row, group in zip(rows, zip(contexts, codes, strict=True), strict=True):
        groups.setdefault(group, []).append(row)
    return [
        (
            *group,
            len(alike),
            sum([row.prompt_tokens for row in alike]),
            sum([row.completion_tokens for row in alike]),
            sum([row.cost_usd for row in alike]),
        )
        for group, alike in groups.items()
    ]


def split_keys(blob: bytes) -> tuple[bytes, ...]:
    """Keys of a batch."""
    return struct.unpack(f"{KEY_BYTES}s" * (len(blob) // KEY_BYTES), blob)


def storable(text: str) -> str | bytes:
    """Return the text itself, or its bytes where it holds NULs or lone surrogates."""
    if "\0" not in text:
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    return text.encode("utf-8", "surrogatepass")


def restored(held: str | bytes) -> str:
    """Return the text that `storable` was given."""
    return held if isinstance(held, str) else held.decode("utf-8", "surrogatepass")
