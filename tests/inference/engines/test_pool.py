"""The pool: one model at a time, loaded once for all who share it; more where they have GPUs of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spavl_dag.inference import engines
from spavl_dag.inference.engines.base import EngineSettings
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
        named = runtime.gpus or [] if isinstance(runtime, VllmRuntime) else []
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


def on(model: str, gpus: list[int] | None, size: int = 1) -> EngineSettings:
    """Settings of a model on some of these GPUs."""
    runtime = VllmRuntime(kind="vllm", gpus=gpus, tensor_parallel_size=size)
    return EngineSettings("logging", model, runtime=runtime)


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


@pytest.mark.parametrize("other", [SETTINGS, on("anywhere", None)], ids=["no GPUs", "any GPUs"])
def test_a_model_that_names_no_gpus_is_alone(pool: EnginePool, other: EngineSettings) -> None:
    pool.get(on("one", [0]), "")
    pool.get(on("two", [1]), "")
    pool.get(other, "")
    assert LOG[2:] == ["close one", "close two", f"open {other.model}"]
    pool.get(on("one", [0]), "")
    assert LOG[5:] == [f"close {other.model}", "open one"]
