"""The pool: one model at a time, loaded once for all who share it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spavl_dag.inference import engines
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.pool import EnginePool

LOG: list[str] = []
SETTINGS = EngineSettings("logging", "model")


class LoggingEngine:
    """Notes when it is opened and closed."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        LOG.append(f"open {settings.model}")

    def close(self) -> None:
        LOG.append(f"close {self.settings.model}")


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> EnginePool:
    LOG.clear()
    monkeypatch.setitem(engines.ENGINES, "logging", engines.EngineFamily(f"{__name__}:LoggingEngine"))
    return EnginePool()


def test_the_same_model_is_loaded_once_and_another_one_takes_its_place(pool: EnginePool) -> None:
    first = pool.get(SETTINGS, "content")
    assert pool.get(EngineSettings("logging", "model"), "content") is first
    pool.get(replace(SETTINGS, model="other"), "content")
    assert LOG == ["open model", "close model", "open other"]
    pool.close()
    pool.close()
    assert LOG[3:] == ["close other"]


def test_a_folder_whose_content_or_settings_changed_is_another_model(pool: EnginePool) -> None:
    engine = pool.get(SETTINGS, "content")
    assert pool.get(SETTINGS, "changed") is not engine
    assert pool.get(replace(SETTINGS, batch_size=7), "changed").settings.batch_size == 7  # type: ignore[attr-defined]
    assert LOG == ["open model", "close model"] * 2 + ["open model"]
