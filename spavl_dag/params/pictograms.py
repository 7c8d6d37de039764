"""The choices that decide the embedded base model; no heavy import, so that a schema of params can use it."""

from __future__ import annotations

from pydantic import Field, model_validator

from spavl_dag.params.base import Section

_CARD_SIZE = 96
"""Pixels of a card's side, see `demo.cards`."""


class PictogramModelParams(Section):
    """Size of the tiny model and the recipe of its training; the defaults are the finished recipe."""

    image_size: int = Field(
        48, gt=0, le=96, description="Width of the picture the tower sees in pixels; divides a card's 96."
    )
    patch_size: int = Field(16, gt=0, le=96, description="Width of a patch in pixels; a patch is one image token.")
    vision_width: int = Field(128, gt=0, le=8192, description="Width of the vision tower.")
    vision_layers: int = Field(2, gt=0, le=128, description="Layers of the vision tower.")
    text_width: int = Field(128, gt=0, le=8192, description="Width of the language model.")
    text_layers: int = Field(4, gt=0, le=128, description="Layers of the language model.")
    text_inner_width: int = Field(
        256, gt=0, le=65536, description="Width inside the language model's feed-forward blocks."
    )
    heads: int = Field(4, gt=0, le=256, description="Attention heads of tower and language model.")
    context: int = Field(1024, ge=512, le=131072, description="Longest conversation in tokens.")

    vision_steps: int = Field(
        480, ge=1, le=10_000_000, description="Steps that teach the tower to name what a card shows."
    )
    vision_batch: int = Field(128, ge=1, le=100_000, description="Cards per step of the tower's training.")
    vision_lr: float = Field(
        2e-3, gt=0, le=10, description="Adam's learning rate for the tower's vectors and the word table."
    )
    vision_matrix_lr: float = Field(0.01, gt=0, le=10, description="Muon's learning rate for the tower's matrices.")

    joint_steps: int = Field(
        700, ge=1, le=10_000_000, description="Steps that teach the language model, the tower frozen."
    )
    reading_steps: int = Field(
        150, ge=0, le=10_000_000, description="How many of these, at the start, only ask what a picture shows."
    )
    reading_batch: int = Field(64, ge=1, le=100_000, description="Questions per such step; they are short.")
    joint_batch: int = Field(32, ge=2, le=100_000, description="Conversations per step of the joint training.")
    joint_lr: float = Field(2e-3, gt=0, le=10, description="Adam's learning rate for the word table and the norms.")
    joint_matrix_lr: float = Field(
        0.01, gt=0, le=10, description="Muon's learning rate for the language model's matrices."
    )

    warmup: float = Field(0.08, ge=0, lt=1, description="Share of each phase's steps in which the rate rises.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decoupled weight decay.")

    @model_validator(mode="after")
    def _fits(self) -> PictogramModelParams:
        for name, parts, whole in (
            ("image_size", self.image_size, _CARD_SIZE),
            ("patch_size", self.patch_size, self.image_size),
            ("heads", self.heads, self.vision_width),
            ("heads", 2 * self.heads, self.text_width),  # a head's width is even: rotary positions turn pairs
        ):
            if whole % parts:
                raise ValueError(f"{name} {getattr(self, name)} doesn't fit into {whole}")
        return self
