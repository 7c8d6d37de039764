"""The published form: configurations, splits and columns of `sqrti/SPA-VL`; align-anything reads it too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.integrations.huggingface.formats.base import Export, ExportFormat, configurations, write_shards

CONFIGS = {
    "default": {"train": "train"},
    "validation": {"validation": "validation"},  # its columns are others, so it can't be a split of the one above
    "harm": {"test": "harm"},
    "help": {"test": "help"},
}
_CLASSES = ["class1", "class2", "class3"]
COLUMNS = {
    "train": ["question", "chosen", "rejected", "image_name"],
    "validation": ["question", "chosen", "rejected", *_CLASSES],
    "harm_eval": ["question", *_CLASSES],
    "help_eval": ["question", *_CLASSES],
}
"""Beside `image`, per split (paper.md, "Shape of the published dataset")."""

_STEMS = {"train": "train", "validation": "validation", "harm_eval": "harm", "help_eval": "help"}


def _write(export: Export, folder: Path) -> list[str]:
    from datasets import Features, Image, Value

    files = []
    for split, texts in COLUMNS.items():
        features = Features({"image": Image(), **{name: Value("string") for name in texts}})

        def columns(group: pl.DataFrame, texts: Sequence[str] = texts) -> dict[str, Any]:
            cells = [export.cell(*row) for row in group.select("image_id", "image_name").iter_rows()]
            return {"image": cells, **{name: group[name].to_list() for name in texts}}

        files += write_shards(export, split, _STEMS[split], folder, features, columns)
    return files


SPA_VL = ExportFormat(
    name="spa_vl",
    about="the published form: load_dataset(DIR), also with 'validation', 'harm', 'help'; align-anything's SPA_VL",
    write=_write,
    front_matter=lambda export, files: list(configurations(export, CONFIGS, files)),
)
