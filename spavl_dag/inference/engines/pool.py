"""Keeps the engine that was used last, so that twelve models sharing weights load them once."""

from __future__ import annotations

from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import Engine, EngineSettings


class EnginePool:
    """At most one open engine: opening another closes it, so memory stays bounded."""

    def __init__(self) -> None:
        self._opened: tuple[EngineSettings, str] | None = None
        self._engine: Engine | None = None

    def get(self, settings: EngineSettings, content: str) -> Engine:
        """The engine with these settings.

        Args:
            settings: How to open it.
            content: Hash of local weights; a folder whose content changed is another model.

        Raises:
            EngineError: The model can't be loaded.
        """
        if self._engine is None or self._opened != (settings, content):
            self.close()
            self._engine = open_engine(settings)
            self._opened = (settings, content)
        return self._engine

    def close(self) -> None:
        """Free the engine's memory."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


SHARED = EnginePool()
"""The process's pool."""
