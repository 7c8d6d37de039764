"""Content hashes as DVC computes them, without importing DVC.

A file's hash is the md5 of its bytes; a folder's is the md5 of a JSON list of its files, with `.dir` behind it. So a
data version shown in Dagster is the very string that dvc.lock holds. A test compares both against a real `dvc`.

DVC enters no link to a folder, and fails or waits for ever on what is no readable file (a pipe, a link that leads
nowhere). Such entries have no hash here; `.dvcignore` must name them for DVC (`integrations.dvc.ignore_file`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

FOUND, END = "# Found by spavl: ", "# End of what spavl found."
"""First and last line of what `.dvcignore` names because DVC can't hash it; a hash here doesn't depend on it."""


class _Memory:
    """Hashes by path, with what tells whether the file is still the same."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.known: dict[str, list[object]] = {}
        self.grown = False
        if file is not None and file.is_file():
            with contextlib.suppress(ValueError, OSError, RecursionError):  # a memory, not a source: lost is only time
                self.known = _entries_of(json.loads(file.read_text(encoding="utf-8")))


class ContentHasher:
    """Hashes files and folders below a project, remembering what didn't change on disk.

    Args:
        root: The project; `.dvcignore` is read from it.
        memory: JSON file with hashes by path, size and time of change, or None to forget at once.
    """

    def __init__(self, root: Path, memory: Path | None = None) -> None:
        self.root = root
        ignore = root / ".dvcignore"
        text = ignore.read_text(encoding="utf-8") if ignore.is_file() else ""
        # DVC always leaves these two out of folders it hashes.
        self._ignored = GitIgnoreSpec.from_lines([".dvc/", ".git/", *split_ignored(text)[0]])
        self._memory = _Memory(memory)

    def anew(self) -> ContentHasher:
        """One that reads `.dvcignore` again, and has the same memory."""
        other = ContentHasher(self.root)
        other._memory = self._memory
        return other

    def md5(self, path: Path) -> str | None:
        """Hash of a file or folder as dvc.lock would hold it; None when there is nothing."""
        if path.is_file():
            return self._file(path)
        if not path.is_dir():
            return None
        files = [file for file, trouble in self._walk(path) if trouble is None]
        entries = [{"md5": self._file(file), "relpath": file.relative_to(path).as_posix()} for file in files]
        entries.sort(key=lambda entry: entry["relpath"])
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"

    def unhashable(self, path: Path) -> dict[Path, str]:
        """Files and folders below a folder that DVC can't hash, with the reason; they have no part in its hash."""
        return {entry: trouble for entry, trouble in self._walk(path) if trouble} if path.is_dir() else {}

    def save(self) -> None:
        """Keep what was learnt for the next process, where this user may write."""
        memory = self._memory
        if memory.file is None or not memory.grown:
            return
        temporary = memory.file.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            memory.file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(memory.known), encoding="utf-8")
            temporary.replace(memory.file)
        memory.grown = False

    def _file(self, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._memory.known.get(str(path))
        if known is not None and known[:3] == stamp:
            return str(known[3])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "md5").hexdigest()
        self._memory.known[str(path)] = [*stamp, digest]
        self._memory.grown = True
        return digest

    def _walk(self, folder: Path) -> Iterator[tuple[Path, str | None]]:
        """All files, and what can't be hashed with the reason; a folder of which that is true is not entered."""
        for entry in sorted(folder.iterdir()):
            if self._is_ignored(entry):
                continue
            trouble = _trouble(entry)
            if trouble or not entry.is_dir():
                yield entry, trouble
            elif not entry.is_symlink():
                yield from self._walk(entry)

    def _is_ignored(self, path: Path) -> bool:
        if not path.is_relative_to(self.root):
            return False
        relative = path.relative_to(self.root).as_posix()
        return self._ignored.match_file(f"{relative}/" if path.is_dir() else relative)


def split_ignored(text: str) -> tuple[list[str], list[str]]:
    """The lines of a `.dvcignore`: the user's, and those between `FOUND` and `END`."""
    lines = [line.strip() for line in text.split("\n")]  # as DVC reads them
    begin = next((number for number, line in enumerate(lines) if line.startswith(FOUND)), None)
    if begin is None or END not in lines[begin:]:
        return lines, []
    end = lines.index(END, begin)
    return lines[:begin] + lines[end + 1 :], lines[begin + 1 : end]


def _entries_of(content: object) -> dict[str, list[object]]:
    """What of a memory's file is as this class writes it: size, time, inode and a hash."""
    entries = content.items() if isinstance(content, dict) else ()
    return {path: entry for path, entry in entries if isinstance(entry, list) and _is_entry(entry)}


def _is_entry(entry: list[object]) -> bool:
    return len(entry) == 4 and isinstance(entry[3], str) and re.fullmatch("[0-9a-f]{32}", entry[3]) is not None


def _trouble(entry: Path) -> str | None:
    """Why DVC can't hash an entry of a folder, or None where it can."""
    if any("\ud800" <= char <= "\udfff" for char in entry.name):
        return "its name is not UTF-8"
    try:
        mode = entry.stat().st_mode
    except OSError as error:  # also a link in circles
        return "a link that leads nowhere" if entry.is_symlink() else error.strerror
    if stat.S_ISDIR(mode):
        return None if entry.is_symlink() or os.access(entry, os.R_OK | os.X_OK) else "may not be read"
    if not stat.S_ISREG(mode):
        return "a pipe, a socket or a device"
    return None if os.access(entry, os.R_OK) else "may not be read"
