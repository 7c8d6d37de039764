"""What every export has: rows, images read when they are written, and names that carry the content.

`datasets` names its cache after a folder and its card, and looks at no file: names and card hold a hash of all that is
exported, so that an export made anew is never read as it was before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from spavl_dag.inference.request import ImageRef
from spavl_dag.integrations.huggingface.parquet import GROUP_ROWS, image_cell, parquet_writer
from spavl_dag.progress import Progress

ImageUse = Literal["judge", "original"]
Splits = Mapping[str, Mapping[str, str]]
"""Per configuration the split of the dataset behind each of its splits."""

ANSWERED = {"train": "train", "validation": "validation"}


@dataclass(frozen=True)
class Export:
    """What is exported.

    Attributes:
        rows: Table `dataset`.
        images: Its images by image id.
        use: `judge` gives pictures as the models saw them to whoever only converts to RGB (orientation applied, 8 bit);
            `original` as they came.
        shard_rows: Rows of a Parquet file, at most.
        progress: Told about rows.
    """

    rows: pl.DataFrame
    images: Mapping[str, ImageRef]
    use: ImageUse
    shard_rows: int
    progress: Progress

    @cached_property
    def content(self) -> str:
        """Hash of all rows, and of the pictures by theirs: 16 hex digits."""
        digest = hashlib.sha256(f"{self.use} {self.shard_rows}".encode())
        for group in self.rows.iter_slices(GROUP_ROWS):
            digest.update(group.write_ndjson().encode())
        for image_id in self.rows["image_id"].unique().sort():
            digest.update(self.images[image_id].sha256.encode())
        return digest.hexdigest()[:16]

    def of(self, split: str) -> pl.DataFrame:
        """Rows of a split."""
        return self.rows.filter(pl.col("split") == split)

    def cell(self, image_id: str, file: str) -> dict[str, Any]:
        """A picture as Parquet files of `datasets` hold it."""
        image = self.images[image_id]
        if self.use == "original":
            return {"bytes": image.read(), "path": file}
        return image_cell(image, image_id, file, set())


@dataclass(frozen=True)
class ExportFormat:
    """A form of the dataset that others read.

    Attributes:
        name: Of the option `--format`.
        about: Who reads it.
        write: Writes it into an empty folder; returns the files, relative to it.
        front_matter: The configurations for a data card at the folder's top, where `datasets` reads it.
    """

    name: str
    about: str
    write: Callable[[Export, Path], Sequence[str]]
    front_matter: Callable[[Export, Sequence[str]], Sequence[str]] | None = None


def write_shards(
    export: Export,
    split: str,
    stem: str,
    folder: Path,
    features: Any,
    columns: Callable[[pl.DataFrame], dict[str, Any]],
) -> list[str]:
    """Write the rows of a split as Parquet files of at most `shard_rows` rows; pictures are read group by group.

    Args:
        export: What is exported.
        split: Which rows.
        stem: How the files' names begin.
        folder: Where `data/` is made.
        features: Of `datasets`.
        columns: From some rows to the cells of each column.

    Returns:
        The files, relative to the folder; none for a split without rows.
    """
    import pyarrow as pa

    part = export.of(split)
    (folder / "data").mkdir(exist_ok=True)
    shards = list(part.iter_slices(export.shard_rows))
    names = []
    done = 0
    for number, shard in enumerate(shards):
        name = f"data/{stem}-{export.content}-{number:05d}-of-{len(shards):05d}.parquet"
        with parquet_writer(folder / name, features) as writer:
            for group in shard.iter_slices(GROUP_ROWS):
                writer.write_table(pa.Table.from_pydict(columns(group), schema=features.arrow_schema))
                done += group.height
                export.progress(f"export {split}", done, part.height)
        names.append(name)
    return names


def write_images(export: Export, rows: pl.DataFrame, folder: Path) -> dict[str, str]:
    """Write the pictures of some rows as files, each once.

    Returns:
        Per image id the file's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    pictures = list(rows.select("image_id", "image_name").unique(maintain_order=True).iter_rows())
    for done, (image_id, file) in enumerate(pictures, start=1):
        cell = export.cell(image_id, file)
        suffix = Path(cell["path"]).suffix or ".png"
        names[image_id] = f"{image_id}{suffix}"
        (folder / names[image_id]).write_bytes(cell["bytes"])
        export.progress("export images", done, len(pictures))
    return names


def configurations(export: Export, configs: Splits, files: Sequence[str]) -> Iterator[str]:
    """Lines of front matter that tell `datasets` which files are which split; what has no file has no entry.

    Args:
        export: What is exported.
        configs: Per configuration and split, how the names of its files begin.
        files: All files, relative to the folder.
    """
    yield "configs:"
    for config, splits in configs.items():
        found = {split: f"data/{stem}-{export.content}-*.parquet" for split, stem in splits.items()}
        found = {split: path for split, path in found.items() if any(Path(file).match(path) for file in files)}
        if found:
            yield from (f"- config_name: {config}", f"  description: content {export.content}", "  data_files:")
        for split, path in found.items():
            yield from (f"  - split: {split}", f"    path: {path}")
