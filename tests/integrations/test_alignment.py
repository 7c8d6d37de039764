"""From the dataset to the report, through the doors a user takes, on a real (small) project."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import EXPERIMENTS, SHARED_DATA, Project
from tests.integrations.test_agreement import dagster_stale, dvc_stale, spavl_stale

pytestmark = pytest.mark.slow

FIGSTEP = SHARED_DATA / "figstep_tiny"


def scores(project: Project, key: str) -> pl.DataFrame:
    return pl.read_parquet(project.root / "eval" / "eval_scores" / key / "eval_scores.parquet")


def flat_metrics(project: Project) -> dict[str, float]:
    """What `dvc metrics show` prints, by checkpoint and name."""
    files: dict[str, dict[str, Any]] = json.loads(project.dvc("metrics", "show", "--json").stdout)[""]["data"]
    return {f"{Path(path).stem}.{name}": value for path, file in files.items() for name, value in file["data"].items()}


def test_a_changed_beta_concerns_one_experiment(made_project: Project):
    before, old = made_project.md5s(), flat_metrics(made_project)
    made_project.run("git", "add", "-f", "dvc.lock")
    made_project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "made")
    made_project.change_params(lambda p: p["experiments"]["dpo"]["hyperparameters"].update(beta=0.3))
    behind = {"report"}  # it names what every experiment chose
    expected = {"checkpoints@dpo"} | behind
    assert dvc_stale(made_project) == dagster_stale(made_project) == spavl_stale(made_project) == expected
    told = made_project.spavl("demo").stderr
    made = {line.split()[1] for line in told.splitlines() if line.startswith("made ")}
    assert made <= {"checkpoints@dpo", "eval_responses@dpo", "eval_scores@dpo", "report"}
    assert {"checkpoints@dpo", "eval_responses@dpo", "eval_scores@dpo"} <= made
    after = made_project.md5s()
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {"models/checkpoints/dpo", "eval/eval_responses/dpo", "eval/eval_scores/dpo", "eval/report"}
    assert dvc_stale(made_project) == dagster_stale(made_project) == set()
    new = flat_metrics(made_project)
    diff = json.loads(made_project.dvc("metrics", "diff", "--json").stdout)
    told = {
        f"{Path(path).stem}.{name}": (change["old"], change["new"])
        for path, changes in diff.items()
        for name, change in changes.items()
    }
    assert told == {name: (old.get(name), new[name]) for name in new if new[name] != old.get(name)}
    assert all(name.startswith("dpo.") for name in told)
    made_project.dvc("plots", "diff", "--out", "plots")
    assert (made_project.root / "plots" / "index.html").is_file()


def test_what_does_not_matter_to_a_training_does_not_repeat_it(made_project: Project):
    """Another label makes the stage stale; the weights are those that were trained before."""
    before = made_project.md5s()
    work = sorted((made_project.root / ".spavl" / "training").glob("dpo-*"))
    made_project.change_params(lambda p: p["experiments"]["dpo"].update(label="another name"))
    assert "checkpoints@dpo" in dvc_stale(made_project)
    made_project.spavl("run", "checkpoints", "--partition", "dpo")
    assert sorted((made_project.root / ".spavl" / "training").glob("dpo-*")) == work
    assert made_project.md5s()["models/checkpoints/dpo"] == before["models/checkpoints/dpo"]


def test_every_checkpoint_is_one_mlflow_run_with_its_curves_and_scores(made_once: Path):
    with sqlite3.connect(made_once / "mlflow.db") as store:
        runs = store.execute(
            "SELECT r.run_uuid, t.value FROM runs r JOIN tags t USING (run_uuid) "
            "JOIN experiments e USING (experiment_id) WHERE e.name = 'alignment' AND t.key = 'spavl.checkpoint'"
        ).fetchall()
        assert sorted(key for _, key in runs) == sorted(EXPERIMENTS)
        for run, key in runs:
            metrics = dict(store.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", (run,)))
            tags = dict(store.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run,)))
            assert metrics["harm_eval/unsafe_rate/judge:base_model"] == pytest.approx(
                scores(Project(made_once), key).row(0, named=True)["value"]
            )
            assert tags["gate"] in ("baseline", "passed", "failed")
            assert tags["dvc.md5"] == Project(made_once).md5s()[f"models/checkpoints/{key}"]
        (dpo,) = (run for run, key in runs if key == "dpo")
        steps = store.execute("SELECT count(*) FROM metrics WHERE run_uuid = ? AND key = 'loss'", (dpo,)).fetchone()[0]
        curve = pl.read_parquet(made_once / "models" / "checkpoints" / "dpo" / "curve.parquet")
        assert steps == curve.filter(pl.col("metric") == "loss").height > 0


def test_dvc_shows_the_numbers_of_the_report(made_project: Project):
    shown = flat_metrics(made_project)
    full = {
        "unsafe_rate": "harm_eval/unsafe_rate/judge:base_model",
        "harm_score": "harm_eval/harm_score/pairwise:base_model",
        "pope_accuracy": "pope/accuracy",
        "over_refusal": "xstest/over_refusal/refusal_keywords",
    }
    for key in EXPERIMENTS:
        scored = dict(scores(made_project, key).select("name", "value").iter_rows())
        expected = {short: round(scored[name], 4) for short, name in full.items() if scored[name] is not None}
        assert {name: shown[f"{key}.{name}"] for name in expected} == expected
    made_project.dvc("plots", "show", "--out", "plots")
    assert "loss" in (made_project.root / "plots" / "index.html").read_text()


def test_the_report_stands_on_the_scores(made_once: Path):
    page = (made_once / "eval" / "report" / "report.html").read_text()
    for key in EXPERIMENTS:
        assert Project(made_once).md5s()[f"models/checkpoints/{key}"] in page
    questions = pl.read_parquet(made_once / "data" / "benchmarks" / "benchmarks.parquet")
    harmful = questions.filter(pl.col("benchmark") == "harm_eval")["question"]
    assert not any(question in page for question in harmful), "texts are redacted by default"


@pytest.mark.skipif(not FIGSTEP.is_dir(), reason="shared/data/figstep_tiny is not beside the checkout")
def test_figstep_tiny_evaluates_end_to_end(made_project: Project):
    folder = made_project.root / "inputs" / "benchmarks" / "figstep"
    shutil.copytree(FIGSTEP, folder)

    def change(params: dict[str, Any]) -> None:
        figstep = {"source": "folder", "folder": "figstep", "prompt": None, "max_new_tokens": 40, "limit": None}
        params["evaluation"]["benchmarks"] = {
            **{k: params["evaluation"]["benchmarks"][k] for k in ("harm_eval", "pope", "captions", "xstest")},
            "figstep": figstep,
        }

    made_project.change_params(change)
    told = made_project.spavl("demo", check=False).stderr
    assert "inputs/benchmarks/figstep" in told
    assert "Run `spavl graph write`" in told
    made_project.spavl("graph", "write")
    made_project.spavl("demo", "--to", "eval_scores")
    found = scores(made_project, "dpo").filter(pl.col("benchmark") == "figstep")
    judged = found.filter(pl.col("rule") == "judge").row(0, named=True)
    assert judged["n"] + judged["failed"] == 50
    assert judged["ci_low"] <= judged["value"] <= judged["ci_high"]
    assert judged["n_paired"] > 0
