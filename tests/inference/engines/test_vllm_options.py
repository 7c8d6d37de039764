"""What vLLM is started with, and what is refused before it is; nothing of vLLM is imported."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.vllm.options import VllmOptions, engine_args, is_cpu_build, worker_environment
from spavl_dag.inference.engines.vllm.pictures import Pictures, shrunk
from spavl_dag.media.decode import UnreadableImageError
from spavl_dag.params.engines import VllmEngineParams, VllmRuntime, engine_of_kind, engine_options


def arguments(*, on_cpu: bool = False, adapter: str | None = None, dtype: str = "auto", **said: Any) -> dict[str, Any]:
    names = VllmEngineParams.model_fields
    params = VllmEngineParams(kind="vllm", **{name: value for name, value in said.items() if name in names})
    runtime = VllmRuntime(kind="vllm", **{name: value for name, value in said.items() if name not in names})
    settings = EngineSettings(
        "vllm", "owner/model", "abc", adapter, dtype=dtype, batch_size=48, params=params, runtime=runtime
    )
    return engine_args(settings, VllmOptions.of(settings), on_cpu=on_cpu)


def test_what_is_not_said_is_left_to_vllm_but_for_what_decides_texts() -> None:
    assert arguments() == {
        "model": "owner/model",
        "revision": "abc",
        "dtype": "bfloat16",
        "tensor_parallel_size": 1,
        "max_num_seqs": 48,
        "seed": 0,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "generation_config": "vllm",
        "disable_log_stats": True,
        "async_scheduling": False,
    }
    on_cpu = arguments(on_cpu=True)
    assert on_cpu["dtype"] == "float32"
    assert on_cpu["kv_cache_memory_bytes"] == 4 * 2**30
    assert "gpu_memory_utilization" not in on_cpu


def test_what_is_said_is_handed_on_by_its_name() -> None:
    said = {
        "quantization": "bitsandbytes",
        "max_model_len": 4096,
        "mm_processor_kwargs": {"max_pixels": 1003520},
        "gpu_memory_utilization": 0.4,
        "max_num_seqs": 7,
        "max_num_batched_tokens": 8192,
        "enable_prefix_caching": False,
        "tensor_parallel_size": 2,
        "enforce_eager": True,
    }
    given = arguments(dtype="float16", **said)
    assert said.items() <= given.items()
    assert (given["dtype"], given["load_format"]) == ("float16", "bitsandbytes")


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"gpus": [0, 1], "tensor_parallel_size": 2, "data_parallel_size": 2}, "is 4, and gpus has 2"),
        ({"gpus": [1, 1]}, "names one of them twice"),
        ({"gpus": []}, "at least 1 item"),
        ({"gpu_memory_utilization": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_runtime_that_cannot_be_is_refused(said: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        VllmRuntime(kind="vllm", **said)


def test_only_what_changes_texts_and_is_said_is_in_a_key() -> None:
    assert engine_options(engine_of_kind("transformers")) is None
    assert engine_options(VllmEngineParams(kind="vllm", dtype="float16")) is None  # the key's precision
    said = engine_options(VllmEngineParams(kind="vllm", quantization="awq", max_pixels=10**6))
    assert said == '{"max_pixels": 1000000, "quantization": "awq"}'


def test_replicas_share_the_gpus_and_see_no_others() -> None:
    runtime = VllmRuntime(kind="vllm", tensor_parallel_size=2, data_parallel_size=2)
    settings = EngineSettings("vllm", "m", runtime=runtime)
    assert VllmOptions.of(settings).shares(("4", "5", "6", "7")) == [("4", "5"), ("6", "7")]
    assert VllmOptions.of(settings).shares(()) == [(), ()]
    assert worker_environment(settings, ("6", "7"), on_cpu=False)["CUDA_VISIBLE_DEVICES"] == "6,7"


def test_threads_are_set_where_they_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in worker_environment(EngineSettings("vllm", "m"), (), on_cpu=True)
    given = worker_environment(EngineSettings("vllm", "m", threads=3), (), on_cpu=True)
    assert (given["OMP_NUM_THREADS"], given["VLLM_CPU_OMP_THREADS_BIND"]) == ("3", "nobind")


def adapter(folder: Path, **config: Any) -> str:
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "modules_to_save": None} | config))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return str(folder)


@pytest.mark.parametrize(
    ("config", "rank"), [({"r": 8}, 8), ({"r": 9}, 16), ({"r": 4, "rank_pattern": {"q_proj": 200}}, 256)]
)
def test_an_adapter_is_put_onto_the_model_as_it_is(tmp_path: Path, config: dict[str, Any], rank: int) -> None:
    given = arguments(adapter=adapter(tmp_path, **config))
    assert (given["enable_lora"], given["max_loras"], given["max_lora_rank"]) == (True, 1, rank)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [({"modules_to_save": ["projector"]}, r"brings whole modules \(projector\)"), ({"r": 513}, "rank 513")],
)
def test_an_adapter_that_vllm_cannot_take_says_how_to_save_it(
    tmp_path: Path, config: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(EngineError, match=wrong) as raised:
        arguments(adapter=adapter(tmp_path, **config))
    assert "save: merged" in str(raised.value.hint)


def test_a_torchvision_of_another_build_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(EngineError, match=r"vLLM needs torchvision.* torchvision::nms does not exist"):
        is_cpu_build()


@pytest.mark.parametrize("size", [(100, 40), (1, 5000), (3000, 1), (64, 64)])
def test_pictures_are_made_no_larger_than_asked(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size)
    small = shrunk(picture, 1000)
    assert small.width * small.height <= 1000
    assert shrunk(picture, None) is picture
    assert shrunk(picture, 10**6) is picture


def test_a_picture_is_decoded_once_while_it_is_in_use() -> None:
    from tiny_llava import picture

    pictures = Pictures(100)
    image = picture(1)
    shown = pictures.get(image.sha256, image.read())
    assert shown.width * shown.height <= 100
    assert pictures.get(image.sha256, b"not read again") is shown
    for number in range(2, 40):
        other = picture(number)
        pictures.get(other.sha256, other.read())
    with pytest.raises(UnreadableImageError):
        pictures.get(image.sha256, b"not read again")
