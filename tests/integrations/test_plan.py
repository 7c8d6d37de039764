"""`spavl plan` says before a run what the run then does."""

from __future__ import annotations

import json
from typing import Any

from spavl_dag.inference.ledger import Ledger
from tests.conftest import Project


def plan(project: Project, *arguments: str) -> dict[str, Any]:
    return json.loads(project.spavl("plan", "--json", *arguments).stdout)


def to_make(planned: dict[str, Any]) -> dict[tuple[str, str], tuple[int, bool]]:
    return {
        (line["artifact"], line["role"]): (line["missing"], line["exact"])
        for line in planned["calls"]
        if line["missing"]
    }


def calls(project: Project) -> int:
    with Ledger(project.root / ".spavl" / "ledger.db") as ledger:
        return ledger.count()


def test_a_plan_is_what_the_run_does(made_project: Project) -> None:
    project = made_project
    assert plan(project) == {"calls": [], "train": [], "unknown": {}}
    before, md5s = calls(project), project.md5s()

    def hotter(params: dict) -> None:
        params["models"]["none_warm"]["decoding"]["temperature"] = 0.83
        params["runtime"] = {"batch_size": 8}

    project.change_params(hotter)
    planned = plan(project)
    wanted = to_make(planned)
    asked, exact = wanted["responses", "models.*"]
    assert exact
    assert wanted["safety_labels", "roles.judge"][1] is False, "behind answers that aren't there yet"
    assert {"checkpoints@dpo", "reward_model"} <= set(planned["train"])
    assert planned["unknown"] == {}
    (responses,) = [line for line in planned["calls"] if line["artifact"] == "responses"]
    assert responses["prompt_tokens"] > 10 * asked
    assert responses["usd"] == 0
    assert (calls(project), project.md5s()) == (before, md5s), "nothing was asked or made"

    project.spavl("demo", "--to", "responses")
    assert calls(project) == before + asked
    judged, exact = to_make(plan(project))["safety_labels", "roles.judge"]
    assert exact
    assert judged <= wanted["safety_labels", "roles.judge"][0]
    project.spavl("demo", "--to", "safety_labels")
    assert calls(project) == before + asked + judged

    told = project.spavl("plan", "--to", "preferences").stdout
    assert "calls to make" in told
    assert all(len(line) <= 120 for line in told.splitlines())


def test_a_plan_of_a_project_in_which_nothing_was_made(fresh_project: Project) -> None:
    planned = plan(fresh_project)
    assert planned["unknown"] == {}
    assert "base_model" in planned["train"]
    wanted = {line["artifact"]: line for line in planned["calls"]}
    assert list(wanted) == ["captions", "questions", "responses", "safety_labels", "preferences", *EVALUATION]
    assert wanted["captions"]["missing"] == 4 * 5
    assert wanted["captions"]["hours"] is None, "nothing was measured yet"
    assert wanted["responses"]["missing"] == 3 * 3 * 4 * 5
    assert not (fresh_project.root / "data").exists()
    assert not (fresh_project.root / ".spavl" / "ledger.db").exists()


EVALUATION = ("eval_responses", "judge_check", "eval_scores")
