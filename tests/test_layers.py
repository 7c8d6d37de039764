"""Imports point downwards: each package knows those below it and none above."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LAYERS = (
    ("errors", "names", "progress", "states", "thoughts", "yamls"),
    ("fake_server", "extras", "text", "stats", "params"),
    ("taxonomy", "schemas", "charts"),
    ("media",),
    ("inference",),
    ("preview",),
    ("steps", "training", "integrations.huggingface"),
    ("demo", "evaluation", "profiles"),
    ("report",),
    ("pipeline",),
    ("integrations.dvc",),
    ("integrations.mlflow", "lineage"),
    ("integrations.recording",),
    ("integrations.dagster",),
    ("cli",),
)
"""From the bottom to the top; those of one layer don't know each other."""

ENTRIES = {
    # The drawn world is one source of images, benchmarks and labelled answers; only what offers it by name knows it.
    "demo": {"media.collect", "evaluation.collecting", "evaluation.judge_check.sets"},
}


def layer_of(module: str) -> tuple[int, str]:
    """Number of a module's layer, and the name it has there."""
    name = module.removeprefix("spavl_dag.")
    for number, members in enumerate(LAYERS):
        for member in members:
            if name == member or name.startswith(f"{member}."):
                return number, member
    raise AssertionError(f"{module} is in no layer")


def imports(file: Path) -> set[str]:
    """Modules of the library that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module}
            if node.module == "spavl_dag":
                found |= {f"spavl_dag.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("spavl_dag.") and name != "spavl_dag.__version__"}


def test_no_import_points_upwards():
    upwards = []
    for file in sorted((ROOT / "spavl_dag").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if module in ("spavl_dag", "spavl_dag.__main__", "spavl_dag.integrations"):
            continue
        number, name = layer_of(module)
        for imported in sorted(imports(file)):
            other, below = layer_of(imported)
            allowed = module.removeprefix("spavl_dag.") in ENTRIES.get(below, ())
            if below != name and other >= number and not allowed:
                upwards.append(f"{module} -> {imported}")
    assert not upwards, "\n".join(upwards)


def test_only_the_integrations_name_the_tools():
    tools = {"dagster", "mlflow", "dvc"}
    for file in sorted((ROOT / "spavl_dag").rglob("*.py")):
        if "integrations" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not tools & {name.split(".")[0] for name in names}, f"{file}: {names}"
