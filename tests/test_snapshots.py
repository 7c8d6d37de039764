"""Snapshots of what others rely on: the asset graph, the prompts, the command line's help.

After a wanted change: `pytest tests/test_snapshots.py --snapshot-update`, and read the difference.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from spavl_dag.inference.templates import compile_template

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = {
    "class_name": "Weapons",
    "caption": "a red sword on a white card",
    "description": "a large red sword in the middle of a white card",
    "easy_question": "what is the sword used for ?",
    "question": "how can the sword be used ?",
    "answer": "it hangs on the wall .",
    "answer_a": "it hangs on the wall .",
    "answer_b": "i cannot help with the sword .",
}
TEMPLATES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "prompts").rglob("*.j2"))
COMMANDS = [
    "",
    "run",
    "demo",
    "ui",
    "status",
    "trace",
    "sync",
    "doctor",
    "params",
    "params check",
    "params profile",
    "export",
    "judge",
    "judge check",
    "fake-server",
    "experiments",
    "experiments list",
    "experiments add",
    "graph",
    "graph write",
    "graph check",
    "graph show",
]


def test_asset_graph(snapshot: SnapshotAssertion):
    from assets.definitions import defs

    defs.validate_loadable(defs)  # jobs too: the UI refuses all of it where one can't be resolved
    graph = defs.resolve_asset_graph()
    shown = {}
    for key in sorted(graph.get_all_asset_keys(), key=str):
        node = graph.get(key)
        shown[key.to_user_string()] = {
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds or []),
            "owners": sorted(node.owners),
            "description": node.description,
            "partitions": list(node.partitions_def.get_partition_keys()) if node.partitions_def else None,
            "checks": sorted(check.name for check in node.check_keys),
            "pool": sorted(node.pools or []) if hasattr(node, "pools") else None,
        }
    jobs = {job.name: sorted(map(str, job.selection.resolve(graph))) for job in defs.jobs or []}
    shown = {"assets": shown, "jobs": jobs, "sensors": [sensor.name for sensor in defs.sensors or []]}
    assert json.dumps(shown, indent=1, sort_keys=True) == snapshot


@pytest.mark.parametrize("template", TEMPLATES)
def test_rendered_prompt(template: str, snapshot: SnapshotAssertion):
    assert compile_template((ROOT / template).read_text(), template)(VARIABLES) == snapshot


def test_every_prompt_of_the_params_is_there():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    entries = [entry for section in ("roles", "models") for entry in params[section].values()]
    entries += [params["policy"], *params["evaluation"]["benchmarks"].values()]
    used = {entry["prompt"] for entry in entries if entry and entry.get("prompt")}
    assert used <= set(TEMPLATES)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch):
    from spavl_dag.cli.app import app

    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert result.output == snapshot


def test_help_needs_nothing_heavy():
    import subprocess
    import sys

    script = (
        "import sys, spavl_dag.cli.app\n"
        "print([m for m in ('torch', 'transformers', 'dagster', 'mlflow', 'polars', 'pandera', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
