"""The dataset in the forms others read: Hugging Face `datasets` with the published columns, and the trainer JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.inference.request import ImageRef
from spavl_dag.integrations.huggingface.front_matter import front_matter
from spavl_dag.integrations.huggingface.parquet import GROUP_ROWS, image_cell, parquet_writer

FILE_NAMES = {"train": "train", "validation": "validation", "harm_eval": "harm", "help_eval": "help"}
"""File name by split; the published names of the evaluation configs are `harm` and `help`."""

_IDS = ["row_id", "question_id", "image_id", "question_type", "class_id"]
_ANSWERED = ["chosen", "rejected"]
_MODELS = ["chosen_model", "rejected_model", "chosen_label", "rejected_label", "reason1", "reason2"]
_CLASSES = ["class1", "class2", "class3"]


def write_dataset_files(rows: pl.DataFrame, images: Mapping[str, ImageRef], target: Path) -> list[str]:
    """Write Hugging Face files and trainer JSON.

    Args:
        rows: Table `dataset`.
        images: The images by image id.
        target: Folder to write into.

    Returns:
        File names of the images that the Hugging Face files hold as PNG, because who only converts the file itself to
        RGB would see something else than the models saw; sorted.

    Raises:
        ChangedImageError: An image file isn't what it was when `images` was made.
    """
    write_trainer_json(rows, target / "trainer")
    return write_hub_files(rows, images, target / "hf")


def write_card(card: str, target: Path) -> None:
    """Write the data card, with its front matter, beside what `write_dataset_files` wrote."""
    (target / "README.md").write_text(front_matter(target) + card, encoding="utf-8")


def write_hub_files(rows: pl.DataFrame, images: Mapping[str, ImageRef], target: Path) -> list[str]:
    """Write one Parquet file per split that `load_dataset(<folder of the dataset>)` reads, images embedded.

    See `write_dataset_files` for the arguments, what is returned, and errors.
    """
    import pyarrow as pa
    from datasets import Features, Image, Value

    target.mkdir(parents=True, exist_ok=True)
    converted: set[str] = set()
    for split, name in FILE_NAMES.items():
        part = rows.filter(pl.col("split") == split)
        if part.is_empty():
            continue  # `datasets` takes an empty file for a broken one
        answered = split in ("train", "validation")
        texts = ["question", *(_ANSWERED if answered else []), "image_name", *_CLASSES, *_IDS]
        texts += _MODELS if answered else []
        features = Features({"image": Image(), **{column: Value("string") for column in texts}})
        with parquet_writer(target / f"{name}.parquet", features) as writer:
            for group in part.iter_slices(GROUP_ROWS):
                cells = {
                    image_id: image_cell(images[image_id], image_id, file, converted)
                    for image_id, file in group.select("image_id", "image_name").unique().iter_rows()
                }
                columns: dict[str, list[Any]] = {
                    "image": [cells[image_id] for image_id in group["image_id"]],
                    **{column: group[column].to_list() for column in texts},
                }
                writer.write_table(pa.Table.from_pydict(columns, schema=features.arrow_schema))
    return sorted(converted)


def write_trainer_json(rows: pl.DataFrame, target: Path) -> None:
    """Write train.json and validation.json as the official scripts read them: id, image, question, chosen, rejected.

    `id` is a whole number, of which the scripts make a tensor: the row's place in table `dataset`, from 0. `image` is
    the file name inside `data/images/files`, the scripts' image folder.
    """
    target.mkdir(parents=True, exist_ok=True)
    numbered = rows.with_row_index("id")
    for split in ("train", "validation"):
        part = numbered.filter(pl.col("split") == split)
        records = [
            {
                "id": row["id"],
                "image": row["image_name"],
                "question": row["question"],
                "chosen": row["chosen"],
                "rejected": row["rejected"],
            }
            for row in part.iter_rows(named=True)
        ]
        text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
        (target / f"{split}.json").write_text(text, encoding="utf-8")
