"""Code that trains doesn't change unnoticed: a training's key holds its `VERSION`, not its text.

Each module's syntax tree is compared with the one that was accepted last; docstrings, comments, formatting and names
of local variables aside. After a wanted change: `python -m tests.training.test_code_versions --accept`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from spavl_dag.training import versions
from spavl_dag.training.versions import Method, code_version, version_in

FOLDER = Path(versions.__file__).parent
ACCEPTED = Path(__file__).with_name("code_versions.json")
ACCEPT = "python -m tests.training.test_code_versions --accept"

OWNERS = {
    "sft.py": ("sft.py",),
    "dpo.py": ("dpo.py",),
    "group.py": ("group.py",),
    "ppo/trainer.py": ("ppo/*.py",),
    "reward/trainer.py": ("reward/*.py",),
}
"""Whose `VERSION` stands for which modules; for all others it is that of versions.py."""


def modules() -> dict[str, Path]:
    return {file.relative_to(FOLDER).as_posix(): file for file in sorted(FOLDER.rglob("*.py"))}


def owner(module: str) -> str:
    mine = (name for name, patterns in OWNERS.items() if any(Path(module).match(pattern) for pattern in patterns))
    return next(mine, "versions.py")


def tree_of(source: str) -> str:
    """Hash of a module's syntax tree without what can't change a result."""
    tree = ast.parse(source)
    _drop_texts(tree)
    tree.body = [node for node in tree.body if not _is_version(node)]
    plain = json.dumps(_plain(tree, {}))
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _drop_texts(tree: ast.AST) -> None:
    """Take docstrings away, those below an assignment too."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [part for part in body if not (isinstance(part, ast.Expr) and _is_text(part.value))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_version(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["VERSION"]


def _plain(node: Any, names: Mapping[str, str]) -> Any:
    """A tree as lists, with what a release of Python adds or leaves out empty skipped, and local names numbered."""
    if isinstance(node, list):
        return [_plain(part, names) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        taken = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        names = {name: number for name, number in names.items() if name not in taken}
        mine = [name for name in dict.fromkeys(_locals(node)) if name not in taken]
        names = {**names, **{name: f"local {len(names) + number}" for number, name in enumerate(mine)}}
    fields = [(field, value) for field, value in ast.iter_fields(node) if value not in (None, [])]
    renamed = {
        ast.Name: "id",
        ast.ExceptHandler: "name",
        ast.FunctionDef: "name",
        ast.MatchAs: "name",
        ast.MatchStar: "name",
        ast.Nonlocal: "names",
    }.get(type(node))
    return [
        type(node).__name__,
        *([field, _renamed(value, names) if field == renamed else _plain(value, names)] for field, value in fields),
    ]


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    return [names.get(name, name) for name in value] if isinstance(value, list) else names.get(value, value)


def _locals(function: ast.AST) -> Iterator[str]:
    """Names that a function binds, in order; what its own functions bind is theirs."""
    inside = list(_own(function))
    foreign = {name for node in inside if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    for node in inside:
        name = getattr(node, "id" if isinstance(node, ast.Name) else "name", None)
        binds = isinstance(getattr(node, "ctx", None), ast.Store) or isinstance(
            node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.FunctionDef
        )
        if binds and name and name not in foreign:
            yield name


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions and classes inside."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own(child)


def state(module: str) -> str:
    """What would be accepted of a module: its tree, and the version that stands for it."""
    source = (FOLDER / module).read_text(encoding="utf-8")
    return f"{tree_of(source)} {version_in(FOLDER / owner(module))}"


@pytest.mark.parametrize("module", modules())
def test_a_changed_tree_raises_a_version(module: str) -> None:
    accepted = json.loads(ACCEPTED.read_text(encoding="utf-8")).get(module, "none 0")
    (tree, version), (old_tree, old_version) = state(module).split(), accepted.split()
    if tree == old_tree:
        return
    file = f"spavl_dag/training/{owner(module)}"
    said = (
        f"VERSION of {file} was raised" if version != old_version else f"raise VERSION in {file} if results may change"
    )
    pytest.fail(f"spavl_dag/training/{module} changed: {said}; then accept the new tree with `{ACCEPT}`")


def test_nothing_is_accepted_that_is_gone() -> None:
    assert json.loads(ACCEPTED.read_text(encoding="utf-8")).keys() == modules().keys(), f"run `{ACCEPT}`"


def test_every_method_has_the_version_of_all_it_trains_with() -> None:
    told = {method: [part.split()[0] for part in code_version(method).split(", ")] for method in get_args(Method)}
    assert told == {
        "sft": ["sft.py", "versions.py"],
        "dpo": ["dpo.py", "versions.py"],
        "ppo": ["ppo/trainer.py", "reward/trainer.py", "versions.py"],
        "grpo": ["group.py", "reward/trainer.py", "versions.py"],
        "rloo": ["group.py", "reward/trainer.py", "versions.py"],
        "reward": ["reward/trainer.py", "versions.py"],
    }
    assert code_version("dpo") == f"dpo.py {version_in(FOLDER / 'dpo.py')}, versions.py {versions.VERSION}"


BEFORE = '''
"""A module."""
import math
LIMIT = 3
"""Of rows."""


def total(rows, scale=1.0):
    """Sum up."""
    found = 0
    for row in rows:  # each
        with open(row) as stream:
            found += len([line for line in stream]) * scale

    def again(values):
        nonlocal found
        found += sum(values)
        return found
    try:
        return again([found])
    except ValueError as error:
        raise KeyError(str(error)) from error
'''

SAME = [
    ('"""Sum up."""', '"""Add all rows up; see elsewhere."""'),
    ('"""Of rows."""\n', ""),
    ("  # each", ""),
    ("found = 0\n", "found = (\n        0\n    )\n"),
    ("found", "result"),
    ("row in rows:  # each\n        with open(row)", "name in rows:\n        with open(name)"),
    ("line", "text"),
    ("again", "more"),
    ("error", "problem"),
    ('"""A module."""\n', '"""Another."""\nVERSION = 2\n'),
]
OTHER = [
    ("LIMIT = 3", "LIMIT = 4"),
    ("LIMIT", "BOUND"),
    ("scale=1.0", "scale=2.0"),
    ("scale", "factor"),  # callers name it
    ("rows", "items"),
    ("found = 0", "found = 1"),
    ("* scale", "/ scale"),
    ("KeyError", "OSError"),
    ("sum(values)", "max(values)"),
    ("open(row)", "open(scale)"),
    ("return again([found])", "return found"),
    ("def total", "def whole"),
    ("import math", "import os"),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_what_changes_no_result_is_no_change(old: str, new: str) -> None:
    assert old in BEFORE
    assert tree_of(BEFORE.replace(old, new)) == tree_of(BEFORE)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_what_may_change_a_result_is_one(old: str, new: str) -> None:
    assert old in BEFORE
    assert tree_of(BEFORE.replace(old, new)) != tree_of(BEFORE)


def test_names_that_change_places_are_a_change() -> None:
    text = "def f():\n    a, b = 1, 2\n    return a\n"
    assert tree_of(text) == tree_of(text.replace("a", "c").replace("b", "a"))
    assert tree_of(text) != tree_of(text.replace("return a", "return b"))


if __name__ == "__main__":
    if sys.argv[1:] != ["--accept"]:
        sys.exit(f"usage: {ACCEPT}")
    ACCEPTED.write_text(json.dumps({module: state(module) for module in modules()}, indent=1) + "\n", encoding="utf-8")
