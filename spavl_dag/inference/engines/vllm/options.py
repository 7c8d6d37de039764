"""What vLLM is started with, from what params say; and what can be refused before it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.checkpoint_files import ADAPTER_CONFIG, check_adapter_files
from spavl_dag.params.engines import VllmEngineParams, VllmRuntime

_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `max_lora_rank`."""

_CPU_CACHE_BYTES = 4 * 2**30
"""Of keys and values on the CPU, where vLLM would take most of the machine's memory."""


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """What a `vllm` engine is, beside its model.

    Attributes:
        params: What `engines.<name>` says.
        runtime: What `runtime.engines.<name>` says.
        max_num_seqs: Rows that are computed at once, at most.
    """

    params: VllmEngineParams
    runtime: VllmRuntime
    max_num_seqs: int

    @classmethod
    def of(cls, settings: EngineSettings) -> VllmOptions:
        """The options that an engine is opened with."""
        params = settings.params or VllmEngineParams(kind="vllm")
        runtime = settings.runtime or VllmRuntime(kind="vllm")
        assert isinstance(params, VllmEngineParams)
        assert isinstance(runtime, VllmRuntime)
        return cls(params, runtime, runtime.max_num_seqs or settings.batch_size)

    def shares(self, gpus: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The GPUs of each of its processes."""
        size = self.runtime.tensor_parallel_size
        return [gpus[first * size : (first + 1) * size] for first in range(self.runtime.data_parallel_size)]


def engine_args(settings: EngineSettings, options: VllmOptions, *, on_cpu: bool) -> dict[str, Any]:
    """Arguments of `vllm.EngineArgs`, in its own words.

    Args:
        settings: Which model, and how it runs.
        options: More of that.
        on_cpu: Whether vLLM's build is the one for CPUs.

    Raises:
        EngineError: The adapter can't be used as it is.
    """
    params, runtime = options.params, options.runtime
    local = Path(settings.model).is_dir()
    wanted: dict[str, Any] = {
        "model": settings.model,
        "revision": None if local else settings.revision,
        "dtype": _dtype(settings.dtype, on_cpu),
        "quantization": params.quantization,
        "max_model_len": params.max_model_len,
        "mm_processor_kwargs": params.mm_processor_kwargs,
        "tensor_parallel_size": runtime.tensor_parallel_size,
        "max_num_seqs": options.max_num_seqs,
        "max_num_batched_tokens": runtime.max_num_batched_tokens,
        "gpu_memory_utilization": runtime.gpu_memory_utilization,
        "kv_cache_memory_bytes": runtime.kv_cache_memory_bytes or (_CPU_CACHE_BYTES if on_cpu else None),
        "enable_prefix_caching": runtime.enable_prefix_caching,
        "enforce_eager": runtime.enforce_eager,
    }
    fixed: dict[str, Any] = {
        "seed": 0,
        "load_format": "bitsandbytes" if params.quantization == "bitsandbytes" else "safetensors",
        "trust_remote_code": False,
        "generation_config": "vllm",  # none of the checkpoint's own sampling settings
        "disable_log_stats": True,
        # With it, a row's last token isn't known yet where the logits processor asks for it.
        "async_scheduling": False,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return given | fixed | (_lora_args(settings.adapter) if settings.adapter is not None else {})


def worker_environment(settings: EngineSettings, gpus: tuple[str, ...], *, on_cpu: bool) -> dict[str, str]:
    """Variables of a worker.

    Args:
        settings: How the model runs.
        gpus: GPUs of this worker, as CUDA_VISIBLE_DEVICES names them.
        on_cpu: Whether vLLM's build is the one for CPUs.
    """
    variables = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker is that process
        "VLLM_USE_V2_MODEL_RUNNER": "0",  # its logits processors are others
        "VLLM_NO_USAGE_STATS": "1",
    }
    if not on_cpu:
        return {**variables, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    threads = str(settings.threads) if settings.threads is not None else os.environ.get("OMP_NUM_THREADS")
    if threads is not None:  # vLLM would bind a thread to each core, whoever works there already
        variables |= {"OMP_NUM_THREADS": threads, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return variables


def is_cpu_build() -> bool:
    """Whether the vLLM that is installed is the one for CPUs.

    Raises:
        EngineError: It, or torchvision, which it needs for pictures, is broken.
    """
    _check_torchvision()
    try:
        return version("vllm").endswith("cpu")  # built for it from source
    except PackageNotFoundError:
        return True  # vllm-cpu brings the module under another name


def _check_torchvision() -> None:
    """Vision language models of vLLM import it; where it doesn't fit torch, vLLM's own words don't say so."""
    try:
        import_module("torchvision")
    except Exception as error:  # one for another torch raises RuntimeError or OSError
        raise EngineError(
            f"vLLM needs torchvision, which can't be imported here: {type(error).__name__}: {error}",
            "Install the build that belongs to this torch, from where torch came from; `spavl doctor` looks at it.",
        ) from error


def _dtype(dtype: str, on_cpu: bool) -> str:
    """The same default as the `transformers` engine has; vLLM's own would make float32 weights bfloat16."""
    return dtype if dtype != "auto" else "float32" if on_cpu else "bfloat16"


def _lora_args(adapter: str) -> dict[str, Any]:
    check_adapter_files(adapter)
    config = json.loads((Path(adapter) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if saved := config.get("modules_to_save"):
        raise EngineError(
            f"adapter {adapter} brings whole modules ({', '.join(saved)}), which vLLM can't put onto a model",
            "Save that checkpoint with all its weights (`save: merged` of its experiment), or run it by transformers.",
        )
    rank = max([config["r"], *config.get("rank_pattern", {}).values()])
    allowed = [size for size in _LORA_RANKS if size >= rank]
    if not allowed:
        raise EngineError(
            f"adapter {adapter} has rank {rank}, and vLLM takes {_LORA_RANKS[-1]} at most",
            "Save that checkpoint with all its weights (`save: merged` of its experiment).",
        )
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": allowed[0]}
