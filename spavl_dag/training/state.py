"""The places in a training's work folder, and how things get there whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

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
