"""Work started in Dagster's pages as its users start it, and commands killed while a model is asked.

GraphQL is sent to `spavl ui` as the pages send it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODELS, Project
from tests.integrations.test_ui import ask, free_port, wait_for

pytestmark = pytest.mark.slow

SPAVL = (sys.executable, "-m", "spavl_dag")
# dvc would take the captions from its cache of runs without --force.
REPRO = ("dvc", "repro", "--force", "--single-item", "captions")
LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status error { message } runs { status } } } }"""
NODES = "{ assetNodes { assetKey { path } isMaterializable staleStatus partitionStats { numFailed numMaterialized } } }"
REPOSITORY = {"repositoryLocationName": "spavl", "repositoryName": "__repository__"}


@contextmanager
def servers(project: Project) -> Iterator[tuple[subprocess.Popen[Any], str]]:
    """`spavl ui` with its code loaded, and the address of Dagster's GraphQL."""
    port = free_port()
    command = [*SPAVL, "ui", "--dagster-port", str(port), "--mlflow-port", str(free_port())]
    process = subprocess.Popen(command, cwd=project.root, env=project.environment(), start_new_session=True)
    url = f"http://127.0.0.1:{port}/graphql"
    try:
        wait_for(f"http://127.0.0.1:{port}/server_info", process)
        end = time.monotonic() + 120
        while not ask(url, NODES)["assetNodes"]:
            assert time.monotonic() < end, "the code was not loaded"
            time.sleep(1)
        yield process, url
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=90)


def backfill(url: str, params: dict[str, Any]) -> list[str]:
    """Launch a backfill and wait for its end; gives the statuses of its runs."""
    launched = ask(url, BACKFILL, {"params": params})["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    end = time.monotonic() + 500
    while True:
        found = ask(url, STATUS, {"id": launched["backfillId"]})["partitionBackfillOrError"]
        if found["status"] not in ("REQUESTED", "CANCELING"):
            assert found["status"] == "COMPLETED_SUCCESS", found
            return [run["status"] for run in found["runs"]]
        assert time.monotonic() < end, found
        time.sleep(1)


def of_job(name: str, keys: Sequence[str]) -> dict[str, Any]:
    """What the page of a job sends for "Materialize all" and "Launch backfill"."""
    selector = {"partitionSetName": f"{name}_partition_set", "repositorySelector": REPOSITORY}
    return {"selector": selector, "partitionNames": list(keys)}


@pytest.mark.timeout(900)
def test_jobs_and_materialize_all(made_project: Project):
    trained = sorted(path.name for path in (made_project.root / ".spavl" / "training").iterdir())
    before = calls(made_project)
    made_project.change_params(lambda p: p["roles"]["captioner"]["decoding"].update(max_new_tokens=23))
    with servers(made_project) as (_, url):
        assert backfill(url, of_job("build_dataset", MODELS)) == ["SUCCESS"] * len(MODELS)
        nodes = [node for node in ask(url, NODES)["assetNodes"] if node["isMaterializable"]]
        assert len(nodes) == 18
        everything = [node["assetKey"] for node in nodes]
        assert set(backfill(url, {"assetSelection": everything, "allPartitions": True})) == {"SUCCESS"}
        for node in ask(url, NODES)["assetNodes"]:
            if node["isMaterializable"]:
                stats = node["partitionStats"]
                assert stats["numFailed"] == 0 if stats else node["staleStatus"] == "FRESH", node
    assert "up to date" in made_project.dvc("status").stdout
    # What was fresh cost nothing: only the captions were asked for anew, and nothing was trained.
    after = calls(made_project)
    assert len(after) - len(before) <= 60
    assert len(set(after)) == len(after)
    assert sorted(path.name for path in (made_project.root / ".spavl" / "training").iterdir()) == trained


@pytest.fixture
def asking(made_project: Project) -> Project:
    """A project in which captions are to be made anew, one call after the other."""
    made_project.change_params(lambda params: params["runtime"].update(batch_size=1, threads=1))
    made_project.run("rm", "-r", "data/captions")
    for file in (made_project.root / ".spavl").glob("ledger.db*"):
        file.unlink()
    return made_project


def start(project: Project, *command: str) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, so that all of it can be killed."""
    return subprocess.Popen(
        command,
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(query).fetchall()


def claims(project: Project) -> list[tuple[Any, ...]]:
    """Who holds the pool of models or waits for it."""
    file = project.root / ".dagster" / "history" / "runs" / "index.db"
    held = "SELECT run_id FROM concurrency_slots WHERE run_id IS NOT NULL"
    return rows(file, held) + rows(file, "SELECT run_id FROM pending_steps")


def calls(project: Project) -> list[bytes]:
    return [key for (key,) in rows(project.root / ".spavl" / "ledger.db", "SELECT key FROM calls")]


def wait_for_a_call(project: Project, known: int) -> None:
    """Wait until a model has answered anew."""
    end = time.monotonic() + 180
    while len(calls(project)) <= known:
        assert time.monotonic() < end, "no call was made: something is still held"
        time.sleep(0.02)


def kill_while_it_asks(project: Project, *command: str) -> None:
    """Kill a command and all its processes between two calls."""
    process = start(project, *command)
    wait_for_a_call(project, len(calls(project)))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def launch(url: str, asset: str) -> str:
    """Start a run as the asset's page does."""
    selector = {**REPOSITORY, "pipelineName": "__ASSET_JOB", "assetSelection": [{"path": [asset]}]}
    params = {"mode": "default", "selector": selector, "runConfigData": {}}
    started = ask(url, LAUNCH, {"params": params})["launchPipelineExecution"]
    assert started["__typename"] == "LaunchRunSuccess", started
    return str(started["run"]["runId"])


def test_each_command_goes_on_where_another_was_killed(asking: Project):
    kill_while_it_asks(asking, *SPAVL, "run", "captions")
    kill_while_it_asks(asking, *SPAVL, "demo", "--to", "captions")
    kill_while_it_asks(asking, *REPRO)
    with servers(asking) as (process, url):
        known = len(calls(asking))
        launched = launch(url, "captions")
        wait_for_a_call(asking, known)
        # All of `spavl ui` at once: servers, daemon, and the process of the run.
        os.killpg(process.pid, signal.SIGKILL)
    assert {run for (run,) in claims(asking)} == {launched}, "Dagster alone would wait for it for ever"

    asking.run(*REPRO)
    assert len(set(calls(asking))) == len(calls(asking)), "a call was made twice"
    assert "up to date" in asking.dvc("status", "captions").stdout
    told = asking.spavl("sync").stderr
    assert f"run {launched[:8]} (captions) was killed" in told
    assert claims(asking) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_asks_a_model_ends_in_one_line(asking: Project, number: signal.Signals, code: int):
    process = start(asking, *SPAVL, "run", "captions")
    wait_for_a_call(asking, 0)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert told.splitlines()[-1] == "interrupted; finished calls are in the ledger and are not made again"
    assert "Traceback" not in told
