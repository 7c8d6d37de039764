"""A rehearsal: a whole dataset by scripted answers, which says so everywhere and ends there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from assets import ASSETS
from spavl_dag.errors import ParamsError
from spavl_dag.inference.ledger import Ledger
from spavl_dag.params.load import load_params
from spavl_dag.pipeline.graph import Graph
from spavl_dag.pipeline.layout import Project
from spavl_dag.pipeline.make import make
from spavl_dag.pipeline.rehearsal import SCRIPTED, RehearsalError
from spavl_dag.yamls import dump_yaml, load_yaml
from tests.conftest import CHECKOUT, CLASSES, small_taxonomy

MADE = ("captions", "questions", "responses", "safety_labels", "safety_groups", "pairs", "preferences", "dataset")


def rehearsal(root: Path) -> Project:
    """Four classes of six pictures, three models, all of them scripted; nothing is copied that isn't read."""
    for name in ("assets", "spavl_dag", "prompts"):
        (root / name).symlink_to(CHECKOUT / name)
    (root / "taxonomy.yaml").write_text(small_taxonomy())
    params = load_yaml((CHECKOUT / "params.yaml").read_text())
    params["taxonomy"]["file"] = "taxonomy.yaml"
    params["engines"] = {"rehearsal": {"kind": "scripted"}}
    for role in filter(None, params["roles"].values()):
        # No such weights exist anywhere: nobody may look for them.
        role |= {"engine": "rehearsal", "model": "nobody/has-this", "prompt": role["prompt"].replace("pictograms/", "")}
    answering = {"engine": "scripted", "prompt": "prompts/answer.j2", "decoding": {"max_new_tokens": 64}}
    params["models"] = {key: {"model": f"nobody/{key}", **answering} for key in ("m1", "m2", "m3")}
    params["images"]["source"] = "folder"
    params["safety_groups"]["count"] = 3
    params["dataset"] |= {"eval_questions_per_class": 2, "validation_share": 0.25}
    (root / "params.yaml").write_text(dump_yaml(params))
    rng = np.random.default_rng(0)
    for slug in CLASSES:
        folder = root / "inputs" / "images" / slug
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))
            pixels.save(folder / f"{number}.png")
    return Project(root)


def make_to(project: Project, artifact: str) -> None:
    graph = Graph(project, ASSETS)
    for stage in [*graph.behind(*graph.of(artifact)), *graph.of(artifact)]:
        make(graph.with_fresh_eyes(), stage)


def test_a_rehearsal_makes_a_whole_dataset_that_says_what_it_is(tmp_path: Path) -> None:
    project = rehearsal(tmp_path)
    make_to(project, "dataset")

    assert not (tmp_path / "models").exists(), "base_model is not made for entries that are scripted"
    rows = pl.read_parquet(tmp_path / "data/dataset/dataset.parquet")
    assert set(rows["split"]) == {"train", "validation", "harm_eval", "help_eval"}
    labels = pl.read_parquet(tmp_path / "data/safety_labels/*/*.parquet")["label"]
    assert set(labels) == {"safe", "unsafe"}, "every verdict is one, and both are there"
    assert rows["agreement"].drop_nulls().unique().to_list() == [1.0], "a pair is preferred alike in both orders"

    for artifact in MADE:
        tables = list((tmp_path / "data" / artifact).rglob("*.parquet"))
        assert tables
        for table in tables:
            if table.parent.name != "hf":
                assert "roles.captioner" in pl.read_parquet_metadata(table)[SCRIPTED], table
    assert SCRIPTED not in pl.read_parquet_metadata(tmp_path / "data/images/images.parquet"), "no model drew them"
    statistics = json.loads((tmp_path / "data/dataset/statistics.json").read_text())
    assert {"roles.judge", "models.m1", "roles.annotator_joint"} <= set(statistics["scripted"])
    assert "A rehearsal, and no dataset" in (tmp_path / "data/dataset/README.md").read_text()
    with Ledger(project.ledger) as ledger:
        (profile, *others) = {json.loads(row.profile)["engine"] for row in ledger.rows(range(1, ledger.count() + 1))}
    assert (profile, others) == ("scripted", [])

    graph = Graph(project, ASSETS)
    for artifact in ("reward_model", "benchmarks", "report"):
        with pytest.raises(RehearsalError, match=f"{artifact} is not made of scripted answers"):
            make(graph, graph.get(artifact))

    # What lies on disk is known for what it is, also where params name real models meanwhile.
    content = load_yaml(project.params_file.read_text())
    content["engines"] = {}
    for entry in [*filter(None, content["roles"].values()), *content["models"].values()]:
        entry["engine"] = "transformers"
    project.params_file.write_text(dump_yaml(content))
    graph = Graph(project, ASSETS)
    assert not graph.params.scripted()
    with pytest.raises(RehearsalError, match=r"roles\.judge"):
        make(graph, graph.get("reward_model"))


def test_a_second_making_asks_nothing_and_gives_the_same_bytes(tmp_path: Path) -> None:
    project = rehearsal(tmp_path)
    make_to(project, "questions")
    graph = Graph(project, ASSETS)
    stage = graph.get("questions")
    before = graph.data_version(stage)
    again = make(graph, stage)
    assert (again.counts.made, again.data_version) == (0, before)


def test_checkpoints_are_not_asked_by_script(tmp_path: Path) -> None:
    project = rehearsal(tmp_path)
    content = load_yaml(project.params_file.read_text())
    content["policy"]["engine"] = "scripted"
    project.params_file.write_text(dump_yaml(content))
    with pytest.raises(ParamsError, match=r"policy\.engine: scripted answers are for rehearsals"):
        load_params(project.params_file)
