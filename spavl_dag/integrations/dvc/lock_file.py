"""Reads dvc.lock, which DVC writes in place: a kill in that second leaves an empty or cut file.

The last whole one is kept in `.spavl/dvc.lock`, and put back when the file is no longer whole.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import yaml

from spavl_dag.errors import SpavlError
from spavl_dag.pipeline.layout import Project
from spavl_dag.yamls import load_yaml

_CONFLICT = "<<<<<<< "  # begins what git could not merge
_PATIENCE = 4.0  # seconds that DVC may take to write the lock of a hundred stages


def read_lock(project: Project) -> Mapping[str, Any]:
    """The stages of dvc.lock by name; none when nothing was recorded yet.

    Raises:
        SpavlError: The file is cut, and no whole one was kept; or it holds the conflicts of a merge.
    """
    file = project.root / "dvc.lock"
    end = time.monotonic() + _PATIENCE
    while True:
        if not file.is_file():
            return {}
        text = file.read_text(encoding="utf-8", errors="replace")
        stages = _whole(text)
        if stages is not None and not _is_beginning_of_kept(project, text):
            _keep(project, text)
            return stages
        if text.startswith(_CONFLICT) or f"\n{_CONFLICT}" in text:
            raise SpavlError(
                "dvc.lock holds the conflicts of a git merge",
                "Take one side (`git checkout --ours dvc.lock`, or --theirs); `dvc repro` makes what then differs.",
            )
        if time.monotonic() > end:
            return _put_back(project)
        time.sleep(0.2)  # a dvc may be writing it just now


def keep_lock(project: Project) -> None:
    """Keep the dvc.lock that was just written, if it is whole."""
    file = project.root / "dvc.lock"
    if file.is_file() and _whole(text := file.read_text(encoding="utf-8", errors="replace")) is not None:
        _keep(project, text)


def _whole(text: str) -> Mapping[str, Any] | None:
    """The stages of a lock whose every record is complete; None for what was cut."""
    try:
        content = load_yaml(text)
    except yaml.YAMLError:
        return None
    stages = content.get("stages") if isinstance(content, Mapping) and "schema" in content else None
    if not isinstance(stages, Mapping) or not text.endswith("\n"):
        return None
    return stages if all(map(_is_complete, stages.values())) else None


def _is_complete(entry: Any) -> bool:
    """Whether a record has its end; those of stages that aren't ours may look otherwise."""
    if not isinstance(entry, Mapping) or "cmd" not in entry:
        return False
    if not str(entry["cmd"]).startswith("spavl run "):
        return True
    outs = entry.get("outs") or [None]
    return all(isinstance(out, Mapping) and "path" in out and "md5" in out for out in outs)


def _is_beginning_of_kept(project: Project, text: str) -> bool:
    """Whether a lock is the last whole one without its end: cut between two records."""
    if not project.lock_copy.is_file():
        return False
    kept = project.lock_copy.read_text(encoding="utf-8")
    return len(text) < len(kept) and kept.startswith(text)


def _keep(project: Project, text: str) -> None:
    copy = project.lock_copy
    try:
        if copy.is_file() and copy.read_text(encoding="utf-8") == text:
            return
        copy.parent.mkdir(parents=True, exist_ok=True)
        temporary = copy.with_name(f"{copy.name}.{os.getpid()}.part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(copy)
    except OSError:  # a project that may only be read
        return


def _put_back(project: Project) -> Mapping[str, Any]:
    if not project.lock_copy.is_file():
        raise SpavlError(
            "dvc.lock is empty or cut: DVC was killed while it wrote it",
            "Get it back with `git checkout dvc.lock`; or remove it, and `dvc commit -f` records what lies on disk.",
        )
    text = project.lock_copy.read_text(encoding="utf-8")
    file = project.root / "dvc.lock"
    temporary = file.with_name("dvc.lock.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    print("dvc.lock was cut (was a dvc killed?); the last whole one was put back", file=sys.stderr)
    return _whole(text) or {}
