"""Engines: the ways to run a model, and the one place that knows their names.

Belongs here: the registry.  An engine's module is imported when it is opened, never before, because it brings
torch or an HTTP client with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from spavl_dag.errors import EngineError
from spavl_dag.extras import require_extra
from spavl_dag.inference.engines.base import Engine, EngineSettings


@dataclass(frozen=True, slots=True)
class EngineFamily:
    """A registered engine.

    Attributes:
        target: Its class as `module:attribute`; it is called with `EngineSettings`.
        version: Raised by hand when the same request may give another text than before. Part of a call's key when it
            is above 1: raising it asks everything again.
    """

    target: str
    version: int = 1


ENGINES = {
    "transformers": EngineFamily("spavl_dag.inference.engines.transformers_engine:TransformersEngine", version=1),
    "openai": EngineFamily("spavl_dag.inference.engines.hosted.engine:OpenAIEngine", version=1),
    "vllm": EngineFamily("spavl_dag.inference.engines.vllm.engine:VllmEngine", version=1),
    "scripted": EngineFamily("spavl_dag.inference.engines.scripted:ScriptedEngine", version=1),
}


def engine_version(name: str) -> int:
    """The version of an engine's texts; 1 for one that isn't registered here."""
    return ENGINES[name].version if name in ENGINES else 1


def open_engine(settings: EngineSettings) -> Engine:
    """Load a model into an engine; the client closes it.

    Raises:
        EngineError: There is no such engine, or it can't load the model.
        MissingExtraError: What it runs on isn't installed.
    """
    family = ENGINES.get(settings.engine)
    if family is None:
        raise EngineError(
            f"engine {settings.engine!r} is not available", f"Set `engine:` to one of: {', '.join(sorted(ENGINES))}."
        )
    require_extra(settings.engine)
    module, _, attribute = family.target.partition(":")
    engine: Engine = getattr(import_module(module), attribute)(settings)
    return engine
