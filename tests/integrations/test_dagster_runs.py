"""Runs whose process is gone, in an instance of their own: who is ended, and whose claims are given back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets import ASSETS
from spavl_dag.integrations.dagster.definitions import build_definitions
from spavl_dag.integrations.dagster.runs import LOCKS, Claims, clear_dead_runs, hold
from spavl_dag.pipeline.layout import Project
from tests.conftest import CHECKOUT

# Another process that holds the lock of a run until it is killed.
HOLDER = """
import sys, dagster as dg
from spavl_dag.integrations.dagster.runs import hold
with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    for run_id in sys.argv[2:]:
        hold(instance, run_id, ["captions"])
    print("held", flush=True)
    sys.stdin.read()
"""
POOL = "models"


@dg.asset(pool=POOL)
def captions() -> int:
    return 1


@dg.asset(pool=POOL)
def failing() -> int:
    raise RuntimeError("no model")


DEFINITIONS = dg.Definitions([captions, failing])


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("dagster")
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 1)
    return home


@pytest.fixture
def instance(tmp_path: Path, empty_home: Path) -> Iterator[dg.DagsterInstance]:
    shutil.copytree(empty_home, tmp_path, dirs_exist_ok=True)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def job(name: str) -> dg.JobDefinition:
    return DEFINITIONS.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(name)})


def new_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    return instance.create_run_for_job(job("captions"), status=status).run_id


def claim(instance: dg.DagsterInstance, run_id: str) -> bool:
    return instance.event_log_storage.claim_concurrency_slot(POOL, run_id, "captions").is_claimed


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def claims(instance: dg.DagsterInstance) -> set[str]:
    """Runs that hold or wait for the pool."""
    info = instance.event_log_storage.get_concurrency_info(POOL)
    return {slot.run_id for slot in info.claimed_slots} | {step.run_id for step in info.pending_steps}


def lock_files(instance: dg.DagsterInstance) -> set[str]:
    return {file.name for file in (Path(instance.root_directory) / LOCKS).iterdir()}


def holder(instance: dg.DagsterInstance, *run_ids: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, instance.root_directory, *run_ids],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_who_lives_is_left_alone_and_who_was_killed_is_ended(instance: dg.DagsterInstance):
    Status = dg.DagsterRunStatus
    running = new_run(instance, Status.STARTED)
    canceling = new_run(instance, Status.CANCELING)
    starting = new_run(instance, Status.STARTING)
    claimed_before_it_began = "11111111-2222-3333-4444-555555555555"
    process = holder(instance, running, canceling, claimed_before_it_began)
    assert claim(instance, running)
    assert not claim(instance, claimed_before_it_began)

    assert clear_dead_runs(instance) == []
    assert status(instance, running) == Status.STARTED
    assert claims(instance) == {running, claimed_before_it_began}

    kill(process)
    assert set(clear_dead_runs(instance)) == {f"{run_id[:8]} (captions)" for run_id in (running, canceling)}
    assert status(instance, running) == Status.FAILURE
    assert status(instance, canceling) == Status.CANCELED
    assert claims(instance) == set()
    assert lock_files(instance) == set()
    failures = instance.all_logs(running, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert "The process of this run is gone" in str(failures[0].dagster_event and failures[0].dagster_event.message)
    # It may just be about to take its lock.
    assert status(instance, starting) == Status.STARTING
    assert clear_dead_runs(instance) == []


def test_a_run_that_never_took_a_lock_is_ended_after_a_while(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    run_id = new_run(instance, dg.DagsterRunStatus.STARTED)
    assert claim(instance, run_id)
    assert clear_dead_runs(instance) == []
    monkeypatch.setattr("spavl_dag.integrations.dagster.runs._SECONDS_WITHOUT_LOCK", -1.0)
    assert clear_dead_runs(instance) == [f"{run_id[:8]} (unknown)"]
    assert claims(instance) == set()


def test_dagsters_daemon_ends_dead_runs_too(instance: dg.DagsterInstance):
    # They count as running for its queue, which starts nothing when there are two.
    dead = [new_run(instance, dg.DagsterRunStatus.STARTED) for _ in range(2)]
    kill(holder(instance, *dead))
    (sensor,) = build_definitions(Project(CHECKOUT), ASSETS).sensors or []
    assert isinstance(sensor, dg.SensorDefinition)
    sensor.evaluate_tick(dg.build_sensor_context(instance))
    assert {status(instance, run_id) for run_id in dead} == {dg.DagsterRunStatus.FAILURE}


@pytest.mark.parametrize("how", ["finished", "deleted"])
def test_claims_of_runs_that_are_over_are_given_back(instance: dg.DagsterInstance, how: str):
    run_id = new_run(instance, dg.DagsterRunStatus.STARTED)
    assert claim(instance, run_id)
    if how == "deleted":
        instance.run_storage.delete_run(run_id)
    else:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_failed(run)
    assert claims(instance) == {run_id}
    assert clear_dead_runs(instance) == []
    assert claims(instance) == set()


def test_a_killed_process_in_the_queue_holds_nobody_up(instance: dg.DagsterInstance):
    first, second = (new_run(instance, dg.DagsterRunStatus.STARTED) for _ in range(2))
    process = holder(instance, second)
    hold(instance, first, ["captions"])
    assert claim(instance, first)
    assert not claim(instance, second)
    kill(process)
    told: list[str] = []
    third = dg.DagsterRun("job", run_id="third")
    hold(instance, "third", ["captions"])
    with Claims(instance, third, told.append) as waiting:
        assert not waiting.claim(POOL, "captions")
        assert told[0].startswith(f"waiting for run {first[:8]}, which makes captions since ")
        assert f"in process {os.getpid()}" in told[0]
        assert not waiting.claim(POOL, "captions")
        assert len(told) == 1
        instance.event_log_storage.free_concurrency_slots_for_run(first)
        assert waiting.claim(POOL, "captions")
    assert claims(instance) == {"third"}


def test_a_claim_that_was_given_back_but_not_passed_on_is_found(instance: dg.DagsterInstance):
    run_id = new_run(instance, dg.DagsterRunStatus.STARTED)
    hold(instance, run_id, ["captions"])
    assert claim(instance, run_id)
    hold(instance, "next", ["captions"])
    with Claims(instance, dg.DagsterRun("job", run_id="next"), lambda _line: None) as waiting:
        assert not waiting.claim(POOL, "captions")
        with sqlite3.connect(Path(instance.root_directory) / "history" / "runs" / "index.db") as database:
            database.execute("UPDATE concurrency_slots SET run_id = NULL, step_key = NULL")
            database.execute("DELETE FROM pending_steps WHERE run_id = ?", (run_id,))
        waiting._cleared = 0.0
        assert not waiting.claim(POOL, "captions")
        assert waiting.claim(POOL, "captions")


def test_whoever_gives_up_waiting_leaves_no_claim_behind(instance: dg.DagsterInstance):
    run_id = new_run(instance, dg.DagsterRunStatus.STARTED)
    hold(instance, run_id, ["captions"])
    assert claim(instance, run_id)
    other = new_run(instance, dg.DagsterRunStatus.STARTED)
    told: list[str] = []
    with Claims(instance, dg.DagsterRun("captions", run_id=other), told.append) as waiting:
        assert not waiting.claim("models", "captions")
    assert "waiting for run" in told[0]
    assert claims(instance) == {run_id}
