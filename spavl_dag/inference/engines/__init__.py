"""Engines: the ways to run a model, and the one place that knows their names.

Belongs here: the registry.  An engine's module is imported when it is opened, never before, because it brings
torch or an HTTP client with it.
"""

from __future__ import annotations

from importlib import import_module

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import Engine

ENGINES: dict[str, str] = {"transformers": "spavl_dag.inference.engines.transformers_engine:TransformersEngine"}
"""For each engine's name its class as `module:attribute`; all take the arguments of `open_engine` after the
name."""


def open_engine(
    name: str,
    model: str,
    revision: str | None,
    *,
    adapter: str | None = None,
    device: str,
    dtype: str,
    batch_size: int,
    threads: int | None,
) -> Engine:
    """Load a model into an engine.

    Args:
        name: Engine name, a key of `ENGINES`.
        model: Local folder or hub id of the model.
        revision: Branch, tag or commit on the hub; None for the default, and for local folders.
        adapter: Folder of a LoRA adapter to be put onto the weights, or None.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:<n>".
        dtype: "auto" (float32 on the CPU, bfloat16 on a GPU), "float32", "bfloat16" or "float16".
        batch_size: Largest number of requests computed together, at least 1.
        threads: CPU threads of the model, or None to leave them alone.

    Returns:
        The engine, ready to generate; the client closes it.

    Raises:
        EngineError: There is no such engine, or it can't load the model.
    """
    target = ENGINES.get(name)
    if target is None:
        raise EngineError(
            f"engine {name!r} is not available", f"Set `engine:` to one of: {', '.join(sorted(ENGINES))}."
        )
    module, _, attribute = target.partition(":")
    engine: Engine = getattr(import_module(module), attribute)(
        model, revision, adapter=adapter, device=device, dtype=dtype, batch_size=batch_size, threads=threads
    )
    return engine
