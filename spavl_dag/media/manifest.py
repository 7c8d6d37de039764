"""A manifest: what a user says of the files of an image folder, as CSV with a header, JSON lines or a JSON array.

Belongs here: reading the two formats into one row per file. Not here: whether the files exist and can be used
(`ingest`).
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spavl_dag.errors import MissingInputError, ParamsError
from spavl_dag.text import one_line

_COLUMNS = {
    "file": "file",
    "file_name": "file",
    "class": "class",
    "classes": "class",
    "caption": "caption",
    "license": "license",
    "licence": "license",
    "source": "source",
}
_NOTHING = ("", "nan", "<na>", "na", "none", "null", "n/a", "#n/a")
_HINT = "Columns: `file`; and optionally `class` (several separated by ;), `caption`, `license`, `source`."


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """What a manifest says of one file.

    Attributes:
        file: Its path relative to the folder, with slashes, as the manifest writes it.
        classes: Names of classes, as written.
        caption: What is to be seen, or None.
        license: Its license, or None.
        source: Where it came from, or None.
        notes: What was odd, when several rows speak of the file.
    """

    file: str
    classes: tuple[str, ...]
    caption: str | None
    license: str | None
    source: str | None
    notes: tuple[str, ...] = ()


BadRow = tuple[str, str]
"""Name of a row ("manifest.csv:12") and what is wrong with it."""


def read_manifest(path: Path, folder: Path) -> tuple[dict[str, ManifestRow], list[BadRow]]:
    """Read a manifest.

    Args:
        path: A `.jsonl`, `.ndjson` or `.json` file, or else a CSV with a header. Unknown columns are passed over.
        folder: What paths in it are relative to; absolute paths into it are made relative.

    Returns:
        The rows by path in Unicode form NFC, rows of one file merged; and the rows that can't be read.

    Raises:
        MissingInputError: There is no such file.
        ParamsError: It can't be read as a whole: not UTF-8, no column `file`, broken quotes.
    """
    text = _read_text(path)
    as_json = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
    rows: dict[str, ManifestRow] = {}
    bad: list[BadRow] = []
    for number, fields in _json_rows(text) if as_json else _csv_lines(path, text):
        row = fields if isinstance(fields, str) else _row(fields, folder)
        if isinstance(row, str):
            bad.append((f"{path.name}:{number}", row))
            continue
        key = unicodedata.normalize("NFC", row.file)
        rows[key] = _merged(rows[key], row) if key in rows else row
    return rows, bad


def _read_text(path: Path) -> str:
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise ParamsError(f"{path}: the manifest can't be read: it is no file", _HINT)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise MissingInputError(
            f"{path}: there is no such manifest", "Check `images.manifest` in params.yaml."
        ) from None
    except (OSError, ValueError) as error:
        raise ParamsError(f"{path}: the manifest can't be read: {error}", _HINT) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "Save the manifest with the encoding UTF-8."
        raise ParamsError(f"{path}: not UTF-8 (byte {error.start})", hint) from None


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """One object per line, or one array of objects, which are counted from 1."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, list | dict):
        for number, found in enumerate(whole if isinstance(whole, list) else [whole], 1):
            yield number, _fields(found)
        return
    # Not splitlines(): JSON strings may hold other line separators as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, _fields(json.loads(line))
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"


def _fields(found: object) -> dict[str, Any] | str:
    if not isinstance(found, dict):
        return "not a JSON object"
    return {_COLUMNS.get(key.strip().lower(), ""): value for key, value in found.items()}


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    separator = "\t" if "\t" in text.lstrip().partition("\n")[0] else ","
    blanks_before_quotes = re.search(rf'{separator} +"', text) is not None
    reader = csv.reader(
        io.StringIO(text, newline=""), strict=True, delimiter=separator, skipinitialspace=blanks_before_quotes
    )
    try:
        names = next((names for names in reader if any(map(str.strip, names))), [])
        header = [_COLUMNS.get(name.strip().lower(), "") for name in names]
        if header.count("file") != 1:
            raise ParamsError(f"{path}: the header must have one column `file`, separated by commas", _HINT)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                yield reader.line_num, f"{len(values)} values for {len(header)} columns"
            else:
                yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise ParamsError(f"{path}: line {reader.line_num}: {error}", "Fix the CSV.") from None


def _row(fields: dict[str, Any], folder: Path) -> ManifestRow | str:
    """A row in the one form, or what is wrong with it."""
    file = fields.get("file")
    if not isinstance(file, str) or not file.strip():
        return "names no file"
    classes = None if _is_nothing(fields.get("class")) else fields.get("class")
    names = classes.split(";") if isinstance(classes, str) else [] if classes is None else classes
    if not isinstance(names, list) or not all(isinstance(name, str) or _is_nothing(name) for name in names):
        return "`class` must be text or a list of texts"
    texts = {key: _text(fields.get(key)) for key in ("caption", "license", "source")}
    for key, text in texts.items():
        if text is None:
            return f"`{key}` must be text"
    return ManifestRow(
        file=_relative(file, folder),
        classes=tuple(name.strip() for name in names if not _is_nothing(name)),
        caption=texts["caption"] or None,
        license=texts["license"] or None,
        source=texts["source"] or None,
    )


def _is_nothing(value: object) -> bool:
    """Whether a table's writer means by a value that there is none."""
    if isinstance(value, str):
        return value.strip().lower() in _NOTHING
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _text(value: object) -> str | None:
    """A cell as one line, empty where there is nothing; None for what is neither text nor a number."""
    if _is_nothing(value):
        return ""
    if isinstance(value, float) and value.is_integer():  # a column of numbers with a gap becomes one of floats
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return one_line(str(value))


def _relative(file: str, folder: Path) -> str:
    """A path as the scan spells it: relative, with slashes, without "." and ".." where that is possible."""
    # Blanks around a name come from a table's layout, unless there is such a file.
    if file != file.strip() and not _is_there(folder, file):
        file = file.strip()
    # A manifest written on Windows has backslashes; elsewhere they may be part of a name.
    if "\\" in file and not _is_there(folder, file):
        file = file.replace("\\", "/")
    if os.path.isabs(file):
        file = os.path.relpath(file, os.path.abspath(folder))
    return os.path.normpath(file).replace(os.sep, "/")


def _is_there(folder: Path, file: str) -> bool:
    return os.path.lexists(folder / file)


def _merged(first: ManifestRow, second: ManifestRow) -> ManifestRow:
    notes = list(first.notes)
    for key in ("caption", "license", "source"):
        mine, other = getattr(first, key), getattr(second, key)
        if mine and other and mine != other:
            notes.append(f"the manifest gives another {key} too")
    return replace(
        first,
        classes=tuple(dict.fromkeys((*first.classes, *second.classes))),
        caption=first.caption or second.caption,
        license=first.license or second.license,
        source=first.source or second.source,
        notes=tuple(dict.fromkeys(notes)),
    )
