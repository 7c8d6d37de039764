"""`spavl experiments`: what is there, and adding it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from spavl_dag.cli.experiments import add_experiments, print_experiments
from spavl_dag.errors import ParamsError
from spavl_dag.pipeline.layout import Project

PARAMS = "experiments:\n  base:\n    method: none\n    model: base_model\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "params.yaml").write_text(PARAMS)
    return Project(tmp_path)


def test_added_experiments_are_listed_as_there(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    add_experiments(project, ["tiny_dpo_25", "paper_ppo"])
    assert capsys.readouterr().out == "added to params.yaml: tiny_dpo_25, paper_ppo\n"
    print_experiments(project, as_json=True)
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {name for name, entry in listed.items() if entry["in_params"]} == {"tiny_dpo_25", "paper_ppo"}
    there = yaml.safe_load(project.params_file.read_text())["experiments"]
    assert list(there) == ["base", "tiny_dpo_25", "paper_ppo"]
    assert there["paper_ppo"] == listed["paper_ppo"]["entry"]
    print_experiments(project, as_json=False)
    table = capsys.readouterr().out
    assert all(name in table for name in listed)


def test_params_that_are_no_yaml_are_named(project: Project) -> None:
    project.params_file.write_text("a: [")
    with pytest.raises(ParamsError, match=r"params\.yaml can't be read"):
        print_experiments(project, as_json=True)
