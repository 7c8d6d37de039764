"""Which code of the project an asset's artifact is made by.

Belongs here: the modules that an asset's module imports, read from their syntax and never by importing them. What
only carries an artifact (this package, the integrations, the command line) is left out: it can't change it. Nor can
the ledger and the engines without a new call key, which holds a version of its own. Code that trains is named here, so
that a raised version is noticed; a stage that runs again because of another edit asks nothing and trains nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LIBRARY = "spavl_dag"

CARRIERS = (
    "spavl_dag.cli",
    "spavl_dag.errors",
    "spavl_dag.extras",
    "spavl_dag.inference",
    "spavl_dag.integrations.dagster",
    "spavl_dag.integrations.dvc",
    "spavl_dag.integrations.mlflow",
    "spavl_dag.lineage",
    "spavl_dag.params",
    "spavl_dag.pipeline",
    "spavl_dag.preview",
    "spavl_dag.progress",
    "spavl_dag.states",
    "spavl_dag.yamls",
)
"""Packages and modules that an artifact's content doesn't come from."""

CONTENT = ("spavl_dag.inference.verdicts", "spavl_dag.pipeline.trainer")
"""Inside of them, what does decide what is in an artifact: reading the texts of models, and starting a training."""


@cache
def code_files(module: str, root: Path) -> tuple[str, ...]:
    """Files and folders of code, relative to the project, that an asset's artifact depends on.

    Args:
        module: The asset's module, such as "assets.captions".
        root: The project.

    Returns:
        Sorted paths. A package of which all modules are needed is named as a folder, which keeps dvc.yaml short.
    """
    own = _file_of(module, root)
    assert own is not None, f"{module} lies in {root}"
    needed = {own}
    waiting = list(needed)
    while waiting:
        for name in _imports(waiting.pop()):
            file = _file_of(name, root)
            if file is not None and file not in needed and _is_content(name):
                needed.add(file)
                waiting.append(file)
    templates = {path for file in needed for path in file.parent.glob("templates") if path.is_dir()}
    return tuple(sorted({*_in_folders(needed, root), *(t.relative_to(root).as_posix() for t in templates)}))


def _is_content(name: str) -> bool:
    if any(name == known or name.startswith(f"{known}.") for known in CONTENT):
        return True
    return not any(name == known or name.startswith(f"{known}.") for known in CARRIERS) and name != LIBRARY


@cache
def _imports(file: Path) -> frozenset[str]:
    """Modules of the library that a file imports, also inside functions, but not for type checkers alone."""
    found = set()
    for node in _runtime_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _names_module(node.value):
            found.add(node.value.partition(":")[0])  # a registry's "package.module:attribute"
    return frozenset(name for name in found if name.startswith(f"{LIBRARY}."))


def _names_module(text: str) -> bool:
    return text.startswith(f"{LIBRARY}.") and ":" in text and " " not in text


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _runtime_nodes(node)


def _file_of(name: str, root: Path) -> Path | None:
    path = root / name.replace(".", "/")
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _in_folders(files: set[Path], root: Path) -> Iterator[str]:
    by_folder: dict[Path, set[Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, set()).add(file)
    whole = {
        folder
        for folder in by_folder
        if len(by_folder[folder]) > 1 and all(path in files for path in folder.rglob("*.py"))
    }
    for file in files:
        if not any(parent in whole for parent in file.parents):
            yield file.relative_to(root).as_posix()
    for folder in whole:
        if not any(parent in whole for parent in folder.parents):
            yield folder.relative_to(root).as_posix()
