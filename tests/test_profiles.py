"""Profiles of real models: each is fine offline, and its calls can be counted before a model is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from spavl_dag.errors import ParamsError
from spavl_dag.params.sections import Params
from spavl_dag.profiles import list_profiles, with_profile
from spavl_dag.yamls import load_yaml
from tests.conftest import CHECKOUT, SHARED_DATA, Project


def content() -> dict:
    return load_yaml((CHECKOUT / "params.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", list_profiles())
def test_a_profile_is_whole(name: str) -> None:
    params = Params.model_validate(with_profile(content(), name))
    assert len(params.models) == 12
    assert {entry.engine for _, entry in params.entries()} == {"small", "strong"}
    assert not [path for path, file in params.prompts() if file.startswith("prompts/pictograms/")]
    assert params.experiments[params.evaluation.baseline].method == "none"
    assert params.seed == content()["seed"], "what no profile speaks of stays"
    ppo = next(entry for entry in params.experiments.values() if entry.method == "ppo")
    assert (ppo.hyperparameters.kl_coefficient, ppo.hyperparameters.clip) == (0.1, 0.2), "the paper's"


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ParamsError, match="no profile 'gpu_1x81'"):
        with_profile(content(), "gpu_1x81")


def test_a_profile_is_written_checked_and_planned_offline(fresh_project: Project) -> None:
    project = fresh_project
    project.env["HF_HUB_OFFLINE"] = "1"
    before = (project.root / "params.yaml").read_text()
    assert "gpu_8x80" in project.spavl("params", "profile").stdout
    project.spavl("params", "profile", "gpu_1x24")
    assert (project.root / "params.before-profile.yaml").read_text() == before
    again = project.spavl("params", "profile", "gpu_1x80", check=False)
    assert "params.before-profile.yaml is there already" in again.stderr
    pictures = sorted((SHARED_DATA / "figstep_tiny").glob("*.png"))[:8]
    for number, picture in enumerate(pictures):
        folder = project.root / "inputs/images" / ("weapon", "hate")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / Path(picture).name)
    project.spavl("graph", "write")
    assert "params.yaml is fine" in project.spavl("params", "check").stdout
    planned = json.loads(project.spavl("plan", "--json", "--to", "safety_labels").stdout)
    missing = {line["artifact"]: line["missing"] for line in planned["calls"]}
    assert missing["captions"] == 8
    assert missing["responses"] == 12 * 3 * 8
