"""The command line: exit codes, JSON, errors without a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import CHECKOUT, Project


def test_params_check(fresh_project: Project):
    assert "params.yaml is fine (models: 3, classes: 4" in fresh_project.spavl("params", "check").stdout
    facts = json.loads(fresh_project.spavl("params", "check", "--json").stdout)
    told = {"models": 3, "classes": 4, "images": "pictograms", "base_model": "pictograms"}
    assert facts == told | {"experiments": 3, "benchmarks": 9}
    fresh_project.change_params(lambda p: p["questions"].update(max_char=3))
    done = fresh_project.spavl("params", "check", check=False)
    assert done.returncode == 1
    assert "questions.max_char: unknown key; did you mean 'max_chars'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_doctor_is_content_or_says_what_to_mend(fresh_project: Project):
    findings = {f["what"]: f for f in json.loads(fresh_project.spavl("doctor", "--json").stdout)}
    assert all(finding["fix"] is None for finding in findings.values())
    assert {"python", "torch", "dagster", "dvc", "antlr of Dagster", "MLflow", "device", "ledger"} <= findings.keys()
    fresh_project.change_params(lambda p: p.pop("seed"))
    (fresh_project.root / ".spavl").mkdir(exist_ok=True)
    (fresh_project.root / ".spavl" / "ledger.db").write_bytes(b"no database at all" * 100)
    done = fresh_project.spavl("doctor", "--json", check=False)
    assert done.returncode == 1
    broken = {f["what"] for f in json.loads(done.stdout) if f["fix"]}
    assert broken == {"params.yaml", "ledger"}


def test_nothing_made_yet(fresh_project: Project):
    states = json.loads(fresh_project.spavl("status", "--json").stdout)["artifacts"]
    assert {state["state"] for state in states} == {"missing"}
    assert len(states) == 13 + 2 * 3 + 3 * 3
    done = fresh_project.spavl("run", "captions", check=False)
    assert done.returncode == 1
    assert "needs what is not there: " in done.stderr
    assert "models/base_model" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nonsense"], "there is no artifact 'nonsense'"),
        (["run", "responses"], "has one part per key of models"),
        (["run", "responses", "-p", "nobody"], "has no partition 'nobody'"),
        (["run", "captions", "-p", "none_warm"], "has no partitions"),
        (["demo", "--to", "nonsense"], "there is no artifact 'nonsense'"),
        (["trace", "x"], "nothing has the id 'x'"),
    ],
)
def test_wrong_names_are_told_with_the_right_ones(fresh_project: Project, arguments: list[str], told: str):
    done = fresh_project.spavl(*arguments, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_project(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "spavl_dag", "status"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is in no spavl-dag project" in done.stderr


def looks(project: Project) -> dict[str, str]:
    """What the commands that only look print of a made project."""
    image = pl.read_parquet(project.root / "data" / "images" / "images.parquet", glob=False)["image_id"][0]
    shown = {}
    for command in (["status"], ["trace", image], ["trace", image, "--json"]):
        done = project.spavl(*command)
        assert done.stderr == ""
        shown[" ".join(command)] = done.stdout
    return shown


@pytest.mark.slow
def test_status_and_trace_need_no_more_than_an_ascii_terminal(made_project: Project):
    made_project.env |= {"PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    made_project.change_params(lambda params: params["roles"]["judge"].update(label="\u2713 \u2588"))
    shown = looks(made_project)
    assert all(text.isascii() for text in shown.values())
    lines = shown["status"].splitlines()
    assert "safety_labels@medium_warm  stale" in lines
    assert "    changed: params roles.judge.label" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.slow
def test_status_and_trace_work_at_any_path(made_once: Path, tmp_path: Path):
    plain = looks(Project(made_once))
    for name in ("runs[1] a%20b", "{w}?at* [red]"):
        assert looks(Project(made_once).copy_to(tmp_path / name)) == plain
    link = tmp_path / "link"
    link.symlink_to(name, target_is_directory=True)
    assert looks(Project(link)) == plain


@pytest.mark.slow
def test_status_and_trace_of_a_project_that_may_only_be_read(made_project: Project):
    plain = looks(made_project)
    (made_project.root / ".spavl" / "hashes.json").unlink()
    mounts = [["mount", "--bind"], ["mount", "-o", "remount,bind,ro"]]
    root = str(made_project.root)
    if shutil.which("mount") is None or subprocess.run([*mounts[0], root, root], capture_output=True).returncode:
        pytest.skip("needs the right to mount a folder")
    try:
        subprocess.run([*mounts[1], root, root], check=True)
        assert not os.access(root, os.W_OK)
        assert looks(made_project) == plain
    finally:
        subprocess.run(["umount", root], check=True)


@pytest.mark.slow
def test_status_makes_no_ledger(made_project: Project):
    (made_project.root / ".spavl" / "ledger.db").unlink()
    assert "ledger: 0 calls" in made_project.spavl("status").stdout
    assert not (made_project.root / ".spavl" / "ledger.db").exists()


def test_the_pool_of_models_can_be_widened(fresh_project: Project):
    fresh_project.spavl("sync")  # makes the Dagster home
    fresh_project.env["DAGSTER_HOME"] = str(fresh_project.root / ".dagster")
    fresh_project.run(str(Path(sys.executable).parent / "dagster"), "instance", "concurrency", "set", "models", "2")
