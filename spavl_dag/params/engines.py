"""How models are run: named entries of `engines:`, and of `runtime.engines:` for what can't change a text.

An entry of roles or models names one of them as its `engine:`; the name of a kind alone means that kind as it is.
What changes a text stands under `engines.<name>` and is part of a call's key; how many run at once, where, and within
which limits stands under `runtime.engines.<name>` and invalidates nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter

from spavl_dag.params.base import Section

EngineKind = Literal["transformers"]
KINDS: tuple[EngineKind, ...] = get_args(EngineKind)

Precision = Literal["float32", "bfloat16", "float16"]
EngineName = Annotated[str, Field(min_length=1, description="a key of engines, or a kind of them")]


class TransformersEngineParams(Section):
    """A model of transformers in this process."""

    kind: Literal["transformers"]
    dtype: Annotated[Precision | None, Field(description="of the weights, in the key; default: runtime.dtype")] = None


class TransformersRuntime(Section):
    """How a model of transformers runs; what isn't said is as under `runtime`."""

    kind: Literal["transformers"]
    batch_size: Annotated[int | None, Field(ge=1, le=1_000_000)] = None


EngineParams = TransformersEngineParams
"""An entry of `engines:`."""

EngineRuntime = TransformersRuntime
"""An entry of `runtime.engines:`."""


def engine_of_kind(kind: str) -> EngineParams:
    """An engine of which nothing is said but its kind."""
    return TypeAdapter(EngineParams).validate_python({"kind": kind})
