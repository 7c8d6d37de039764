"""Keeps the engine that was used last, so that twelve models sharing weights load them once."""

from __future__ import annotations

from dataclasses import dataclass

from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import Engine


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is opened with; see `open_engine`.

    Attributes:
        engine: Its name.
        model: Folder or hub id.
        revision: Revision of a hub model, or a content hash that tells two states of a folder apart.
        adapter: Folder of a LoRA adapter, or None.
        device: "auto", "cpu", "cuda".
        dtype: "auto", "float32", "bfloat16", "float16".
        batch_size: Requests computed together.
        threads: CPU threads, or None for the library's choice.
    """

    engine: str
    model: str
    revision: str | None
    adapter: str | None
    device: str
    dtype: str
    batch_size: int
    threads: int | None


class EnginePool:
    """At most one open engine: opening another closes it, so memory stays bounded."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._settings: tuple[EngineSettings, str] | None = None
        self._engine: Engine | None = None

    def get(self, settings: EngineSettings, content: str) -> Engine:
        """The engine with these settings.

        Args:
            settings: How to open it.
            content: Hash of local weights; a folder whose content changed is another model.

        Raises:
            EngineError: The model can't be loaded.
        """
        if self._engine is None or self._settings != (settings, content):
            self.close()
            self._engine = open_engine(
                settings.engine,
                settings.model,
                settings.revision,
                adapter=settings.adapter,
                device=settings.device,
                dtype=settings.dtype,
                batch_size=settings.batch_size,
                threads=settings.threads,
            )
            self._settings = (settings, content)
        return self._engine

    def close(self) -> None:
        """Free the engine's memory."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


SHARED = EnginePool()
"""The process's pool."""
