"""Which models are asked, and how: roles, answering models, the base model, the policy."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spavl_dag.params.base import Section
from spavl_dag.params.engines import EngineName
from spavl_dag.params.pictograms import PictogramModelParams

BASE_MODEL = "base_model"
"""What a `model:` says when it means the artifact of that name."""

NewTokens = Annotated[int, Field(ge=1, le=32768, description="upper bound of an answer's tokens")]
Template = Annotated[str, Field(min_length=1, description="Jinja template file, relative to the project")]


class ModelReference(Section):
    """Weights that are there already, or that the pipeline makes."""

    model: Annotated[str, Field(min_length=1, description="base_model, a folder, or a hub id")]
    revision: Annotated[str | None, Field(min_length=1, description="of a hub id")] = None

    @property
    def is_local(self) -> bool:
        """Whether `model` can only be a folder: a hub id has no such beginning."""
        return self.model.startswith((".", "/"))


class DecodingParams(Section):
    """How a model decodes; see `inference.request.Decoding`."""

    max_new_tokens: NewTokens
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0


class StructuredOutputParams(Section):
    """What a text is held to while it is generated: one of these."""

    choice: Annotated[list[str] | None, Field(min_length=1, description="the texts that it may be")] = None
    json_schema: dict[str, Any] | None = None
    regex: Annotated[str | None, Field(min_length=1)] = None
    grammar: Annotated[str | None, Field(min_length=1, description="in EBNF")] = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputParams:
        if len(self.model_fields_set) != 1:
            raise ValueError("name one of choice, json_schema, regex and grammar")
        try:
            re.compile(self.regex or "")
        except re.error as error:
            raise ValueError(f"regex is none: {error}") from error
        return self

    def as_json(self) -> str:
        """As in `inference.request.ModelSpec`."""
        said = self.model_dump(exclude_none=True)
        if "json_schema" in said:
            said["json"] = said.pop("json_schema")
        return json.dumps(said, sort_keys=True, ensure_ascii=False)


class AskedModel(ModelReference):
    """One way of asking a model."""

    engine: EngineName = "transformers"
    system: str | None = None
    prompt: Template | None = None
    decoding: DecodingParams
    structured_output: Annotated[
        StructuredOutputParams | None, Field(description="held to while it is generated; not by transformers")
    ] = None
    label: Annotated[str | None, Field(description="how it is named where it is shown")] = None


class ModelEntry(AskedModel):
    """A role, or an answering model."""

    prompt: Template


class BaseModelParams(Section):
    """The model that is aligned, and that `model: base_model` means."""

    source: Literal["pictograms", "reference"]
    reference: ModelReference | None = None
    recipe: PictogramModelParams = PictogramModelParams()

    @model_validator(mode="after")
    def _reference_named(self) -> BaseModelParams:
        if self.source == "reference" and self.reference is None:
            raise ValueError("source is 'reference', so reference.model must name a folder or a hub id")
        if self.reference is not None and self.reference.model == BASE_MODEL:
            raise ValueError("reference.model names base_model, which is itself; name a folder or a hub id")
        return self


class PolicyParams(Section):
    """How the model that is aligned is asked, in training and in evaluation."""

    engine: EngineName = "transformers"
    system: str | None
    prompt: Template
