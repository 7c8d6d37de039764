"""kill -9 in the middle of asking: what was answered is never asked again, and the end is the same."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spavl_dag.project.hashing import ContentHasher
from tests.conftest import Project

pytestmark = pytest.mark.slow

KILLS = 20
# What `spavl run responses --partition none_warm` does, without waiting for Dagster and MLflow twenty times.
COMMAND = [
    sys.executable,
    "-c",
    "from assets.responses import responses as recipe\n"
    "from spavl_dag.project.layout import Project\n"
    "from spavl_dag.project.making import make\n"
    "make(Project.find(), recipe, 'none_warm')",
]


def answered(project: Project) -> int:
    file = project.root / ".spavl" / "ledger.db"
    if not file.exists():
        return 0
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30) as ledger:
        return int(ledger.execute("SELECT count(*) FROM calls").fetchone()[0])


def forget_responses(project: Project) -> Project:
    """Start over: no responses, no ledger; small batches, so that there is much to interrupt."""
    for file in (project.root / ".spavl").glob("ledger.db*"):
        file.unlink()
    project.run("rm", "-r", "data/responses/none_warm")
    project.change_params(lambda p: p["runtime"].update(batch_size=1))
    return project


def made_md5(project: Project) -> str | None:
    return ContentHasher(project.root).md5(project.root / "data" / "responses" / "none_warm")


def test_killed_twenty_times_it_ends_the_same(made_once: Path, tmp_path: Path):
    calm = forget_responses(Project(made_once).copy_to(tmp_path / "calm"))
    calm.run(*COMMAND)
    wanted = answered(calm)
    project = forget_responses(Project(made_once).copy_to(tmp_path / "killed"))
    rng = random.Random(20)
    kills = 0
    finished_early = 0
    while kills < KILLS:
        before = answered(project)
        process = subprocess.Popen(
            COMMAND,
            cwd=project.root,
            env=project.environment(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Some die while they start, the others in the middle of a batch or of its writing.
        if rng.random() < 0.2:
            time.sleep(rng.uniform(0, 2))
        else:
            while process.poll() is None and answered(project) == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.05))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            finished_early += 1
            assert finished_early < 3, "too little to interrupt"
            assert made_md5(project) == made_md5(calm)
            project.run("rm", "-r", "data/responses/none_warm")
        assert answered(project) >= before
    project.run(*COMMAND)
    assert made_md5(project) == made_md5(calm)
    assert answered(project) == wanted
    with sqlite3.connect(project.root / ".spavl" / "ledger.db") as ledger:
        assert ledger.execute("SELECT count(DISTINCT key) FROM calls").fetchone()[0] == wanted
        assert ledger.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
