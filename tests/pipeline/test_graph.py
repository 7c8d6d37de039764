"""Declarations, and the graph made of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml

from assets import ASSETS
from spavl_dag.errors import SpavlError
from spavl_dag.params.load import parse_params
from spavl_dag.params.sections import PairParams
from spavl_dag.pipeline.declaration import Asset, asset
from spavl_dag.pipeline.graph import Graph, lookup
from spavl_dag.pipeline.inputs import AllPartitions, Params, PartitionKey, Table
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.load import load_assets
from spavl_dag.pipeline.result import Result
from spavl_dag.schemas import Captions, Images, Keywords, Pairs, Responses, SafetyLabels
from tests.conftest import CHECKOUT

RAW: dict[str, Any] = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
BY_NAME = {declared.name: declared for declared in ASSETS}


def graph_of(raw: Mapping[str, Any], declared: tuple[Asset, ...] = ASSETS) -> Graph:
    """The checkout's graph with other params."""
    graph = Graph(Project(CHECKOUT), declared, parse_params(raw, CHECKOUT))
    graph.__dict__["raw_params"] = raw  # instead of the file's
    return graph


def changed(path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(RAW)
    *parents, last = path.split(".")
    section = lookup(raw, ".".join(parents)) if parents else raw
    section[last] = value
    return raw


def deps(graph: Graph, stage: str) -> set[str]:
    artifact, _, partition = stage.partition("@")
    return set(graph.get(artifact, partition or None).deps)


def test_every_asset_comes_after_what_it_reads():
    graph = graph_of(RAW)
    order = list(graph.assets)
    for declared in graph.assets.values():
        assert all(order.index(owner.name) < order.index(declared.name) for owner, _ in graph.reads(declared))
    assert set(order) == set(BY_NAME)


def test_every_key_of_params_is_read_by_some_stage_and_runtime_by_none():
    read = {key for stage in graph_of(RAW).stages for key in stage.params}

    def leaves(value: Any, path: str = "") -> list[str]:
        if isinstance(value, dict) and value:
            return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}".lstrip("."))]
        return [path]

    unread = [leaf for leaf in leaves(RAW) if not any(leaf == key or leaf.startswith(f"{key}.") for key in read)]
    # What is read only when params choose it: a role that isn't asked, a folder of benchmarks that aren't there.
    optional = {leaf for leaf in unread if leaf.startswith(("runtime.", "roles.keywords", "evaluation.folder"))}
    assert set(unread) == optional
    assert not any(key.split(".")[0] == "runtime" for key in read)


def test_what_params_choose_enters_the_stages_by_itself(tmp_path: Path):
    plain = graph_of(RAW)
    assert "prompts/pictograms/keywords.j2" not in deps(plain, "keywords")
    listed = graph_of(changed("keywords.source", "model"))
    assert {"prompts/pictograms/keywords.j2", "models/base_model"} <= deps(listed, "keywords")

    judge = {"model": "base_model", "prompt": "prompts/judge.j2", "decoding": {"max_new_tokens": 8}}
    assert "prompts/judge.j2" not in deps(plain, "eval_scores@dpo")
    assert "prompts/judge.j2" in deps(graph_of(changed("roles.second_judge", judge)), "eval_scores@dpo")

    assert "prompts/pictograms/preference_harmlessness.j2" not in deps(plain, "preferences")
    separate = graph_of(changed("preferences.criteria", "separate"))
    assert "prompts/pictograms/preference_harmlessness.j2" in deps(separate, "preferences")
    assert "prompts/pictograms/preference_joint.j2" not in deps(separate, "preferences")

    assert "inputs/images" not in deps(plain, "images")
    assert "inputs/images" in deps(graph_of(changed("images.source", "folder")), "images")

    weights = "./prompts"  # any folder of the checkout
    assert "./prompts" in deps(graph_of(changed("roles.judge.model", weights)), "safety_labels@none_hot")
    of_one = graph_of(changed("models.none_hot.model", weights))
    assert "./prompts" in deps(of_one, "responses@none_cool"), "`foreach` can't tell entries apart"

    named = changed("engines", {"exact": {"kind": "transformers", "dtype": "float32"}})
    assert "engines.exact" not in graph_of(named).get("safety_labels", "none_hot").params
    named["roles"]["judge"]["engine"] = "exact"
    assert "engines.exact" in graph_of(named).get("safety_labels", "none_hot").params

    wordy = changed("evaluation.benchmarks.xstest.prompt", "prompts/answer.j2")
    assert "prompts/answer.j2" in deps(graph_of(wordy), "eval_responses@dpo")


def test_the_report_declares_what_it_tells():
    (report,) = graph_of(RAW).of("report")
    told = {"report", "experiments", "roles.judge.model", "evaluation.interval", "taxonomy"}
    assert told <= set(report.params)


def test_a_thirteenth_model_changes_no_other_stage():
    more = graph_of(changed("models.one_more", RAW["models"]["none_cool"]))
    before = {stage.name: stage for stage in graph_of(RAW).stages}
    after = {stage.name: stage for stage in more.stages}
    assert after.keys() - before.keys() == {"responses@one_more", "safety_labels@one_more"}
    assert {name: after[name] for name in before} == before


def test_a_changed_leaf_is_named():
    before, after = graph_of(RAW), graph_of(changed("experiments.dpo.hyperparameters.beta", 0.3))
    stage = before.get("checkpoints", "dpo")
    assert after.fingerprint(stage).changes(before.fingerprint(stage)) == [
        "params experiments.dpo.hyperparameters.beta"
    ]


def test_unknown_names_are_refused_with_what_there_is():
    graph = graph_of(RAW)
    with pytest.raises(SpavlError, match="no partition 'nobody'"):
        graph.get("responses", "nobody")
    with pytest.raises(SpavlError, match="has one part per key of models"):
        graph.get("responses")
    with pytest.raises(SpavlError, match="has no partitions"):
        graph.get("captions", "high_hot")


def test_another_checkouts_library_is_refused(tmp_path: Path):
    (tmp_path / "spavl_dag").mkdir()
    with pytest.raises(SpavlError, match="has its own in"):
        load_assets(Project(tmp_path))


class TestDeclaring:
    def test_what_nobody_can_hand_in(self):
        with pytest.raises(SpavlError, match=r"parameter 'number: .*int.*' declares nothing"):

            @asset(group_name="g", kinds={"polars"})
            def wrong(number: int) -> Result[Pairs]: ...

    def test_a_result_without_schemas(self):
        with pytest.raises(SpavlError, match="must return Result"):

            @asset(group_name="g", kinds={"polars"})
            def wrong(images: Table[Images]) -> None: ...  # type: ignore[arg-type]

    def test_a_circle(self):
        @asset(group_name="g", kinds={"polars"})
        def one(captions: Table[Captions]) -> Result[Keywords]: ...

        @asset(group_name="g", kinds={"polars"})
        def other(keywords: Table[Keywords]) -> Result[Captions]: ...

        with pytest.raises(SpavlError, match="in a circle"):
            graph_of(RAW, (one, other))

    def test_a_table_of_two_assets_or_of_none(self):
        @asset(group_name="g", kinds={"polars"})
        def reader(pairs: Table[Pairs]) -> Result[Captions]: ...

        with pytest.raises(SpavlError, match="Pairs must be a table of one asset, and is of no asset"):
            graph_of(RAW, (reader,))

    def test_one_part_is_read_by_a_part(self):
        @asset(group_name="g", kinds={"polars"}, partitions="models")
        def answers(key: PartitionKey) -> Result[Responses]: ...

        @asset(group_name="g", kinds={"polars"})
        def whole(
            answers: AllPartitions[Responses], settings: Annotated[PairParams, Params("pairs")]
        ) -> Result[SafetyLabels]: ...

        @asset(group_name="g", kinds={"polars"})
        def part(answers: Table[Responses]) -> Result[Captions]: ...

        (stage,) = graph_of(RAW, (answers, whole)).of("whole")
        assert stage.params == ("pairs", "models")
        with pytest.raises(SpavlError, match=r"Ask for AllPartitions|has no such partitions"):
            _ = graph_of(RAW, (answers, part)).stages
