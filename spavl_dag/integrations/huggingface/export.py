"""The dataset in the forms others read: Hugging Face `datasets` with the published columns, and the trainer JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.integrations.huggingface.front_matter import front_matter

FILE_NAMES = {"train": "train", "validation": "validation", "harm_eval": "harm", "help_eval": "help"}
"""File name by split; the published names of the evaluation configs are `harm` and `help`."""

_IDS = ["row_id", "question_id", "image_id", "question_type", "class_id"]
_ANSWERED = ["chosen", "rejected"]
_MODELS = ["chosen_model", "rejected_model", "chosen_label", "rejected_label", "reason1", "reason2"]
_CLASSES = ["class1", "class2", "class3"]


def write_dataset_files(rows: pl.DataFrame, card: str, images: Path, target: Path) -> None:
    """Write data card, Hugging Face files and trainer JSON.

    Args:
        rows: Table `dataset`.
        card: The data card, to which the front matter is added.
        images: Folder of the `images` artifact.
        target: Folder to write into.
    """
    write_hub_files(rows, images / "files", target / "hf")
    (target / "README.md").write_text(front_matter(target) + card, encoding="utf-8")
    write_trainer_json(rows, target / "trainer")


def write_hub_files(rows: pl.DataFrame, image_folder: Path, target: Path) -> None:
    """Write one Parquet file per split that `load_dataset(<folder of the dataset>)` reads, images embedded.

    Args:
        rows: Table `dataset`.
        image_folder: Where the image files lie.
        target: Folder to write into.
    """
    from datasets import Dataset, Features, Image, Value
    from datasets.utils import disable_progress_bars

    disable_progress_bars()  # one bar per small file would hide the command line's own
    target.mkdir(parents=True, exist_ok=True)
    for split, name in FILE_NAMES.items():
        part = rows.filter(pl.col("split") == split)
        if part.is_empty():
            continue  # `datasets` takes an empty file for a broken one
        answered = split in ("train", "validation")
        texts = ["question", *(_ANSWERED if answered else []), "image_name", *_CLASSES, *_IDS]
        texts += _MODELS if answered else []
        columns: dict[str, list[Any]] = {
            "image": [{"bytes": (image_folder / n).read_bytes(), "path": n} for n in part["image_name"]],
            **{column: part[column].to_list() for column in texts},
        }
        features = Features({"image": Image(), **{column: Value("string") for column in texts}})
        # A fixed batch: the same rows give the same bytes.
        Dataset.from_dict(columns, features=features).to_parquet(target / f"{name}.parquet", batch_size=1000)


def write_trainer_json(rows: pl.DataFrame, target: Path) -> None:
    """Write train.json and validation.json as the official scripts read them: id, image, question, chosen, rejected.

    `image` is the file name inside `data/images/files`, the scripts' image folder.
    """
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        part = rows.filter(pl.col("split") == split)
        records = [
            {
                "id": row["row_id"],
                "image": row["image_name"],
                "question": row["question"],
                "chosen": row["chosen"],
                "rejected": row["rejected"],
            }
            for row in part.iter_rows(named=True)
        ]
        text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
        (target / f"{split}.json").write_text(text, encoding="utf-8")
