"""kill -9 in the middle of asking: what was answered is never asked again, and the end is the same."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sqlite3
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from spavl_dag.pipeline.hashing import ContentHasher
from tests.conftest import CHECKOUT, Project

pytestmark = pytest.mark.slow

KILLS = 20
# Processes are forked from a server that has imported what takes seconds to import, each a process of its own to kill.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["spavl_dag.inference.engines.transformers_engine", "pandera.polars", "assets.responses"])


def make_responses(root: str) -> None:
    """What `spavl run responses --partition none_warm` does, without Dagster and MLflow."""
    os.chdir(root)
    from spavl_dag.pipeline.layout import Project as Layout
    from spavl_dag.pipeline.load import load_graph
    from spavl_dag.pipeline.make import make

    graph = load_graph(Layout.find())
    make(graph, graph.get("responses", "none_warm"))


def start(project: Project) -> BaseProcess:
    process = SERVER.Process(target=make_responses, args=(str(project.root),))
    process.start()
    return process


def run(project: Project) -> None:
    process = start(project)
    process.join()
    assert process.exitcode == 0


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
    project.change_params(lambda p: p["runtime"].update(batch_size=1, threads=1))
    for name in ("assets", "spavl_dag"):  # what the forked processes have imported
        shutil.rmtree(project.root / name) if not (project.root / name).is_symlink() else None
        (project.root / name).exists() or (project.root / name).symlink_to(CHECKOUT / name)
    return project


def made_md5(project: Project) -> str | None:
    return ContentHasher(project.root).md5(project.root / "data" / "responses" / "none_warm")


def test_killed_twenty_times_it_ends_the_same(made_once: Path, tmp_path: Path):
    calm = forget_responses(Project(made_once).copy_to(tmp_path / "calm"))
    run(calm)
    wanted = answered(calm)
    project = forget_responses(Project(made_once).copy_to(tmp_path / "killed"))
    rng = random.Random(20)
    kills = finished = 0
    while kills < KILLS:
        before = answered(project)
        process = start(project)
        # Some die while they start, the others in the middle of a batch or of its writing.
        if rng.random() < 0.2:
            time.sleep(rng.uniform(0, 2))
        else:
            while process.is_alive() and answered(project) == before:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.02))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            assert answered(project) >= before
        else:  # a quick machine answers all of it between few kills; then it starts over
            finished += 1
            assert finished < KILLS, "too little to interrupt"
            check_end(project, calm, wanted)
            forget_responses(project)
    run(project)
    check_end(project, calm, wanted)


def check_end(project: Project, calm: Project, wanted: int) -> None:
    """The artifact of an undisturbed run, of as many calls, none of them made twice."""
    assert made_md5(project) == made_md5(calm)
    with sqlite3.connect(project.root / ".spavl" / "ledger.db") as ledger:
        assert ledger.execute("SELECT count(*), count(DISTINCT key) FROM calls").fetchone() == (wanted, wanted)
        assert ledger.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
