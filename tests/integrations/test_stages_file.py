"""dvc.yaml: written from the declarations, and understood by DVC as they are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from spavl_dag.errors import SpavlError
from spavl_dag.integrations.dvc.stages_file import compare_stages_file, refuse_outdated, write_stages_file
from spavl_dag.pipeline.graph import Graph
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_graph
from tests.conftest import CHECKOUT
from tests.dvc_python import run_in_dvc

SCRIPT = """
import json, sys
from dvc.repo import Repo
root = json.load(sys.stdin)
found = {}
for stage in Repo(root).index.stages:
    params = sorted(k for dep in stage.params for k in dep.params)
    deps = sorted({dep.def_path for dep in stage.deps if dep not in stage.params})
    found[stage.addressing] = {"cmd": stage.cmd, "deps": deps, "params": params,
        "outs": [out.def_path for out in stage.outs], "persist": all(out.persist for out in stage.outs)}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph(Project(CHECKOUT))


def test_the_committed_file_is_what_the_declarations_want(graph: Graph):
    assert compare_stages_file(graph) == []


def test_dvc_reads_the_stages_as_they_are_meant(graph: Graph):
    read = run_in_dvc(SCRIPT, str(CHECKOUT))
    meant = {
        stage.name: {
            "cmd": stage.cmd,
            "deps": sorted(set(stage.deps)),
            "params": sorted(stage.params),
            "outs": list(stage.outs),
            "persist": True,
        }
        for stage in graph.stages
    }
    assert read == meant


def test_a_file_that_is_behind_says_so_and_is_written_anew(tmp_path: Path, graph: Graph):
    text = (CHECKOUT / "dvc.yaml").read_text()
    for name in ("params.yaml",):
        (tmp_path / name).write_text((CHECKOUT / name).read_text())
    (tmp_path / "dvc.yaml").write_text(text.replace("      - ${roles.judge.prompt}\n", "").replace("seed", "sed", 1))
    behind = Graph(Project(tmp_path), graph.assets.values(), graph.params)
    behind.code = graph.code  # type: ignore[method-assign]
    with pytest.raises(SpavlError, match=r"dvc\.yaml is not what params\.yaml and assets/ want") as told:
        refuse_outdated(behind)
    assert told.value.hint is not None
    assert "spavl graph write" in told.value.hint
    assert write_stages_file(behind)
    assert (tmp_path / "dvc.yaml").read_text() == text
    assert not write_stages_file(behind)
