"""The report's numbers in DVC's own commands, as a user types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from spavl_dag.integrations.dvc.command import find_dvc
from spavl_dag.report.build import build_report
from tests.report.invented import KEYS, curves, inputs

ROOT = Path(__file__).resolve().parents[2]
DVC = find_dvc()
PIPELINE = {
    "metrics": ["eval/report/metrics"],
    "plots": [{"eval/report/curves": {"template": "curves", "x": "step"}}],
    "stages": {"report": {"cmd": "true", "outs": ["eval/report"]}},
}

pytestmark = pytest.mark.skipif(DVC is None, reason="no dvc on this machine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of which DVC knows the report."""
    root = tmp_path_factory.mktemp("dvc")
    run(root, "git", "init", "-q")
    run(root, str(DVC), "init", "-q")
    shutil.copytree(ROOT / ".dvc" / "plots", root / ".dvc" / "plots")
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    for name, content in build_report(inputs()).items():
        file = root / "eval" / "report" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    run(root, str(DVC), "commit", "-q", "-f")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "made")
    return root


def run(folder: Path, *command: str) -> str:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_metrics_fit_a_terminal(folder: Path) -> None:
    lines = run(folder, str(DVC), "metrics", "show").splitlines()
    assert len(lines) == 1 + len(KEYS)
    assert lines[0].split() == ["Path", "harm_score", "over_refusal", "pope_accuracy", "unsafe_rate"]
    assert "eval/report/metrics/dpo.json       0.12          0.05            0.84             0.03" in lines[2].strip()
    assert max(map(len, lines)) <= 100


def test_a_changed_number_is_one_line_of_the_difference(folder: Path) -> None:
    file = folder / "eval" / "report" / "metrics" / "dpo.json"
    before = file.read_text()
    file.chmod(0o644)
    file.write_text(json.dumps(json.loads(before) | {"unsafe_rate": 0.5}))
    try:
        lines = run(folder, str(DVC), "metrics", "diff").splitlines()
    finally:
        file.write_text(before)
    assert [line.split() for line in lines[1:]] == [
        ["eval/report/metrics/dpo.json", "unsafe_rate", "0.03", "0.5", "0.47"]
    ]


def test_training_curves_are_plotted_with_a_line_per_checkpoint(folder: Path) -> None:
    run(folder, str(DVC), "plots", "show", "--out", "shown")
    page = (folder / "shown" / "index.html").read_text()
    specs = [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});\n", page)]
    by_metric = {spec["encoding"]["y"]["field"]: spec for spec in specs}
    assert set(by_metric) == {"loss", "reward_margin", "reward", "kl_to_the_reference"}
    spec = by_metric["loss"]
    assert spec["encoding"]["color"]["field"] == "checkpoint"
    assert spec["encoding"]["x"]["field"] == "step"
    points = {
        (row["checkpoint"], int(row["step"])): float(row["loss"])
        for row in spec["data"]["values"]
        if row["checkpoint"] == "dpo_300"
    }
    whole = curves().filter(checkpoint="dpo_300", metric="loss")
    assert points == {("dpo_300", step): value for step, value in whole.select("step", "value").iter_rows()}
