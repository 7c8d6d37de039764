"""A manifest: what a user says of the files of an image folder, as CSV with a header or as JSON lines.

Belongs here: reading the two formats into one row per file. Not here: whether the files exist and can be used
(`ingest`).
"""

from __future__ import annotations

import csv
import io
import json
import os
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
        path: A `.jsonl` or `.ndjson` file, or else a CSV with a header. Unknown columns are passed over.
        folder: What paths in it are relative to; absolute paths into it are made relative.

    Returns:
        The rows by path in Unicode form NFC, rows of one file merged; and the rows that can't be read.

    Raises:
        MissingInputError: There is no such file.
        ParamsError: It can't be read as a whole: not UTF-8, no column `file`, broken quotes.
    """
    text = _read_text(path)
    as_json = path.suffix.lower() in (".jsonl", ".ndjson")
    rows: dict[str, ManifestRow] = {}
    bad: list[BadRow] = []
    for number, fields in _json_lines(text) if as_json else _csv_lines(path, text):
        row = fields if isinstance(fields, str) else _row(fields, folder)
        if isinstance(row, str):
            bad.append((f"{path.name}:{number}", row))
            continue
        key = unicodedata.normalize("NFC", row.file)
        rows[key] = _merged(rows[key], row) if key in rows else row
    return rows, bad


def _read_text(path: Path) -> str:
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


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    # Not splitlines(): JSON strings may hold other line separators as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        if isinstance(found, dict):
            yield number, {_COLUMNS.get(key.strip().lower(), ""): value for key, value in found.items()}
        else:
            yield number, "not a JSON object"


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [_COLUMNS.get(name.strip().lower(), "") for name in next(reader, [])]
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
    classes = fields.get("class")
    names = classes.split(";") if isinstance(classes, str) else [] if classes is None else classes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "`class` must be text or a list of texts"
    for key in ("caption", "license", "source"):
        if not isinstance(fields.get(key), str | None):
            return f"`{key}` must be text"
    return ManifestRow(
        file=_relative(file, folder),
        classes=tuple(name.strip() for name in names if name.strip()),
        caption=one_line(fields.get("caption") or "") or None,
        license=one_line(fields.get("license") or "") or None,
        source=one_line(fields.get("source") or "") or None,
    )


def _relative(file: str, folder: Path) -> str:
    """A path as the scan spells it: relative, with slashes, without "." and ".." where that is possible."""
    # A manifest written on Windows has backslashes; elsewhere they may be part of a name.
    if "\\" in file and not os.path.lexists(folder / file):
        file = file.replace("\\", "/")
    if os.path.isabs(file):
        file = os.path.relpath(file, os.path.abspath(folder))
    return os.path.normpath(file).replace(os.sep, "/")


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
