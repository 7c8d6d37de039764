"""How models are run: named entries of `engines:`, and of `runtime.engines:` for what can't change a text.

An entry of roles or models names one of them as its `engine:`; the name of a kind alone means that kind as it is.
What changes a text stands under `engines.<name>` and is part of a call's key; how many run at once, where, and within
which limits stands under `runtime.engines.<name>` and invalidates nothing.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from spavl_dag.params.base import Section

EngineKind = Literal["transformers", "openai", "vllm", "scripted"]
KINDS: tuple[EngineKind, ...] = get_args(EngineKind)
HOSTED: frozenset[EngineKind] = frozenset({"openai"})
"""Kinds whose models run elsewhere: there are no weights here."""
WITHOUT_WEIGHTS: frozenset[EngineKind] = HOSTED | {"scripted"}
"""Kinds for which no weights are looked for."""

Precision = Literal["float32", "bfloat16", "float16"]
EngineName = Annotated[str, Field(min_length=1, description="a key of engines, or a kind of them")]


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address begins with http:// or https://, such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError("an address holds no credentials; name the variable that has the key as api_key_env")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


class TransformersEngineParams(Section):
    """A model of transformers in this process."""

    kind: Literal["transformers"]
    dtype: Annotated[Precision | None, Field(description="of the weights, in the key; default: runtime.dtype")] = None


class VllmEngineParams(Section):
    """A model in vLLM, in processes of its own; names as vLLM's."""

    kind: Literal["vllm"]
    dtype: Annotated[Precision | None, Field(description="of the weights, in the key; default: runtime.dtype")] = None
    quantization: Annotated[
        str | None,
        Field(pattern=r"^[a-z0-9_-]+$", description="such as fp8, awq or bitsandbytes; default: the weights'"),
    ] = None
    max_model_len: Annotated[
        int | None, Field(ge=2, description="tokens of prompt and answer together; default: the model's")
    ] = None
    max_pixels: Annotated[int | None, Field(ge=64, description="larger pictures are made so small")] = None
    mm_processor_kwargs: Annotated[
        dict[str, Any] | None, Field(description="for the model's own processor, such as {max_pixels: 1003520}")
    ] = None


class TransformersRuntime(Section):
    """How a model of transformers runs; what isn't said is as under `runtime`."""

    kind: Literal["transformers"]
    batch_size: Annotated[int | None, Field(ge=1, le=1_000_000)] = None


class VllmRuntime(Section):
    """How vLLM runs; what isn't said is vLLM's own default."""

    kind: Literal["vllm"]
    gpus: Annotated[
        list[Annotated[int, Field(ge=0)]] | None,
        Field(min_length=1, description="it takes free ones of these, as many as it needs; default: all"),
    ] = None
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64, description="GPUs that hold one copy of the weights")] = 1
    data_parallel_size: Annotated[int, Field(ge=1, le=64, description="copies that share the calls")] = 1
    gpu_memory_utilization: Annotated[float | None, Field(gt=0, le=1, description="share of a GPU's memory")] = None
    kv_cache_memory_bytes: Annotated[int | None, Field(ge=1, description="per GPU; on the CPU 4 GiB by default")] = None
    max_num_seqs: Annotated[int | None, Field(ge=1, description="calls at once; default: runtime.batch_size")] = None
    max_num_batched_tokens: Annotated[int | None, Field(ge=1)] = None
    enable_prefix_caching: bool | None = None
    enforce_eager: bool | None = None

    @property
    def gpu_count(self) -> int:
        """How many GPUs it needs, where it runs on GPUs."""
        return self.tensor_parallel_size * self.data_parallel_size

    @model_validator(mode="after")
    def _enough_gpus(self) -> VllmRuntime:
        needed = self.gpu_count
        if self.gpus is not None and len(set(self.gpus)) != len(self.gpus):
            raise ValueError("gpus names one of them twice")
        if self.gpus is not None and len(self.gpus) < needed:
            raise ValueError(
                f"tensor_parallel_size times data_parallel_size is {needed}, and gpus has {len(self.gpus)}"
            )
        return self


class OpenAIEngineParams(Section):
    """A model behind an OpenAI-compatible address: a server of vLLM, or a hosted model."""

    kind: Literal["openai"]
    endpoint: Annotated[Address, Field(description="who answers; in the key")] = "https://api.openai.com/v1"
    image_detail: Annotated[
        Literal["low", "high", "auto"] | None, Field(description="as the API takes it; in the key")
    ] = None
    max_tokens_name: Annotated[
        Literal["max_tokens", "max_completion_tokens"], Field(description="what the endpoint calls the limit")
    ] = "max_tokens"
    send_seed: Annotated[bool, Field(description="false for endpoints that take none; in the key")] = True
    extra_body: Annotated[dict[str, Any], Field(description="further fields of every request; in the key")] = Field(
        default_factory=dict
    )


class OpenAIRuntime(Section):
    """How an OpenAI-compatible address is asked."""

    kind: Literal["openai"]
    base_urls: Annotated[
        list[Address], Field(description="servers of this very model; the least loaded is asked; default: endpoint")
    ] = Field(default_factory=list)
    api_key_env: Annotated[
        str | None, Field(min_length=1, description="variable of the environment that holds the key; null: no key")
    ] = None
    concurrency: Annotated[int, Field(ge=1, le=10_000, description="requests at once, per server")] = 64
    requests_per_minute: Annotated[int | None, Field(ge=1)] = None
    tokens_per_minute: Annotated[int | None, Field(ge=1, description="of prompts and answers, estimated")] = None
    timeout: Annotated[float, Field(gt=0, le=86_400, description="seconds until a request is given up")] = 300.0
    max_retries: Annotated[int, Field(ge=0, le=100, description="of a request that failed for the moment")] = 8
    usd_per_million_prompt_tokens: Annotated[float, Field(ge=0)] = 0.0
    usd_per_million_completion_tokens: Annotated[float, Field(ge=0)] = 0.0


class ScriptedEngineParams(Section):
    """No model: answers by rule, for rehearsals and benchmarks. Nothing made of them is trained on or reported."""

    kind: Literal["scripted"]


class ScriptedRuntime(Section):
    """How scripted answers are recorded."""

    kind: Literal["scripted"]
    batch_size: Annotated[int, Field(ge=1, le=1_000_000, description="recorded together")] = 5_000


EngineParams = Annotated[
    TransformersEngineParams | OpenAIEngineParams | VllmEngineParams | ScriptedEngineParams, Field(discriminator="kind")
]
"""An entry of `engines:`."""

EngineRuntime = Annotated[
    TransformersRuntime | OpenAIRuntime | VllmRuntime | ScriptedRuntime, Field(discriminator="kind")
]
"""An entry of `runtime.engines:`."""


def engine_options(entry: EngineParams) -> str | None:
    """What an entry of `engines` says that has no field of its own in a call's key, as JSON; None for nothing."""
    said = entry.model_dump(exclude={"kind", "dtype", "endpoint", "max_tokens_name"}, exclude_defaults=True)
    return json.dumps(said, sort_keys=True) if said else None


def engine_of_kind(kind: str) -> EngineParams:
    """An engine of which nothing is said but its kind."""
    entry: EngineParams = TypeAdapter(EngineParams).validate_python({"kind": kind})
    return entry
