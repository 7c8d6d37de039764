"""`spavl demo`, `dvc repro` and Dagster: one truth about what is made and what is stale.

These tests make real artifacts with a real (small) model, a real DVC repository, a real Dagster instance and a real
MLflow store. They share one made project per test session.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spavl_dag.inference.ledger import Ledger
from tests.conftest import EXPERIMENTS, MODELS, Project, new_project

pytestmark = pytest.mark.slow

BEHIND_THE_DATASET = {"reward_model", "benchmarks", "report", *(f"checkpoints@{key}" for key in EXPERIMENTS)}
"""Stages that read the dataset or images, and so are stale when only these were made anew."""

DAGSTER_VIEW = """
import json
from assets.definitions import defs
from spavl_dag.integrations.dagster.instance import open_instance
from spavl_dag.integrations.dagster.staleness import StalenessReader
from spavl_dag.integrations.dagster.sync import synchronize
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.layout import Project
graph = load_graph(Project.find())
with open_instance(graph.project) as instance:
    synchronize(graph, defs, instance)  # what the sensor of `dagster dev` does
    reader = StalenessReader(defs, instance)
    print(json.dumps({stage.name: reader.read(stage.artifact, stage.partition).status for stage in graph.stages}))
"""

CHECKS_VIEW = """
import asyncio
import json
from assets.definitions import defs
from dagster._core.loader import LoadingContextForTest
from spavl_dag.integrations.dagster.instance import open_instance
from spavl_dag.pipeline.layout import Project
with open_instance(Project.find()) as instance:
    keys = [key for definition in defs.asset_checks or () for key in definition.check_keys]
    keys += [key for definition in defs.assets or () for key in getattr(definition, "check_keys", ())]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    of_latest = {}
    for key in keys:
        shown = key in latest and latest[key].targets_latest_materialization(LoadingContextForTest(instance))
        of_latest[str(key)] = bool(shown and asyncio.run(shown))
    print(json.dumps(of_latest))
"""


def checks_shown(project: Project) -> dict[str, bool]:
    """By check, whether Dagster's UI shows it as one of what was made last."""
    return json.loads(project.run(sys.executable, "-c", CHECKS_VIEW).stdout.splitlines()[-1])


def dagster_view(project: Project) -> dict[str, str]:
    """What Dagster's UI would call each stage: FRESH, STALE or MISSING."""
    return json.loads(project.run(sys.executable, "-c", DAGSTER_VIEW).stdout.splitlines()[-1])


def dvc_stale(project: Project) -> set[str]:
    """Stages that `dvc status` calls changed."""
    return set(json.loads(project.dvc("status", "--json").stdout))


def dagster_stale(project: Project) -> set[str]:
    return {name for name, status in dagster_view(project).items() if status != "FRESH"}


def spavl_stale(project: Project) -> set[str]:
    states = json.loads(project.spavl("status", "--json").stdout)["artifacts"]
    return {state["stage"] for state in states if state["state"] in ("stale", "missing")}


def calls(project: Project) -> dict[tuple[str, str], int]:
    """Rows of the ledger by artifact and partition."""
    counted: Counter[tuple[str, str]] = Counter()
    with Ledger(project.root / ".spavl" / "ledger.db") as ledger:
        for row in ledger.summary():
            counted[row.artifact, row.partition or ""] += row.calls
    return dict(counted)


def new_calls(before: dict[tuple[str, str], int], after: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


def test_after_the_demo_no_door_finds_anything_to_do(made_project: Project):
    before = calls(made_project)
    assert "up to date" in made_project.dvc("status").stdout
    assert "Running stage" not in made_project.dvc("repro").stdout
    assert set(dagster_view(made_project).values()) == {"FRESH"}
    told = made_project.spavl("demo").stdout
    assert "0 model calls made now" in told
    assert new_calls(before, calls(made_project)) == {}
    shown = json.loads(made_project.spavl("status", "--json").stdout)["calls"]
    assert sum(row["calls"] for row in shown) == sum(before.values()) > 0


@pytest.mark.timeout(900)
def test_dvc_repro_alone_makes_the_same_and_dagster_shows_it(request: pytest.FixtureRequest, tmp_path: Path):
    """Up to one experiment's scores; the other experiments and the report run the same code."""
    project = new_project(tmp_path / "by-dvc")
    project.dvc("repro", "eval_scores@dpo")
    made_once: Path = request.getfixturevalue("made_once")  # only now: another worker makes it meanwhile
    mine, theirs = project.md5s(), Project(made_once).md5s()
    assert {"data/dataset", "models/reward_model", "models/checkpoints/dpo", "eval/eval_scores/dpo"} <= mine.keys()
    assert mine == {path: theirs[path] for path in mine}
    made = {stage for stage, status in dagster_view(project).items() if status == "FRESH"}
    missing = {stage for stage, status in dagster_view(project).items() if status == "MISSING"}
    assert made == project.recorded().keys()
    assert missing == {"checkpoints@ppo", "eval_responses@ppo", "eval_scores@base", "eval_scores@ppo", "report"}
    assert dvc_stale(project) == spavl_stale(project) == missing


def test_a_changed_template_makes_the_same_things_stale_in_both(made_project: Project):
    template = made_project.root / "prompts" / "pictograms" / "easy_question.j2"
    mine = made_project.root / "prompts" / "mine.j2"
    mine.write_text(template.read_text() + " please")

    def change(params: dict[str, Any]) -> None:
        params["roles"]["easy_question"]["prompt"] = "prompts/mine.j2"

    made_project.change_params(change)
    assert dvc_stale(made_project) == dagster_stale(made_project) == spavl_stale(made_project) == {"questions"}
    # What lies behind is told too, as blocked: it is made again if what it reads changes.
    states = json.loads(made_project.spavl("status", "--json").stdout)["artifacts"]
    assert {s["stage"] for s in states if s["state"] == "made"} == {
        "base_model",
        "keywords",
        "images",
        "captions",
        "judge_check",
    }
    assert {s["state"] for s in states if s["stage"] == "dataset"} == {"blocked"}


def test_a_changed_entry_makes_one_model_stale_in_both(made_project: Project):
    made_project.change_params(lambda p: p["models"]["none_warm"]["decoding"].update(temperature=0.7))
    behind = {"safety_groups", "pairs", "dataset"}  # they read `models`: who takes part, and under which name
    expected = {"responses@none_warm"} | behind
    assert dvc_stale(made_project) == dagster_stale(made_project) == spavl_stale(made_project) == expected


def test_a_materialization_in_dagster_is_recorded_in_dvc(made_project: Project):
    made_project.change_params(lambda p: p["roles"]["captioner"]["decoding"].update(max_new_tokens=23))
    assert dvc_stale(made_project) == {"captions"}
    made_project.env["DAGSTER_HOME"] = str(made_project.root / ".dagster")
    dagster = str(Path(sys.executable).parent / "dagster")
    made_project.run(dagster, "asset", "materialize", "--select", "captions", "-m", "assets.definitions")
    assert "captions" not in dvc_stale(made_project)
    assert dvc_stale(made_project) == dagster_stale(made_project) == spavl_stale(made_project)


def test_what_cannot_change_a_result_makes_nothing_stale(made_project: Project):
    made_project.change_params(lambda p: p["runtime"].update(batch_size=7, threads=1, show_text=True))
    assert dvc_stale(made_project) == dagster_stale(made_project) == spavl_stale(made_project) == set()


def test_one_more_model_costs_its_own_rows(made_project: Project):
    before, md5s = calls(made_project), made_project.md5s()

    def add(params: dict[str, Any]) -> None:
        entry = json.loads(json.dumps(params["models"]["none_warm"]))
        entry["decoding"]["temperature"] = 1.0
        params["models"]["one_more"] = entry

    made_project.change_params(add)
    made_project.spavl("demo", "--to", "dataset")
    made = new_calls(before, calls(made_project))
    questions = before["responses", MODELS[0]]
    assert made.pop(("responses", "one_more")) == questions
    assert 0 < made.pop(("safety_labels", "one_more")) <= questions
    assert set(made) <= {("preferences", "")}, "only the new pairs are asked about"
    after = made_project.md5s()
    unchanged = [path for path in md5s if any(path.endswith(f"/{model}") for model in MODELS)]
    assert len(unchanged) == 2 * len(MODELS)
    assert {path: after[path] for path in unchanged} == {path: md5s[path] for path in unchanged}
    assert after["data/safety_groups"] != md5s["data/safety_groups"]
    stale = dvc_stale(made_project)
    assert stale == dagster_stale(made_project)
    assert stale <= BEHIND_THE_DATASET


def test_more_images_cost_their_own_rows(made_project: Project):
    before = calls(made_project)
    made_project.change_params(lambda p: p["images"].update(per_class=6))
    made_project.spavl("demo", "--to", "dataset")
    made = new_calls(before, calls(made_project))
    assert made["captions", ""] == 2 * 4, "a caption and a description for one new image in each of four classes"
    assert made["questions", ""] <= 3 * 4
    for model in MODELS:
        assert made["responses", model] <= 3 * 4
    stale = dvc_stale(made_project)
    assert stale == dagster_stale(made_project)
    assert stale <= BEHIND_THE_DATASET


def test_what_dvc_restores_is_shown_by_dagster(made_project: Project):
    """A fresh clone with the lock and the cache: nothing runs, and Dagster learns of it."""
    import shutil

    for name in ("data", "models", "eval", ".dagster", ".spavl"):
        shutil.rmtree(made_project.root / name)
    made_project.dvc("checkout")
    assert dvc_stale(made_project) == set()
    assert "report" in made_project.spavl("sync").stdout
    shown = checks_shown(made_project)
    assert len(shown) > 20
    assert all(shown.values()), shown
    assert set(dagster_view(made_project).values()) == {"FRESH"}
    assert "nothing; Dagster knew all of it" in made_project.spavl("sync").stdout
    made_project.change_params(lambda p: p["models"]["none_warm"]["decoding"].update(temperature=0.7))
    assert "responses@none_warm" in dagster_stale(made_project)


def test_an_experiment_in_a_temporary_folder_keeps_its_calls(made_project: Project):
    made_project.run("git", "add", "-A")
    made_project.run("git", "add", "-f", "dvc.lock")
    made_project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "made")
    made_project.env["PYTHONPATH"] = ""  # as where the package is installed: the folder's own code runs all the same
    before = calls(made_project)
    option = "roles.describer.decoding.max_new_tokens=39"
    made_project.dvc("exp", "run", "--temp", "-n", "shorter", "-S", option, "-s", "captions")
    assert new_calls(before, calls(made_project)) == {("captions", ""): 20}, "the captions themselves were known"
    made_project.dvc("exp", "apply", "shorter")
    assert "captions" not in dvc_stale(made_project)


def test_params_changed_meanwhile_are_not_recorded(made_project: Project):
    """`dvc commit` blesses what lies on disk at that moment, so it must not be called then."""
    script = """
from spavl_dag.errors import SpavlError
from spavl_dag.integrations.dvc.commit import DvcCommit
from spavl_dag.pipeline.load import load_graph
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.make import make
project = Project.find()
graph = load_graph(project)
finished = make(graph, graph.get("captions"))
text = project.params_file.read_text().replace("seed: 42", "seed: 43")
project.params_file.write_text(text)
try:
    DvcCommit(graph).record(finished)
except SpavlError as error:
    print(error)
"""
    lock = (made_project.root / "dvc.lock").read_bytes()
    told = made_project.run(sys.executable, "-c", script).stdout
    assert "not recorded, because it changed while it was made: captions (params seed)" in told
    assert (made_project.root / "dvc.lock").read_bytes() == lock


def test_two_runs_at_once_make_no_call_twice(made_project: Project):
    import subprocess

    (made_project.root / ".spavl" / "ledger.db").unlink()
    command = [sys.executable, "-m", "spavl_dag", "run", "responses", "--partition", "none_warm"]
    both = [
        subprocess.Popen(
            command, cwd=made_project.root, env=made_project.environment(), stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=300)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 1], [0, 0])
    if codes == [0, 1]:
        assert any("is being made by another process" in text for text in told)
    with sqlite3.connect(made_project.root / ".spavl" / "ledger.db") as ledger:
        total, distinct = ledger.execute("SELECT count(*), count(DISTINCT key) FROM calls").fetchone()
    assert total == distinct > 0


def test_every_made_partition_is_an_mlflow_run_with_its_lineage(made_once: Path):
    with sqlite3.connect(made_once / "mlflow.db") as store:
        names = {name for (name,) in store.execute("SELECT name FROM runs")}
        tags = dict(store.execute("SELECT key, count(*) FROM tags GROUP BY key"))
        (version,) = store.execute(
            "SELECT t.value FROM tags t JOIN runs r USING (run_uuid) WHERE r.name = 'captions' AND t.key = 'dvc.md5'"
        ).fetchone()
    wanted = {f"{artifact}/{model}" for artifact in ("responses", "safety_labels") for model in MODELS}
    assert wanted <= names
    assert {"dvc.md5", "git.commit"} <= tags.keys()
    assert version == Project(made_once).md5s()["data/captions"]


def test_an_mlflow_outage_loses_nothing(made_project: Project):
    made_project.change_params(lambda p: p["runtime"].update(mlflow_uri="http://127.0.0.1:9"))
    made_project.spavl("run", "captions")
    assert len(list((made_project.root / ".spavl" / "mlflow_outbox").glob("*.json"))) == 1
    made_project.change_params(lambda p: p["runtime"].update(mlflow_uri=None))
    made_project.spavl("run", "captions")
    assert not list((made_project.root / ".spavl" / "mlflow_outbox").glob("*.json"))


def test_a_broken_upstream_keeps_the_old_artifact(made_project: Project):
    """Rows that break a rule: exit code, the check named, the failing ids, the old artifact still there."""
    import polars as pl

    questions = made_project.root / "data" / "questions" / "questions.parquet"
    rows = pl.read_parquet(questions)
    rows.write_parquet(questions)
    images = made_project.root / "data" / "images" / "images.parquet"
    table = pl.read_parquet(images)
    pl.concat([table, table.head(1)]).write_parquet(images)
    before = made_project.md5s()["data/captions"]
    done = made_project.spavl("run", "captions", check=False)
    assert done.returncode == 1
    assert "schema_captions" in done.stderr
    assert table["image_id"][0] in done.stderr
    assert "nothing was replaced" in done.stderr
    assert list((made_project.root / ".spavl" / "failures" / "data" / "captions").glob("*.parquet"))
    assert made_project.md5s()["data/captions"] == before
    assert "captions" not in {p for p in dvc_modified_outs(made_project)}


def dvc_modified_outs(project: Project) -> set[str]:
    """Stages whose outs differ from dvc.lock."""
    status = json.loads(project.dvc("status", "--json").stdout)
    return {
        stage
        for stage, changes in status.items()
        for change in changes
        if isinstance(change, dict) and "changed outs" in change
    }


def test_trace_leads_from_a_preference_to_its_calls(made_project: Project):
    import polars as pl

    rows = pl.read_parquet(made_project.root / "data" / "dataset" / "dataset.parquet")
    pair_id = rows.filter(pl.col("chosen").is_not_null())["row_id"][0]
    found = json.loads(made_project.spavl("trace", pair_id, "--json", "--show-text").stdout)
    steps = [one["artifact"] for one in found]
    for artifact in (
        "preferences",
        "pairs",
        "dataset",
        "responses",
        "safety_labels",
        "questions",
        "captions",
        "images",
    ):
        assert artifact in steps
    md5s = set(made_project.md5s().values())
    assert all(one["data_version"] in md5s for one in found)
    verdicts = [one for one in found if one["table"] == "verdicts"]
    assert len(verdicts) == 2
    assert all("verdict" in one["calls"]["call_key"]["text"] for one in verdicts)
    hidden = made_project.spavl("trace", pair_id).stdout
    assert rows.filter(pl.col("row_id") == pair_id)["chosen"][0] not in hidden
    missing = made_project.spavl("trace", "nonsense", check=False)
    assert missing.returncode == 1
    assert "nothing has the id 'nonsense'" in missing.stderr


def test_the_dataset_loads_as_users_load_it(made_once: Path, tmp_path: Path):
    import polars as pl
    from datasets import load_dataset

    folder = made_once / "data" / "dataset"
    rows = pl.read_parquet(folder / "dataset.parquet")
    splits = load_dataset(str(folder), cache_dir=str(tmp_path))
    assert set(splits) == {"train", "validation"}
    assert {"image", "question", "chosen", "rejected", "image_name", "class1", "class2", "class3"} <= set(
        splits["train"].column_names
    )
    assert splits["train"].num_rows == rows.filter(pl.col("split") == "train").height > 0
    assert splits["train"][0]["image"].size[0] > 0
    for config in ("harm", "help"):
        test = load_dataset(str(folder), config, cache_dir=str(tmp_path))["test"]
        assert test.num_rows == 2 * 4
    trainer = json.loads((folder / "trainer" / "train.json").read_text())
    assert set(trainer[0]) == {"id", "image", "question", "chosen", "rejected"}
    assert (made_once / "data" / "images" / "files" / trainer[0]["image"]).is_file()
    per_split = rows.group_by("image_id").agg(pl.col("split").n_unique())
    assert per_split["split"].max() == 1


def test_stage_list_is_the_one_dvc_has(made_once: Path):
    project = Project(made_once)
    listed = set(project.dvc("stage", "list", "--name-only").stdout.split())
    assert listed == project.recorded().keys()
