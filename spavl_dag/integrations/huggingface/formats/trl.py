"""Conversational preferences with images, as TRL's DPOTrainer and RewardTrainer take them without a mapping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.integrations.huggingface.formats.base import ANSWERED, Export, ExportFormat, configurations, write_shards


def _turn(role: str, texts: Sequence[str]) -> list[list[dict[str, str]]]:
    return [[{"role": role, "content": text}] for text in texts]


def _write(export: Export, folder: Path) -> list[str]:
    from datasets import Features, Image, List, Value

    turns = List({"role": Value("string"), "content": Value("string")})
    features = Features({"images": List(Image()), "prompt": turns, "chosen": turns, "rejected": turns})

    def columns(group: pl.DataFrame) -> dict[str, Any]:
        return {
            "images": [[export.cell(*row)] for row in group.select("image_id", "image_name").iter_rows()],
            "prompt": _turn("user", group["question"].to_list()),
            "chosen": _turn("assistant", group["chosen"].to_list()),
            "rejected": _turn("assistant", group["rejected"].to_list()),
        }

    return [
        file
        for split, stem in ANSWERED.items()
        for file in write_shards(export, split, stem, folder, features, columns)
    ]


TRL = ExportFormat(
    name="trl",
    about="TRL: load_dataset(DIR) goes into DPOTrainer as it is (images, prompt, chosen, rejected)",
    write=_write,
    front_matter=lambda export, files: list(configurations(export, {"default": ANSWERED}, files)),
)
