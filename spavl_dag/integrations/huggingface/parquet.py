"""Parquet files with images, written as `datasets` would, but with no more images in memory than a row group has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spavl_dag.inference.request import ImageRef
from spavl_dag.media.decode import for_any_reader

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from datasets import Features

GROUP_ROWS = 1000
"""Rows of a row group, whose images are in memory together. Fixed: the same rows give the same bytes."""

_IMAGE_LEAVES = {
    "image": ("image.bytes", "image.path"),
    "images": tuple(f"images.list.element.{of}" for of in ("bytes", "path")),
}
_CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
"""Pages are cut by content, as `datasets` does it, so that the hub keeps equal pages of two versions once."""


def image_cell(image: ImageRef, image_id: str, file: str, converted: set[str]) -> dict[str, Any]:
    """An image as the Hugging Face files hold it; notes those that they hold otherwise than they came."""
    data = image.read()
    shown = for_any_reader(data)
    if shown == data:
        return {"bytes": data, "path": file}
    converted.add(file)
    return {"bytes": shown, "path": f"{image_id}.png"}


@contextmanager
def parquet_writer(file: Path, features: Features) -> Iterator[pq.ParquetWriter]:
    """Writes what `Dataset.to_parquet` would, but one row group after the other: not all images are in memory."""
    import pyarrow.parquet as pq

    images = [leaf for name in features if name in _IMAGE_LEAVES for leaf in _IMAGE_LEAVES[name]]
    texts = _text_leaves(features)
    with pq.ParquetWriter(
        file,
        features.arrow_schema,
        compression={**dict.fromkeys(texts, "snappy"), **dict.fromkeys(images, "none")},
        use_dictionary=texts,
        column_encoding=dict.fromkeys(images, "PLAIN"),
        use_content_defined_chunking=_CHUNKING,
        write_page_index=True,
    ) as writer:
        yield writer
        writer.add_key_value_metadata({"content_defined_chunking": json.dumps(_CHUNKING)})


def _text_leaves(features: Features) -> list[str]:
    """Paths of the columns of text, those inside conversations too."""
    found = []
    for name, feature in features.items():
        if name in _IMAGE_LEAVES:
            continue
        turns = getattr(feature, "feature", None)
        found += [f"{name}.list.element.{field}" for field in turns] if turns else [name]
    return found
