"""What DVC can't hash in the folders that stages depend on, named in `.dvcignore`: else every dvc command stops at it.

Such files are nobody's fault (a link that leads nowhere, a pipe); the assets themselves quarantine them.
"""

from __future__ import annotations

import sys

from spavl_dag.media.files import printable
from spavl_dag.pipeline.graph import Graph
from spavl_dag.pipeline.hashing import END, FOUND, split_ignored

_FILE = ".dvcignore"
# Bytes that are no UTF-8 are lone surrogates in Python: all that is no other character.
_UNDECODABLE = "[! -\ud7ff\ue000-\U0010ffff]"
_CONTROL = "[!!-\U0010ffff]"
_SPECIAL = "\\*?[]!#"


def ignore_unhashable(graph: Graph) -> None:
    """Name in `.dvcignore` what DVC can't hash, take out what it can by now, and tell of what is new."""
    file = graph.project.root / _FILE
    own, named = split_ignored(file.read_text(encoding="utf-8") if file.is_file() else "")
    entries = _entries(graph)
    if list(entries) == named:
        return
    text = "\n".join(own).rstrip("\n") + "\n"
    if entries:
        text += "\n".join([f"\n{FOUND}DVC can't hash these. Written anew with each record.", *entries, END, ""])
    temporary = file.with_name(f"{_FILE}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    for what in [what for pattern, what in entries.items() if pattern not in named]:
        print(f"{_FILE}: DVC can't hash {what}; it is left out there", file=sys.stderr)


def find_unnamed(graph: Graph) -> list[str]:
    """What DVC can't hash and `.dvcignore` doesn't name yet, each with the reason; no dvc command works until then."""
    file = graph.project.root / _FILE
    _, named = split_ignored(file.read_text(encoding="utf-8") if file.is_file() else "")
    return [what for pattern, what in _entries(graph).items() if pattern not in named]


def _entries(graph: Graph) -> dict[str, str]:
    """A line of `.dvcignore` for each entry that can't be hashed, with the entry and the reason for people."""
    found = {}
    outs = {out for stage in graph.stages for out in stage.outs}
    deps = sorted({dep for stage in graph.stages for dep in stage.deps} - outs)
    for dep in deps:
        for path, trouble in graph.hasher.unhashable(graph.project.root / dep).items():
            relative = path.relative_to(graph.project.root).as_posix()
            found[_pattern(relative)] = f"{printable(relative)} ({trouble})"
    return found


def _pattern(path: str) -> str:
    """The line that names exactly one path below the project, as DVC reads it: without blanks at its ends."""
    return "/" + "".join(map(_literal, path))


def _literal(char: str) -> str:
    if "\ud800" <= char <= "\udfff":
        return _UNDECODABLE
    if char < " ":
        return _CONTROL
    if char.isspace():
        return f"[{char}]"
    return f"\\{char}" if char in _SPECIAL else char
