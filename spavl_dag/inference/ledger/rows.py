"""A ledger's rows, as the rest of the project sees them and as SQLite holds them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from spavl_dag.inference.keys import KEY_BYTES
from spavl_dag.inference.ledger.schema import CODES
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


Context = tuple[str, str | None, str, str]
"""What many rows share: artifact, partition, role, profile."""


class StoredCall(NamedTuple):
    """Columns of table `calls` behind id, batch and context, as SQLite holds them."""

    key: bytes
    state: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    finish_reason: str
    error: str | bytes | None
    text: str | bytes
    sample_index: int
    seed: int
    image_sha256: str | None
    prompt: str | bytes


context_of: Callable[[CallRow], Context] = attrgetter("artifact", "partition", "role", "profile")


def stored(row: CallRow) -> StoredCall:
    """A row's own columns as SQLite holds them."""
    return StoredCall(
        row.key,
        CODES[row.state],
        row.prompt_tokens,
        row.completion_tokens,
        row.cost_usd,
        row.finish_reason,
        None if row.error is None else storable(row.error),
        storable(row.text),
        row.sample_index,
        row.seed,
        row.image_sha256,
        storable(row.prompt),
    )


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
