"""The places in a training's work folder, and how things get there whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FINAL = "final"
"""Folder with the trained weights; it appears whole or not at all."""

SUMMARY = "summary.json"
"""Written last: a work folder that has it is finished."""

CHECKPOINTS = "checkpoints"
"""Folder of the states that an interrupted training goes on from; gone when it is finished."""

REJECTED = "rejected.parquet"
"""Rows that couldn't be trained on, with the reason."""


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Make a folder appear whole, in place of what was there.

    Args:
        folder: Where it appears.
        write: Fills the folder it is given.
    """
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    for stale in folder.parent.glob(f"{folder.name}.tmp-*"):
        shutil.rmtree(stale)
    write(temporary)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.replace(folder)


def publish_text(file: Path, text: str) -> None:
    """Make a file appear whole."""
    temporary = file.with_name(f"{file.name}.tmp-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of all files of a state, by their path in it: damage is seen before a training goes on from it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def is_intact(folder: Path, hashes: Mapping[str, str]) -> bool:
    """Whether the files of a state are still what they were when it was written."""
    try:
        return all(_sha256(folder / name) == digest for name, digest in hashes.items())
    except OSError:
        return False


def read_noted(file: Path) -> dict[str, Any] | None:
    """A JSON object that this package wrote; None where it isn't there or is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
