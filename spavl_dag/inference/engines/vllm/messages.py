"""What the engine and its worker process say to each other, pickled, over two pipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from spavl_dag.inference.request import Decoding

FOLDER = "SPAVL_WORKER_FOLDER"
"""Variable that names a folder for a worker's own files, which goes with it."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a worker.

    Attributes:
        backend: What it is to run, as `module:class`; called with the settings.
        settings: Whatever the backend takes.
    """

    backend: str
    settings: Any


@dataclass(frozen=True, slots=True)
class Row:
    """A request as tokens.

    Attributes:
        number: Names it among all rows of this engine.
        tokens: The prompt, one placeholder for each image.
        images: Hash (sha256, hex) and encoded bytes of each.
        seed: Of its sampling, unsigned 64 bit.
        structured_output: What the text is held to, as in `ModelSpec`, or None.
    """

    number: int
    tokens: tuple[int, ...]
    images: tuple[tuple[str, bytes], ...]
    seed: int
    structured_output: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Rows to generate for, with the decoding that they share.

    Attributes:
        rows: In the order in which they are to begin.
        decoding: Decoding parameters.
    """

    rows: tuple[Row, ...]
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class Abort:
    """Forget all rows that were asked so far: nobody reads them any more."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker's first message: the model is loaded.

    Attributes:
        context: Most tokens of prompt and text together.
    """

    context: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker's last message: it can't go on, and why."""

    message: str


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """What vLLM is started with.

    Attributes:
        engine_args: Of `vllm.EngineArgs`.
        adapter: Folder of a LoRA adapter.
        end_tokens: Token ids that end a text.
        max_pixels: Larger pictures are made so small.
        probes: Rows that any working model takes; what is wrong with them is wrong with the model.
    """

    engine_args: dict[str, Any]
    adapter: str | None = None
    end_tokens: tuple[int, ...] = ()
    max_pixels: int | None = None
    probes: tuple[Row, ...] = ()


class Outcome(NamedTuple):
    """What came of a row.

    Attributes:
        number: The row's.
        tokens: Generated ones, the end token included.
        finish_reason: "stop", "length", or "error".
        prompt_tokens: Tokens of the prompt, image tokens included.
        error: What went wrong.
        is_permanent: Whether it would go wrong again.
    """

    number: int
    tokens: tuple[int, ...] = ()
    finish_reason: str = "error"
    prompt_tokens: int = 0
    error: str | None = None
    is_permanent: bool = True
