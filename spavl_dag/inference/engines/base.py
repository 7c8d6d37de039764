"""What every engine is: opened with settings, it turns requests into generations in bounded batches.

An engine knows nothing of artifacts, ledgers or roles, and it never raises for a single bad request: that request's
generation says what went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from spavl_dag.inference.request import Decoding, Generation, Request
from spavl_dag.params.engines import EngineParams, EngineRuntime


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is opened with.

    Attributes:
        engine: Its family, a key of `ENGINES`.
        model: Local folder or hub id of the model.
        revision: Branch, tag or commit on the hub; None for the default, and for local folders.
        adapter: Folder of a LoRA adapter to be put onto the weights, or None.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:<n>".
        dtype: "auto" (float32 on the CPU, bfloat16 on a GPU), "float32", "bfloat16" or "float16".
        batch_size: Largest number of requests computed together, at least 1.
        threads: CPU threads, or None to leave them alone (torch has one setting for the whole process).
        params: What `engines.<name>` says, or None for an engine of which nothing is said.
        runtime: What `runtime.engines.<name>` says, or None.
        wait_for_gpus: Whether to wait where other processes hold the GPUs that it may have.
    """

    engine: str
    model: str
    revision: str | None = None
    adapter: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 32
    threads: int | None = None
    params: EngineParams | None = None
    runtime: EngineRuntime | None = None
    wait_for_gpus: bool = True


class Engine(Protocol):
    """A way to run a model."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[Generation]]:
        """Yield what came of all requests, batch by batch, each batch at most `batch_size` long.

        The batches are formed from the whole sequence in a fixed way, so the client may count on it that the same
        requests are always computed together.

        Args:
            requests: The calls to make; keys are distinct.
            decoding: Shared by all of them.

        Raises:
            EngineError: The model itself can't be loaded or run.
        """
        ...

    def stop(self) -> None:
        """Start no more calls; what is under way still comes out of `generate`, which ends then."""
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...
