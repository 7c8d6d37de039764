"""What identifies the weights that params name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spavl_dag.errors import MissingInputError
from spavl_dag.pipeline.hashing import ContentHasher
from spavl_dag.pipeline.weights import ADAPTER_FILE, REFERENCE_FILE, Weights

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache as `huggingface_hub` lays it out, with two commits of a model; no hub can be reached."""
    folder = tmp_path / "hub" / "models--lab--vlm"
    for commit in (OLD, NEW):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    point(folder, OLD)
    return folder


def point(cache: Path, commit: str, name: str = "main") -> None:
    (cache / "refs" / name).write_text(commit)


def weights(root: Path) -> Weights:
    return Weights(root, root / "models" / "base_model", ContentHasher(root))


@pytest.mark.parametrize("named", [None, "main", "v1"])
def test_a_branch_that_moves_on_is_another_model(tmp_path: Path, cache: Path, named: str | None):
    point(cache, OLD, "v1")
    before = weights(tmp_path)
    assert before.resolve("lab/vlm", named).revision == OLD
    for name in ("main", "v1"):
        point(cache, NEW, name)
    assert before.resolve("lab/vlm", named).hub_revision == OLD, "one making uses one model"
    after = weights(tmp_path).resolve("lab/vlm", named)
    assert (after.identity, after.revision, after.hub_revision) == ("lab/vlm", NEW, NEW)


def test_what_an_artifact_refers_to_stays(tmp_path: Path, cache: Path):
    folder = tmp_path / "models" / "base_model"
    folder.mkdir(parents=True)
    (folder / REFERENCE_FILE).write_text(json.dumps(weights(tmp_path).reference("lab/vlm", None)))
    point(cache, NEW)
    assert weights(tmp_path).resolve("base_model", None).revision == OLD
    assert weights(tmp_path).reference("lab/vlm", "main")["revision"] == NEW


def test_a_commit_is_itself_and_an_unknown_name_stays(tmp_path: Path, cache: Path):
    assert weights(tmp_path).resolve("lab/vlm", "c" * 40).revision == "c" * 40
    assert weights(tmp_path).resolve("lab/vlm", "none").revision == "none"
    assert weights(tmp_path).resolve("lab/other", None).revision == "main"
    assert weights(tmp_path).resolve("no hub id at all", None).revision == "main"
    os.remove(cache / "refs" / "main")
    assert weights(tmp_path).resolve("lab/vlm", None).revision == "main"


@pytest.mark.parametrize("name", [REFERENCE_FILE, ADAPTER_FILE])
@pytest.mark.parametrize("text", ["", '{"model": "lab', "[]", "{}", "7", "\0"])
def test_a_damaged_reference_is_named(tmp_path: Path, name: str, text: str):
    folder = tmp_path / "models" / "checkpoints" / "dpo"
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    with pytest.raises(MissingInputError, match=f"models/checkpoints/dpo/{name} is damaged"):
        weights(tmp_path).of_artifact(folder, "checkpoint")
