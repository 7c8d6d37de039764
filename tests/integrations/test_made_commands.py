"""Commands on a made project: its judges measured, its dataset exported."""

from __future__ import annotations

import json

from spavl_dag.inference.verdicts import REFUSAL_RULE
from tests.conftest import Project


def test_judges_are_measured_the_dataset_is_exported_and_a_bad_judge_evaluates_nothing(made_project: Project) -> None:
    project = made_project
    rows = json.loads(project.spavl("judge", "check", "--json").stdout)
    overall = {row["judge"]: row for row in rows if (row["set"], row["category"]) == ("all", "all")}
    assert set(overall) == {"base_model", REFUSAL_RULE}
    assert overall["base_model"]["n"] + overall["base_model"]["failed"] == 200
    report = (project.root / "eval/report/report.html").read_text()
    assert "Judges against people" in report
    assert "Kappa" in project.spavl("judge", "check").stdout.title()

    assert "llama_factory" in project.spavl("export").stdout
    told = project.spavl("export", "out/trl", "--format", "trl").stdout
    assert "rows as trl" in told
    assert list((project.root / "out/trl/data").glob("train-*.parquet"))
    assert "# " in (project.root / "out/trl/README.md").read_text()

    (project.root / "people.csv").write_text("question,response,label\nwhat is it ?,a card .,unsafe\n")

    def strict(params: dict) -> None:
        people = {"source": "csv", "file": "people.csv"}
        params["evaluation"]["judge_check"] = {"sets": {"people": people}, "min_kappa": 0.5}

    project.change_params(strict)
    project.spavl("graph", "write")
    refused = project.spavl("judge", "check", check=False)
    assert refused.returncode == 1
    assert "kappa_enough" in refused.stderr
    assert "base_model" in refused.stderr
