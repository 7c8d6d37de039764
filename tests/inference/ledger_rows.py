"""Rows for the ledger's tests."""

import hashlib
from typing import Any

from spavl_dag.inference.ledger import CallRow
from spavl_dag.states import CallState


def key(number: int) -> bytes:
    """A key like any other, the same for the same number."""
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest()


def row(number: int, state: CallState = CallState.OK, **changes: Any) -> CallRow:
    """The row of key `number`."""
    values: dict[str, Any] = {
        "key": key(number),
        "state": state,
        "text": f"answer {number}" if state.has_text else "",
        "finish_reason": "stop" if state.has_text else "error",
        "prompt_tokens": 700,
        "completion_tokens": 90,
        "cost_usd": 0.25,
        "error": None if state.has_text else "HTTP 429",
        "artifact": "responses",
        "partition": "gemini",
        "role": "answer",
        "profile": '{"engine": "openai", "model": "m"}',
        "prompt": f"question {number}",
        "image_sha256": "ab" * 32,
        "sample_index": 0,
        "seed": 2**63 - 1,
    }
    return CallRow(**values | changes)
