"""A hosted model in a whole project: named in params, asked by the real command, killed, and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import polars as pl

from spavl_dag.inference.ledger import Ledger
from tests.conftest import Project
from tests.fake_server.running import fake_server

PRICES = {"usd_per_million_prompt_tokens": 1000.0, "usd_per_million_completion_tokens": 1000.0}


def calls(project: Project) -> int:
    with Ledger(project.root / ".spavl" / "ledger.db") as ledger:
        return ledger.count()


def test_a_hosted_model_answers_and_a_killed_run_goes_on(made_project: Project) -> None:
    project = made_project
    with fake_server("--latency", "0.3") as served:

        def hosted(params: dict) -> None:
            params["engines"] = {"rehearsal": {"kind": "openai", "endpoint": served.url}}
            runtime = {"kind": "openai", "concurrency": 8, "api_key_env": "REHEARSAL_KEY", **PRICES}
            params["runtime"] = {"engines": {"rehearsal": runtime}}
            named = {"engine": "rehearsal", "model": "scripted", "prompt": "prompts/answer.j2"}
            params["models"]["none_warm"] |= named

        project.change_params(hosted)
        project.spavl("graph", "write")
        refused = project.spavl("params", "check", check=False)
        assert "runtime.engines.rehearsal.api_key_env: the environment has no variable REHEARSAL_KEY" in refused.stderr
        project.env["REHEARSAL_KEY"] = "secret-word"
        before = calls(project)

        command = [sys.executable, "-m", "spavl_dag", "run", "responses", "-p", "none_warm"]
        run = subprocess.Popen(
            command, cwd=project.root, env=project.environment(), start_new_session=True, stderr=subprocess.DEVNULL
        )
        while calls(project) == before:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        kept = calls(project) - before
        project.run(*command)
        wanted = 3 * 4 * 5
        assert calls(project) == before + wanted
        asked = served.stats()["answers"]
        assert wanted <= asked <= wanted + 8, "at most what was under way is asked again"
        assert 0 < kept < wanted

    answers = pl.read_parquet(project.root / "data/responses/none_warm/responses.parquet")
    assert set(answers["response"]) == {"This is a scripted answer of a test server."}
    ledger = (project.root / ".spavl" / "ledger.db").read_bytes()
    assert b"secret-word" not in ledger
    status = project.spavl("status").stdout
    assert "responses" in status
    with Ledger(project.root / ".spavl" / "ledger.db") as opened:
        hosted_rates = [rate for rate in opened.rates() if rate.role == "models.none_warm" and rate.cost_usd]
    assert hosted_rates
