"""Budgets, too many failed calls, and asking them again: from the command line and as Dagster's job."""

from __future__ import annotations

import sys
from dataclasses import replace

import polars as pl

from spavl_dag.inference.ledger import Ledger
from spavl_dag.states import CallState
from tests.conftest import Project

STAGE = ("responses", "--partition", "none_warm")
TABLE = "data/responses/none_warm/responses.parquet"

# As the page starts it: the job, for a partition.
RETRY_IN_DAGSTER = """
import dagster as dg
from assets.definitions import defs

with dg.DagsterInstance.ephemeral() as instance:
    done = defs.get_job_def("retry_failed").execute_in_process(
        partition_key="none_warm", instance=instance, asset_selection=[dg.AssetKey("responses")]
    )
    print([event.materialization.metadata["calls_made"].value for event in done.get_asset_materialization_events()])
"""


def calls(project: Project) -> int:
    with Ledger(project.root / ".spavl" / "ledger.db") as ledger:
        return ledger.count()


def test_a_budget_leaves_the_partition_unmade_and_the_next_run_goes_on(made_project: Project) -> None:
    project, before = made_project, calls(made_project)
    wanted = pl.read_parquet(project.root / TABLE).height

    def change(params: dict) -> None:
        params["models"]["none_warm"]["decoding"]["temperature"] = 0.83
        params["runtime"] = {"budget_calls": 7, "batch_size": 4}

    project.change_params(change)
    done = project.spavl("run", *STAGE, check=False)
    assert done.returncode == 1
    assert "the budget is spent: 7 calls of runtime.budget_calls 7" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert calls(project) == before + 7
    assert "responses@none_warm" in project.dvc("status").stdout

    project.change_params(lambda params: params.update(runtime={}))
    project.spavl("run", *STAGE)
    made = pl.read_parquet(project.root / TABLE)
    assert made.height == wanted
    assert calls(project) == before + made["call_key"].n_unique()


def test_failed_calls_keep_the_old_artifact_until_they_are_asked_again(made_project: Project) -> None:
    project = made_project
    before = project.md5s()
    file = project.root / ".spavl" / "ledger.db"
    keys = [bytes.fromhex(key) for key in pl.read_parquet(project.root / TABLE)["call_key"].unique()]
    with Ledger(file) as ledger:
        rows = [
            replace(row, state=CallState.PERMANENT_ERROR, text="", error="502: no model")
            for row in ledger.fetch(keys).values()
        ]
    for part in ("", "-wal", "-shm"):
        file.with_name(file.name + part).unlink(missing_ok=True)
    with Ledger(file) as ledger:
        ledger.append(rows)

    done = project.spavl("run", *STAGE, check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "calls_succeeded" in said
    assert f"{len(pl.read_parquet(project.root / TABLE))} rows of 'responses' ended in an error (100%" in said
    assert calls(project) == len(rows)
    assert project.md5s() == before
    assert "up to date" in project.dvc("status", "responses@none_warm").stdout

    asked = project.run(sys.executable, "-c", RETRY_IN_DAGSTER)
    assert f"[{len(rows)}]" in asked.stdout, asked.stdout + asked.stderr
    assert project.md5s() == before, "the same answers as ever"

    project.spavl("run", *STAGE, "--retry", "failed")
    assert calls(project) == 2 * len(rows), "nothing was left to ask again"
    assert project.md5s() == before
