"""The pool: one model at a time, loaded once for all who share it; more where they have GPUs of their own."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from spavl_dag.inference import engines
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.gpus import GpusBusyError
from spavl_dag.inference.engines.pool import EnginePool
from spavl_dag.params.engines import VllmRuntime

LOG: list[str] = []
HELD: list[LoggingEngine] = []
SETTINGS = EngineSettings("logging", "model")


class LoggingEngine:
    """Notes when it is opened and closed; holds the first GPUs that it may."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        runtime = settings.runtime
        named = (runtime.gpus or range(4)) if isinstance(runtime, VllmRuntime) else []
        taken = {gpu for other in HELD for gpu in other.gpus}
        free = [str(gpu) for gpu in named if str(gpu) not in taken]
        self.gpus = tuple(free[: runtime.gpu_count]) if isinstance(runtime, VllmRuntime) else ()
        HELD.append(self)
        LOG.append(f"open {settings.model}")

    def close(self) -> None:
        LOG.append(f"close {self.settings.model}")
        HELD.remove(self)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> EnginePool:
    LOG.clear()
    HELD.clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    for name in ("logging", "vllm", "openai"):
        monkeypatch.setitem(engines.ENGINES, name, engines.EngineFamily(f"{__name__}:LoggingEngine"))
    monkeypatch.setattr(engines, "require_extra", lambda name: None)
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


def on(model: str, gpus: list[int] | None, size: int = 1) -> EngineSettings:
    """Settings of a model on some of these GPUs."""
    runtime = VllmRuntime(kind="vllm", gpus=gpus, tensor_parallel_size=size)
    return EngineSettings("vllm", model, runtime=runtime)


def test_models_that_have_gpus_of_their_own_stay_open_beside_each_other(pool: EnginePool) -> None:
    one = pool.get(on("one", [0]), "")
    pool.get(on("two", [1, 2]), "")
    pool.get(on("three", [1, 2]), "")
    assert LOG == ["open one", "open two", "open three"]
    assert pool.get(on("one", [0]), "") is one
    pool.get(on("four", [1, 2]), "")  # the one used least recently makes room
    assert LOG[3:] == ["close two", "open four"]
    pool.get(on("large", [1, 2, 3], size=2), "")
    assert LOG[5:] == ["close three", "open large"]
    assert pool.get(on("one", [0]), "") is one


def test_a_model_that_names_no_gpus_takes_a_free_one(pool: EnginePool) -> None:
    pool.get(on("one", [0]), "")
    anywhere = pool.get(on("anywhere", None), "")
    assert anywhere.gpus == ("1",)  # type: ignore[attr-defined]
    assert LOG == ["open one", "open anywhere"]


def test_a_model_in_this_process_is_alone_but_for_hosted_ones(pool: EnginePool) -> None:
    hosted = EngineSettings("openai", "hosted")
    pool.get(on("one", [0]), "")
    pool.get(on("two", [1]), "")
    first = pool.get(hosted, "")
    pool.get(SETTINGS, "")
    assert LOG[2:] == ["open hosted", "close one", "close two", "open model"]
    pool.get(on("one", [0]), "")
    assert LOG[6:] == ["close model", "open one"]
    assert pool.get(hosted, "") is first


def test_who_holds_gpus_lets_go_of_them_before_it_waits_for_more(
    pool: EnginePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BusyEngine(LoggingEngine):
        """Finds its GPUs held by another process as long as it may not wait."""

        def __init__(self, settings: EngineSettings) -> None:
            if not settings.wait_for_gpus:
                raise GpusBusyError("busy", "wait")
            super().__init__(settings)

    monkeypatch.setattr(sys.modules[__name__], "BusyEngine", BusyEngine, raising=False)
    pool.get(on("one", [0]), "")
    monkeypatch.setitem(engines.ENGINES, "vllm", engines.EngineFamily(f"{__name__}:BusyEngine"))
    pool.get(on("two", [1]), "")
    assert LOG == ["open one", "close one", "open two"]
