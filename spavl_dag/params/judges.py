"""What params must know of judge formats; how each asks and is read is `spavl_dag.inference.judges`' business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from spavl_dag.params.models import AskedModel, Template

JudgeFormatName = Literal[
    "safe_unsafe",
    "json",
    "md_judge_v0_1",
    "md_judge_v0_2",
    "llama_guard_3",
    "llama_guard_3_vision",
    "llama_guard_4",
    "qwen3guard",
    "wildguard",
    "harmbench",
    "shieldgemma_2",
    "llavaguard",
    "guardreasoner_vl",
]


class FormatFacts(NamedTuple):
    """What an entry must and may say.

    Attributes:
        prompt: Whether it names a template; else the model's own chat template is the prompt.
        image: Whether the judge sees the image.
    """

    prompt: bool
    image: Literal["never", "may", "must"]


FORMAT_FACTS: Mapping[JudgeFormatName, FormatFacts] = {
    "safe_unsafe": FormatFacts(prompt=True, image="may"),
    "json": FormatFacts(prompt=True, image="may"),
    "md_judge_v0_1": FormatFacts(prompt=True, image="never"),
    "md_judge_v0_2": FormatFacts(prompt=True, image="never"),
    "llama_guard_3": FormatFacts(prompt=False, image="never"),
    "llama_guard_3_vision": FormatFacts(prompt=False, image="may"),
    "llama_guard_4": FormatFacts(prompt=False, image="may"),
    "qwen3guard": FormatFacts(prompt=False, image="never"),
    "wildguard": FormatFacts(prompt=True, image="never"),
    "harmbench": FormatFacts(prompt=True, image="never"),
    "shieldgemma_2": FormatFacts(prompt=True, image="must"),
    "llavaguard": FormatFacts(prompt=True, image="must"),
    "guardreasoner_vl": FormatFacts(prompt=True, image="may"),
}


class JudgeEntry(AskedModel):
    """A model that labels answers, and the form in which it is asked."""

    format: Annotated[JudgeFormatName, Field(description="how it is asked and read (docs/how-to/judges.md)")] = (
        "safe_unsafe"
    )
    prompt: Template | None = None

    @model_validator(mode="after")
    def _prompted(self) -> JudgeEntry:
        if FORMAT_FACTS[self.format].prompt and self.prompt is None:
            raise ValueError(f"format '{self.format}' needs a prompt: the template that the judge was trained on")
        if not FORMAT_FACTS[self.format].prompt and (self.prompt or self.system):
            raise ValueError(f"format '{self.format}' is the model's own chat template: leave prompt and system out")
        return self
