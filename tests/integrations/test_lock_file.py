"""A dvc.lock that was cut while DVC wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spavl_dag.errors import SpavlError
from spavl_dag.integrations.dvc import lock_file
from spavl_dag.integrations.dvc.lock_file import keep_lock, read_lock
from spavl_dag.pipeline.layout import Project

STAGE = """  {name}:
    cmd: spavl run {name}
    deps:
    - path: assets/{name}.py
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 2
    params:
      params.yaml:
        seed: 42
    outs:
    - path: data/{name}
      hash: md5
      md5: fedcba9876543210fedcba9876543210.dir
      size: 3
      nfiles: 1
"""
LOCK = "schema: '2.0'\nstages:\n" + "".join(STAGE.format(name=name) for name in ("keywords", "images", "captions"))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "_PATIENCE", 0.0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "dvc.lock").write_text(LOCK)
    return Project(tmp_path)


def test_nothing_recorded_yet(tmp_path: Path):
    assert read_lock(Project(tmp_path)) == {}


def test_wherever_it_was_cut_the_whole_one_comes_back(project: Project, capsys: pytest.CaptureFixture[str]):
    whole = read_lock(project)
    assert list(whole) == ["keywords", "images", "captions"]
    for end in range(len(LOCK)):
        (project.root / "dvc.lock").write_text(LOCK[:end])
        assert read_lock(project) == whole
        assert (project.root / "dvc.lock").read_text() == LOCK
        assert "the last whole one was put back" in capsys.readouterr().err


def test_a_cut_one_is_never_kept(project: Project):
    keep_lock(project)
    (project.root / "dvc.lock").write_text(LOCK[:-40])
    keep_lock(project)
    assert project.lock_copy.read_text() == LOCK


def test_a_new_whole_one_is_kept_also_when_it_is_shorter(project: Project):
    read_lock(project)
    shorter = LOCK.replace("seed: 42", "seed: 4")[: LOCK.index("  captions:") - 2]
    (project.root / "dvc.lock").write_text(shorter)
    assert list(read_lock(project)) == ["keywords", "images"]
    assert project.lock_copy.read_text() == shorter


@pytest.mark.parametrize("text", ["", "schema: '2.0'\nst", LOCK[:300]])
def test_without_a_kept_one_it_says_what_helps(tmp_path: Path, text: str):
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(SpavlError, match=r"dvc\.lock is empty or cut") as told:
        read_lock(Project(tmp_path))
    assert told.value.hint is not None
    assert "git checkout dvc.lock" in told.value.hint


def test_conflicts_of_a_merge_are_left_to_who_merges(project: Project):
    keep_lock(project)
    unmerged = LOCK.replace("\n  images:", "\n<<<<<<< HEAD\n  images:")
    (project.root / "dvc.lock").write_text(unmerged)
    with pytest.raises(SpavlError, match="conflicts of a git merge"):
        read_lock(project)
    assert (project.root / "dvc.lock").read_text() == unmerged


def test_other_stages_may_look_otherwise(project: Project):
    (project.root / "dvc.lock").write_text(LOCK + "  mine:\n    cmd: echo\n")
    assert "mine" in read_lock(project)
