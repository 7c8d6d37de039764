"""The dataset in the forms others read: Hugging Face `datasets` with the published columns, and the trainer JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from spavl_dag.inference.request import ImageRef
from spavl_dag.integrations.huggingface.front_matter import front_matter
from spavl_dag.media.decode import for_any_reader

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from datasets import Features

FILE_NAMES = {"train": "train", "validation": "validation", "harm_eval": "harm", "help_eval": "help"}
"""File name by split; the published names of the evaluation configs are `harm` and `help`."""

_GROUP_ROWS = 1000
"""Rows of a row group, whose images are in memory together. Fixed: the same rows give the same bytes."""

_IMAGE_LEAVES = ("image.bytes", "image.path")
_CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
"""Pages are cut by content, as `datasets` does it, so that the hub keeps equal pages of two versions once."""

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
        with _writer(target / f"{name}.parquet", features) as writer:
            for group in part.iter_slices(_GROUP_ROWS):
                cells = {
                    image_id: _cell(images[image_id], image_id, file, converted)
                    for image_id, file in group.select("image_id", "image_name").unique().iter_rows()
                }
                columns: dict[str, list[Any]] = {
                    "image": [cells[image_id] for image_id in group["image_id"]],
                    **{column: group[column].to_list() for column in texts},
                }
                writer.write_table(pa.Table.from_pydict(columns, schema=features.arrow_schema))
    return sorted(converted)


def _cell(image: ImageRef, image_id: str, file: str, converted: set[str]) -> dict[str, Any]:
    """An image as the Hugging Face files hold it; notes those that they hold otherwise than they came."""
    data = image.read()
    shown = for_any_reader(data)
    if shown == data:
        return {"bytes": data, "path": file}
    converted.add(file)
    return {"bytes": shown, "path": f"{image_id}.png"}


@contextmanager
def _writer(file: Path, features: Features) -> Iterator[pq.ParquetWriter]:
    """Writes what `Dataset.to_parquet` would, but one row group after the other: not all images are in memory."""
    import pyarrow.parquet as pq

    texts = [name for name in features if name != "image"]
    with pq.ParquetWriter(
        file,
        features.arrow_schema,
        compression={**dict.fromkeys(texts, "snappy"), **dict.fromkeys(_IMAGE_LEAVES, "none")},
        use_dictionary=texts,
        column_encoding=dict.fromkeys(_IMAGE_LEAVES, "PLAIN"),
        use_content_defined_chunking=_CHUNKING,
        write_page_index=True,
    ) as writer:
        yield writer
        writer.add_key_value_metadata({"content_defined_chunking": json.dumps(_CHUNKING)})


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
