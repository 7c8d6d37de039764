"""Keeps engines open, so that twelve models sharing weights load them once, and closes them where memory is needed."""

from __future__ import annotations

from dataclasses import replace

from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import Engine, EngineSettings
from spavl_dag.inference.engines.gpus import GpusBusyError, visible_gpus
from spavl_dag.params.engines import WITHOUT_WEIGHTS, VllmRuntime

_Opened = tuple[EngineSettings, str]


class EnginePool:
    """One open engine, or several that have GPUs of their own; opening one closes what is in its way."""

    def __init__(self) -> None:
        self._open: list[tuple[_Opened, Engine]] = []  # the one used last at the end

    def get(self, settings: EngineSettings, content: str) -> Engine:
        """The engine with these settings.

        Args:
            settings: How to open it.
            content: Hash of local weights; a folder whose content changed is another model.

        Raises:
            EngineError: The model can't be loaded.
        """
        wanted = (settings, content)
        for number, (opened, engine) in enumerate(self._open):
            if opened == wanted:
                self._open.append(self._open.pop(number))
                return engine
        if settings.engine not in WITHOUT_WEIGHTS:
            self._make_room(settings)
        loaded = [opened for (opened, _), _ in self._open if opened.engine not in WITHOUT_WEIGHTS]
        try:
            engine = open_engine(replace(settings, wait_for_gpus=not loaded))
        except GpusBusyError:
            self.close()  # who holds them may be waiting for those that are held here
            engine = open_engine(settings)
        self._open.append((wanted, engine))
        return engine

    def _make_room(self, settings: EngineSettings) -> None:
        """Close models, those used least recently first, until this one has room; all where their GPUs aren't known."""
        allowed = _gpus_allowed(settings)
        for entry in [entry for entry in self._open if entry[0][0].engine not in WITHOUT_WEIGHTS]:
            models = [engine for (opened, _), engine in self._open if opened.engine not in WITHOUT_WEIGHTS]
            held = [set(_gpus_of(engine)) for engine in models]
            if all(held) and len(allowed.difference(*held)) >= _gpus_needed(settings):
                return
            gpus = set(_gpus_of(entry[1]))
            if not gpus or not allowed or gpus & allowed:
                self._open.remove(entry)
                entry[1].close()

    def close(self) -> None:
        """Free the memory of all engines."""
        while self._open:
            self._open.pop()[1].close()


def _gpus_of(engine: Engine) -> tuple[str, ...]:
    """The GPUs that an engine has for itself; none where it isn't known."""
    gpus: tuple[str, ...] = getattr(engine, "gpus", ())
    return gpus


def _gpus_allowed(settings: EngineSettings) -> set[str]:
    """The GPUs of which an engine takes as many as it needs; none where it isn't known what it takes."""
    if settings.engine != "vllm":
        return set()
    visible = visible_gpus()
    named = settings.runtime.gpus if isinstance(settings.runtime, VllmRuntime) else None
    return set(visible) if named is None else {visible[number] for number in named if number < len(visible)}


def _gpus_needed(settings: EngineSettings) -> int:
    runtime = settings.runtime
    return runtime.gpu_count if isinstance(runtime, VllmRuntime) else 1


SHARED = EnginePool()
"""The process's pool."""
