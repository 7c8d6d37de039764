"""Content hashes as DVC computes them, without importing DVC.

A file's hash is the md5 of its bytes; a folder's is the md5 of a JSON list of its files, with `.dir` behind it. So a
data version shown in Dagster is the very string that dvc.lock holds. A test compares both against a real `dvc`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec


class ContentHasher:
    """Hashes files and folders below a project, remembering what didn't change on disk.

    Args:
        root: The project; `.dvcignore` is read from it.
        memory: JSON file with hashes by path, size and time of change, or None to forget at once.
    """

    def __init__(self, root: Path, memory: Path | None = None) -> None:
        self.root = root
        self._memory_file = memory
        ignore = root / ".dvcignore"
        lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
        # DVC always leaves these two out of folders it hashes.
        self._ignored = GitIgnoreSpec.from_lines([".dvc/", ".git/", *lines])
        self._known: dict[str, list[object]] = {}
        self._grown = False
        if memory is not None and memory.is_file():
            try:
                self._known = json.loads(memory.read_text(encoding="utf-8"))
            except (ValueError, OSError):
                self._known = {}  # a memory, not a source: lost is only time

    def md5(self, path: Path) -> str | None:
        """Hash of a file or folder as dvc.lock would hold it; None when there is nothing."""
        if path.is_file():
            return self._file(path)
        if not path.is_dir():
            return None
        entries = [{"md5": self._file(file), "relpath": file.relative_to(path).as_posix()} for file in self._walk(path)]
        entries.sort(key=lambda entry: entry["relpath"])
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"

    def save(self) -> None:
        """Keep what was learnt for the next process, where this user may write."""
        if self._memory_file is None or not self._grown:
            return
        temporary = self._memory_file.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            self._memory_file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            temporary.replace(self._memory_file)
        self._grown = False

    def _file(self, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known is not None and known[:3] == stamp:
            return str(known[3])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "md5").hexdigest()
        self._known[str(path)] = [*stamp, digest]
        self._grown = True
        return digest

    def _walk(self, folder: Path) -> Iterator[Path]:
        for entry in sorted(folder.iterdir()):
            if self._is_ignored(entry):
                continue
            if entry.is_dir():
                yield from self._walk(entry)
            elif entry.is_file():
                yield entry

    def _is_ignored(self, path: Path) -> bool:
        if not path.is_relative_to(self.root):
            return False
        relative = path.relative_to(self.root).as_posix()
        return self._ignored.match_file(f"{relative}/" if path.is_dir() else relative)
