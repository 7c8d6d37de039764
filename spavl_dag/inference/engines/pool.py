"""Keeps engines open, so that twelve models sharing weights load them once, and closes them where memory is needed."""

from __future__ import annotations

from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import Engine, EngineSettings
from spavl_dag.inference.engines.gpus import visible_gpus
from spavl_dag.params.engines import VllmRuntime

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
        allowed = _gpus_named(settings)
        for entry in list(self._open):
            held = [set(_gpus_of(engine)) for _, engine in self._open]
            if all(held) and len(allowed.difference(*held)) >= _gpus_needed(settings):
                break
            if not (gpus := set(_gpus_of(entry[1]))) or not allowed or gpus & allowed:
                self._open.remove(entry)
                entry[1].close()
        self._open.append((wanted, open_engine(settings)))
        return self._open[-1][1]

    def close(self) -> None:
        """Free the memory of all engines."""
        while self._open:
            self._open.pop()[1].close()


def _gpus_of(engine: Engine) -> tuple[str, ...]:
    """The GPUs that an engine has for itself; none where it isn't known."""
    gpus: tuple[str, ...] = getattr(engine, "gpus", ())
    return gpus


def _gpus_named(settings: EngineSettings) -> set[str]:
    """The GPUs that an engine may have, where its entry names them."""
    if not isinstance(settings.runtime, VllmRuntime) or settings.runtime.gpus is None:
        return set()
    visible = visible_gpus()
    return {visible[number] for number in settings.runtime.gpus if number < len(visible)}


def _gpus_needed(settings: EngineSettings) -> int:
    runtime = settings.runtime
    return runtime.gpu_count if isinstance(runtime, VllmRuntime) else 1


SHARED = EnginePool()
"""The process's pool."""
