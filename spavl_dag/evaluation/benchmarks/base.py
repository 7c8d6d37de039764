"""What every benchmark is, and the helpers its loader may use to read official files.

A benchmark is one file beside this one: a class with a name, a kind, metrics, and `load`; listed in `__init__`.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import polars as pl

from spavl_dag.errors import MissingInputError, ParamsError, SpavlError
from spavl_dag.evaluation.items import EvalItem, ItemImage
from spavl_dag.evaluation.metrics import Metric
from spavl_dag.evaluation.schemas import Kind, Rule
from spavl_dag.inference.request import ImageRef

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class BenchmarkFormatError(SpavlError):
    """A benchmark's file is not in the official format."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's items are read.

    Attributes:
        kind: "dataset" (the project's own), "folder" (official files) or "hub" (Hugging Face).
        folder: For "folder".
        hub: For "hub": dataset id, or a folder in the Hub's form.
        revision: For "hub".
        dataset: For "dataset": rows of table `dataset`.
        pictures: For "dataset": content of its images by image id.
    """

    kind: Literal["dataset", "folder", "hub"]
    folder: Path | None = None
    hub: str | None = None
    revision: str | None = None
    dataset: pl.DataFrame | None = None
    pictures: Mapping[str, ImageRef] | None = None


class Benchmark(ABC):
    """A benchmark: where its items come from and how answers are scored.

    Attributes:
        name: In params, tables and names of metrics.
        title: As it is shown.
        kind: What it measures.
        metrics: Its numbers; their rules decide how answers are scored.
        criterion: For pairwise metrics: what the annotator compares by.
        both_harmless: For pairwise metrics: only pairs whose answers are both judged harmless are compared.
        published: How many items its published editions have; empty where that isn't known.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    kind: ClassVar[Kind]
    metrics: ClassVar[tuple[Metric, ...]]
    criterion: ClassVar[Literal["harmlessness", "helpfulness"] | None] = None
    both_harmless: ClassVar[bool] = False
    published: ClassVar[tuple[int, ...]] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules by which answers are scored, each once."""
        return tuple(dict.fromkeys(metric.rule for metric in self.metrics))

    def load(self, source: Source) -> list[EvalItem]:
        """All items, in the order of the official files.

        Raises:
            MissingInputError: The folder or a file is not there.
            BenchmarkFormatError: A file is not in the official format.
            ParamsError: The benchmark can't be had from such a source.
        """
        if source.kind == "folder":
            if source.folder is None or not source.folder.is_dir():
                raise MissingInputError(
                    f"{self.name}: {source.folder} is not a folder",
                    f"Put the official files there (docs/how-to/evaluate.md), or fix benchmarks.{self.name}.folder.",
                )
            items = self.load_folder(source.folder)
        elif source.kind == "hub":
            items = self.load_hub(source)
        else:
            items = self.load_dataset(source)
        if not items:
            raise BenchmarkFormatError(f"{self.name}: the source has no item", "See docs/how-to/evaluate.md.")
        return items

    @abstractmethod
    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files in a folder."""

    def load_hub(self, source: Source) -> list[EvalItem]:
        """Items from the Hub; a benchmark without a known Hub form refuses."""
        raise self.unavailable("the Hub", "folder")

    def load_dataset(self, source: Source) -> list[EvalItem]:
        """Items from the project's own dataset; only its evaluation splits are there."""
        raise self.unavailable("the project's dataset", "folder")

    def unavailable(self, where: str, instead: str) -> ParamsError:
        """The error that says from where a benchmark can't be had."""
        return ParamsError(
            f"{self.name}: this benchmark can't be loaded from {where}",
            f"Set evaluation.benchmarks.{self.name}.source to '{instead}' (docs/how-to/evaluate.md).",
        )


# --- Files ------------------------------------------------------------------------------------------


def one_file(folder: Path, *patterns: str) -> Path:
    """The single file that one of the patterns names; the first pattern with a match decides.

    Raises:
        MissingInputError: None matches.
        BenchmarkFormatError: Several match one pattern.
    """
    for pattern in patterns:
        found = files_of(folder, pattern)
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:5])
            raise BenchmarkFormatError(
                f"{folder} has several files {pattern}: {names}", "Leave the one that counts, move the others away."
            )
        if found:
            return found[0]
    raise MissingInputError(f"{folder} has no file {' or '.join(patterns)}", "See docs/how-to/evaluate.md.")


def files_of(folder: Path, pattern: str) -> list[Path]:
    """The files that a pattern names, sorted, without what macOS and others put beside (`._a.json`, `__MACOSX/`)."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file() and not any(_is_side_file(part) for part in path.relative_to(folder).parts)
    )


def _is_side_file(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def named_file(folders: Sequence[Path], name: str, where: str) -> Path:
    """The file that a row names, with the folders in its name; in the first of some folders, if it is nowhere.

    Raises:
        BenchmarkFormatError: The name leads out of the folders.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise BenchmarkFormatError(f"{where}: {name} leads out of the folder", "Name files inside it.")
    places = [folder / path for folder in folders]
    return next((place for place in places if place.is_file()), places[0])


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        BenchmarkFormatError: It isn't JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BenchmarkFormatError(f"{path} is not JSON: {error}", "Get the official file again.") from error


def read_json_lines(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object per line; blank lines are passed over.

    Raises:
        BenchmarkFormatError: A line isn't a JSON object or lacks a column.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BenchmarkFormatError(f"{path}, line {number}: not JSON: {error}") from error
        rows.append(_with_columns(row, columns, f"{path}, line {number}"))
    return rows


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; further columns are kept.

    Raises:
        BenchmarkFormatError: A column is missing, or a row has no text in one of them.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    lacking = [column for column in columns if column not in (reader.fieldnames or ())]
    if lacking:
        raise BenchmarkFormatError(
            f"{path} has no column {', '.join(lacking)}; it has {', '.join(reader.fieldnames or ()) or 'none'}",
            f"The official file has the columns {', '.join(columns)}.",
        )
    try:
        return [_with_columns(row, columns, f"{path}, line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise BenchmarkFormatError(f"{path}, line {reader.line_num}: {error}") from error


def text_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """A cell that must hold text; numbers count as text.

    Raises:
        BenchmarkFormatError: It is missing or blank.
    """
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise BenchmarkFormatError(f"{where}: '{column}' is missing or blank", "Get the official file again.")
    return str(value).strip()


def first_folder(folder: Path, *names: str) -> Path:
    """The first of the sub-folders that is there, or the folder itself."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def image_path(stem: Path) -> Path:
    """The image file with this path but for its suffix; the first usual one if there is none, to be named missing."""
    found = (stem.with_name(stem.name + suffix) for suffix in _IMAGE_SUFFIXES)
    return next((path for path in found if path.is_file()), stem.with_name(stem.name + _IMAGE_SUFFIXES[0]))


# --- The Hub ----------------------------------------------------------------------------------------


def hub_rows(
    source: Source, split: str, columns: Sequence[str], config: str | None = None
) -> Iterator[tuple[int, dict[str, Any], Callable[[], bytes] | None]]:
    """Rows of a dataset of the Hub: number, columns but for the image, and how to read the image's bytes.

    Args:
        source: Names the dataset and its revision.
        split: Which split.
        columns: Columns that must be there; `image` is read as it was uploaded, without being decoded.
        config: Name of the configuration, for datasets with several.

    Raises:
        MissingInputError: The dataset can't be loaded.
        BenchmarkFormatError: A column is missing.
    """
    from datasets import Image, load_dataset
    from datasets.utils import disable_progress_bars

    assert source.hub is not None, "a source of kind 'hub' names a dataset"
    disable_progress_bars()
    # Of a folder with a data card, the cache is named by the card, and would outlive the files.
    anew: dict[str, Any] = {"download_mode": "reuse_cache_if_exists", "verification_mode": "no_checks"}
    options = anew if Path(source.hub).is_dir() else {}
    try:
        rows = load_dataset(source.hub, config, split=split, revision=source.revision, **options)
    except Exception as error:  # the library raises whatever its file readers and the network make it
        raise MissingInputError(
            f"{source.hub} (split {split}) can't be loaded: {error}",
            "Check the id, the revision and the network; gated datasets need a token in the environment.",
        ) from error
    lacking = [column for column in columns if column not in rows.column_names]
    if lacking:
        raise BenchmarkFormatError(f"{source.hub} (split {split}) has no column {', '.join(lacking)}")
    if "image" not in columns:
        yield from ((i, dict(row), None) for i, row in enumerate(rows.select_columns(list(columns))))
        return
    encoded = rows.cast_column("image", Image(decode=False))
    plain = rows.select_columns([column for column in columns if column != "image"])
    for i, row in enumerate(plain):
        yield i, dict(row), lambda i=i: _image_bytes(encoded[i]["image"])  # type: ignore[misc]


def hub_image(source: Source, where: str, read: Callable[[], bytes] | None) -> ItemImage | None:
    """The image of a row of `hub_rows`."""
    return ItemImage(f"{source.hub}: {where}", read) if read else None


def _image_bytes(cell: Mapping[str, Any] | None) -> bytes:
    if cell is None:
        raise BenchmarkFormatError("the row has no image")
    data = cell.get("bytes")
    return bytes(data) if data else Path(cell["path"]).read_bytes()


def read_text(path: Path) -> str:
    """The content of a UTF-8 file, without a byte order mark.

    Raises:
        MissingInputError: It isn't there.
        BenchmarkFormatError: It can't be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingInputError(f"there is no file {path}", "See docs/how-to/evaluate.md.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkFormatError(f"{path} can't be read: {error}", "Get the official file again.") from error


def _with_columns(row: Any, columns: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BenchmarkFormatError(f"{where}: expected an object", "Get the official file again.")
    for column in columns:
        text_of(row, column, where)
    return row
