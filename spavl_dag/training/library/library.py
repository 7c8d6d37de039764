"""Experiments that are ready to be added to params.yaml: the paper's, and its ablations for the embedded world.

The entries stand in the YAML files beside this one: name, one sentence on it, and the entry as it would stand under
`experiments:`.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spavl_dag.errors import ParamsError
from spavl_dag.params.training import Experiment, read_experiment
from spavl_dag.yamls import dump_yaml, load_yaml

_FOLDER = Path(__file__).parent
_SECTION = re.compile(r"experiments:[ \t]*(#.*)?")


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """An experiment that can be added.

    Attributes:
        name: Its key under `experiments:`.
        file: Name of the library file, without its suffix.
        about: One sentence on it.
        params: The entry, checked.
        raw: The entry as the file states it, without defaults.
    """

    name: str
    file: str
    about: str
    params: Experiment
    raw: Mapping[str, Any]


@cache
def list_entries() -> tuple[LibraryEntry, ...]:
    """All entries of the library, by file and in the file's order."""
    found = []
    for file in sorted(_FOLDER.glob("*.yaml")):
        for name, described in load_yaml(file.read_text(encoding="utf-8")).items():
            raw = described["entry"]
            found.append(LibraryEntry(name, file.stem, described["about"], read_experiment(raw), raw))
    return tuple(found)


def add_to_params(params_file: Path, names: Sequence[str]) -> None:
    """Write entries of the library at the end of the section `experiments:`; every other byte of the file stays.

    Args:
        params_file: A params.yaml whose experiments are written one below the other.
        names: Names of entries, in the order in which they are to stand.

    Raises:
        ParamsError: A name is unknown, given twice or there already, or the section can't be added to. The file is
            unchanged then.
    """
    text = params_file.read_bytes().decode("utf-8")
    added = with_entries(text, [_find(name) for name in _once(names)], params_file.name)
    temporary = params_file.with_name(f"{params_file.name}.new")
    temporary.write_bytes(added.encode("utf-8"))
    temporary.replace(params_file)


def with_entries(text: str, entries: Sequence[LibraryEntry], name: str = "params.yaml") -> str:
    """The text of a params.yaml with entries added.

    Args:
        text: Content of the file.
        entries: What to add.
        name: File name for messages.

    Raises:
        ParamsError: One is there already, or the section can't be added to.
    """
    before = _load(text, name)
    experiments = before.get("experiments")
    if not isinstance(experiments, dict) or not experiments:
        raise ParamsError(f"{name} has no entries under 'experiments:'", "Write the baseline there first.")
    if there := [entry.name for entry in entries if entry.name in experiments]:
        raise ParamsError(f"{name} has {', '.join(there)} already", "Change the entry there, or rename it.")
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)  # splitlines would also split at what is no line end in YAML
    end = _end_of_section(lines, name)
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    indent = _indent(text)
    block = "".join(f"{indent}{line}{newline}" for entry in entries for line in _written(entry))
    gap = "" if lines[end - 1].endswith("\n") else newline
    result = "".join([*lines[:end], gap, block, *lines[end:]])
    expected = before | {"experiments": experiments | {entry.name: dict(entry.raw) for entry in entries}}
    if _load(result, name) != expected:
        raise ParamsError(f"{name} is written in a way that entries can't be added to", _BY_HAND)
    return result


_BY_HAND = "Copy the entry by hand from spavl_dag/training/library."


def _once(names: Sequence[str]) -> Sequence[str]:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ParamsError(f"{', '.join(twice)} is named twice", "Name each experiment once.")
    return names


def _find(name: str) -> LibraryEntry:
    by_name = {entry.name: entry for entry in list_entries()}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "`spavl experiments list` shows all."
        raise ParamsError(f"the library has no experiment '{name}'", hint)
    return by_name[name]


def _load(text: str, name: str) -> dict[str, Any]:
    try:
        content = load_yaml(text)
    except yaml.YAMLError as error:
        raise ParamsError(f"{name} is not YAML: {error}", "Fix the line named above.") from error
    return content if isinstance(content, dict) else {}


def _end_of_section(lines: Sequence[str], name: str) -> int:
    """Index behind the section's last line; blank lines and comments after that belong to what follows."""
    starts = [number for number, line in enumerate(lines) if _SECTION.fullmatch(line.lstrip("\ufeff").rstrip())]
    if len(starts) != 1:
        raise ParamsError(f"{name} has no line 'experiments:' with entries below it", _BY_HAND)
    end = starts[0] + 1
    for number, line in enumerate(lines[end:], start=end):
        if line[0] in " \t" and line.strip():
            end = number + 1
        elif line.strip() and not line.startswith("#"):
            break
    return end


def _indent(text: str) -> str:
    """White space before the keys of `experiments:`."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    section = next(value for key, value in root.value if key.value == "experiments")
    return " " * int(section.value[0][0].start_mark.column)


def _written(entry: LibraryEntry) -> list[str]:
    """An entry as lines of YAML."""
    return dump_yaml({entry.name: dict(entry.raw)}).splitlines()
