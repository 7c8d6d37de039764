"""An artifact is stale if and only if what its function is handed may differ: tried with every value of params.yaml.

What is handed in is looked at here, value by value, with upstream artifacts replaced by which part of them is read.
What is stale is what the stages' params and deps say to DVC, and the versions of its sources to Dagster.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from pydantic import BaseModel

from assets import ASSETS
from spavl_dag.errors import SpavlError
from spavl_dag.inference.client import ModelClient
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.templates import compile_template
from spavl_dag.params.load import parse_params
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph, Stage, lookup
from spavl_dag.pipeline.kept import KeptTrainings
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Store
from spavl_dag.pipeline.trainer import Trainer
from spavl_dag.pipeline.weights import ResolvedModel, Weights
from spavl_dag.taxonomy import load_taxonomy
from tests.conftest import CHECKOUT

RAW: dict[str, Any] = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
TAXONOMY = load_taxonomy(CHECKOUT / RAW["taxonomy"]["file"])  # once: it is the slowest part

WIDER = {
    "a whole benchmark's entry counts, also what only asking or only scoring reads": (
        r"evaluation\.benchmarks\..*",
        {"benchmarks", "eval_responses", "eval_scores"},
    ),
    "a model that answers greedily needs no seed: the stage runs, and asks nothing again": (
        r"seed",
        {"captions", "questions", "responses", "safety_labels", "preferences", "eval_responses", "eval_scores"},
    ),
    "which parts there are is said by the keys of a section, and DVC compares values": (
        r"models\..*",
        {"safety_groups", "pairs"},
    ),
    "a label is part of its entry": (r"models\.[^.]+\.label", {"responses"}),
}
"""Where a stage is stale though what it is handed is the same, and why; anything else is a fault."""


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}".lstrip("."))
    else:
        yield path, value


LEAVES = dict(leaves(RAW))


def others(path: str, value: Any) -> list[Any]:
    """Values that may be allowed instead, the likeliest first."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, value * 2]
    if isinstance(value, float):
        return [value / 2, value + 0.25, value + 1]
    if isinstance(value, list):
        return [value[:-1], value[::-1]]
    if path == "taxonomy.file":
        return []  # there is only one
    alike = [known for key, known in LEAVES.items() if key.rpartition(".")[2] == path.rpartition(".")[2]]
    keys = [*RAW["models"], *RAW["experiments"]]
    return [known for known in [*alike, *keys, "another", "prompts/answer.j2", 3, None] if known != value]


def with_value(path: str, value: Any) -> Graph | None:
    """The checkout's graph with one value changed; None where that isn't allowed."""
    raw = copy.deepcopy(RAW)
    section, _, last = path.rpartition(".")
    (lookup(raw, section) if section else raw)[last] = value
    try:
        graph = Graph(Project(CHECKOUT), ASSETS, parse_params(raw, CHECKOUT))
        graph.__dict__["raw_params"] = raw
        assert graph.stages
    except SpavlError:
        return None
    return graph


@cache
def _frame(content: str) -> pl.DataFrame:
    return pl.DataFrame({"image_id": [content], "sha256": "", "file": ""})


class WhatIsRead(Store):
    """Answers with which table was asked for instead of its rows."""

    def read(self, asset: Asset, table: str, partition: str | None = None) -> pl.DataFrame:
        return _frame(f"{asset.name}/{table}/{partition}")

    def read_document(self, asset: Asset, file: str, partition: str | None = None) -> Any:
        return [asset.name, file, partition]

    find_document = read_document


def seen(value: Any) -> Any:
    """What a function can see of what it is handed, as something that can be compared."""
    if isinstance(value, Trainer):
        # What decides a training beside the asset's own inputs.
        return seen([value._run.params.seed, value._run.params.policy])
    if isinstance(value, KeptTrainings):
        return "kept"
    if isinstance(value, ModelClient):
        return seen([value.spec, value._keys._start.hexdigest()])
    if isinstance(value, BaseModel):
        return (type(value).__name__, seen(value.model_dump()))
    if isinstance(value, pl.DataFrame):
        return value.rows()
    if isinstance(value, Mapping):
        return [(key, seen(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [seen(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, [seen(getattr(value, one.name)) for one in fields(value)])
    if hasattr(value, "__dict__") and not callable(value):
        return (type(value).__name__, seen(vars(value)))
    return repr(value)


def handed(graph: Graph, ledger: Ledger) -> dict[str, Any]:
    """What each stage's function gets."""
    found = {}
    for stage in graph.stages:
        run = Run(graph, stage, ledger, Path("staging"))
        run.store = WhatIsRead(graph.project)
        inputs = graph.asset(stage.artifact).inputs
        found[stage.name] = {name: seen(declared.value(run)) for name, declared in inputs.items()}
    return found


def in_dvc(graph: Graph, stage: Stage) -> Any:
    """What makes a stage stale for DVC: its own text, and the values of its params."""
    return stage, [lookup(graph.raw_params, key) for key in stage.params]


def in_dagster(graph: Graph, stage: Stage) -> Any:
    """What makes it stale for Dagster: the versions of its sources."""
    sources = graph.sources_of(graph.asset(stage.artifact))
    return {
        source.name: graph.source_version(source, stage.partition if source.partitions else None) for source in sources
    }


@pytest.fixture(autouse=True)
def what_lies_on_disk_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(_self: Weights, model: Any, revision: str | None) -> ResolvedModel:
        return ResolvedModel(str(model), str(model), str(revision), None)

    monkeypatch.setattr("spavl_dag.pipeline.inputs.load_taxonomy", lambda file: TAXONOMY if file.exists() else None)
    monkeypatch.setattr("spavl_dag.inference.client.compile_template", cache(compile_template))
    monkeypatch.setattr(Weights, "resolve", named)
    monkeypatch.setattr(Weights, "of_artifact", named)


def test_stale_if_and_only_if_something_else_is_handed_in(tmp_path: Path):
    faults, tried, wider = [], 0, set()
    with Ledger(tmp_path / "ledger") as ledger:
        plain = with_value("seed", RAW["seed"])
        assert plain is not None
        before = handed(plain, ledger)
        dvc = {stage.name: in_dvc(plain, stage) for stage in plain.stages}
        dagster = {stage.name: in_dagster(plain, stage) for stage in plain.stages}
        for path, value in LEAVES.items():
            graph = next(filter(None, (with_value(path, other) for other in others(path, value))), None)
            if graph is None:
                continue
            tried += 1
            after = handed(graph, ledger)
            stale = {stage.name for stage in graph.stages if in_dvc(graph, stage) != dvc.get(stage.name)}
            too = {stage.name for stage in graph.stages if in_dagster(graph, stage) != dagster.get(stage.name)}
            faults += [f"{path}: {name} is stale in one of DVC and Dagster" for name in stale ^ too]
            other = {name for name, inputs in after.items() if inputs != before.get(name)}
            faults += [f"{path}: {name} isn't stale, and gets something else" for name in other - stale]
            for name in stale - other:
                why = [
                    reason
                    for reason, (keys, which) in WIDER.items()
                    if re.fullmatch(keys, path) and name.split("@")[0] in which
                ]
                wider |= set(why)
                faults += [] if why else [f"{path}: {name} is stale, and gets the same"]
    assert not faults, "\n".join(faults)
    assert tried > 0.8 * len(LEAVES), f"only {tried} of {len(LEAVES)} values could be changed"
    assert wider == set(WIDER), "one of these is no longer so"
