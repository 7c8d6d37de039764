"""What every engine takes and gives back.

An engine turns requests into results in bounded batches. It knows nothing of artifacts, ledgers or roles, and it never
raises for a single bad request: that request's result says what went wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spavl_dag.errors import SpavlError
from spavl_dag.states import CallState


class ChangedImageError(SpavlError):
    """An image file of an artifact doesn't hold the bytes that the artifact's table names."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Decoding parameters, normalized; all of them are part of a call's key.

    Attributes:
        max_new_tokens: Upper bound of generated tokens.
        temperature: 0 is greedy; then top_p and top_k have no effect.
        top_p: Nucleus mass in (0, 1].
        top_k: Number of candidates kept; 0 keeps all.
        repetition_penalty: 1 is none.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0.0


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by its content, read only when it is needed.

    Attributes:
        sha256: Hex digest of the encoded bytes (64 characters).
        read: Returns the encoded bytes (PNG, JPEG, …).
    """

    sha256: str
    read: Callable[[], bytes]

    @classmethod
    def of_file(cls, path: Path, sha256: str) -> ImageRef:
        """An image file of an artifact, `<artifact>/files/<name>`, with the hash that the artifact's table names."""
        return cls(sha256, CheckedFile(path, sha256))


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """Reads a file and gives its bytes only if they are those with the hash.

    What is made of an image is kept under its hash, so that other bytes would be answered for once and for all.

    Attributes:
        path: The file, `<artifact>/files/<name>`.
        sha256: Hex digest of its bytes.
    """

    path: Path
    sha256: str

    def __call__(self) -> bytes:
        """The file's bytes.

        Raises:
            ChangedImageError: It holds other bytes, or can't be read.
        """
        artifact = self.path.parent.parent.name
        hint = f"Run `spavl run {artifact}` again."
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ChangedImageError(f"{self.path} can't be read any more ({error.strerror})", hint) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ChangedImageError(f"{self.path} changed since `{artifact}` was made", hint)
        return data


@dataclass(frozen=True, slots=True)
class Request:
    """One model call.

    Attributes:
        key: Ledger key (16 bytes); engines give it back with the result.
        prompt: Rendered user turn.
        system: System turn, or None for no such turn.
        image: The image of the user turn, or None for text only.
        seed: Seed of this row's sampling (unsigned 64 bit); the same
            seed gives the same text whatever stands beside it.
    """

    key: bytes
    prompt: str
    system: str | None
    image: ImageRef | None
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request.

    Attributes:
        key: The request's key.
        state: `ok` when text came back, else `permanent_error` or `transient_error`.
        text: Decoded output without special tokens, exactly as the model wrote it ("" on errors).
        finish_reason: "stop", "length", or "error".
        prompt_tokens: Tokens of the prompt, image tokens included.
        completion_tokens: Generated tokens, end-of-sequence included.
        cost_usd: Price of the call; 0 for local engines.
        error: What went wrong, for the two error states.
    """

    key: bytes
    state: CallState
    text: str
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    error: str | None = None


class Engine(Protocol):
    """A way to run a model."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[Result]]:
        """Yield the results of all requests, batch by batch, each batch at most `batch_size` long.

        The batches are formed from the whole sequence in a fixed way, so the client may count on it that the same
        requests are always computed together.

        Args:
            requests: The calls to make; keys are distinct.
            decoding: Shared by all of them.

        Raises:
            EngineError: The model itself can't be loaded or run.
        """
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...
