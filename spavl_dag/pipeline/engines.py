"""What an engine is opened with, from what params say of it."""

from __future__ import annotations

from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.params.engines import (
    EngineParams,
    EngineRuntime,
    ScriptedEngineParams,
    ScriptedRuntime,
    TransformersRuntime,
)
from spavl_dag.params.sections import RuntimeParams
from spavl_dag.pipeline.weights import ResolvedModel


def engine_settings(entry: EngineParams, runtime: RuntimeParams, name: str, model: ResolvedModel) -> EngineSettings:
    """Settings of an engine for a model.

    Args:
        entry: What is said of it under `engines`.
        runtime: How models are run; what `runtime.engines` says of it comes first.
        name: Its key there.
        model: The model's weights.
    """
    own = runtime.engines.get(name)
    return EngineSettings(
        engine=entry.kind,
        model=model.path,
        revision=model.hub_revision,
        adapter=model.adapter,
        device=runtime.device,
        dtype=dtype_of(entry) or runtime.dtype,
        batch_size=_batch_size(entry, own) or runtime.batch_size,
        threads=runtime.threads,
        params=entry,
        runtime=own,
    )


def dtype_of(entry: EngineParams) -> str | None:
    """The type of the weights that an engine's entry names."""
    named: str | None = getattr(entry, "dtype", None)
    return named


def _batch_size(entry: EngineParams, own: EngineRuntime | None) -> int | None:
    if isinstance(entry, ScriptedEngineParams) and own is None:
        own = ScriptedRuntime(kind="scripted")
    return own.batch_size if isinstance(own, TransformersRuntime | ScriptedRuntime) else None
