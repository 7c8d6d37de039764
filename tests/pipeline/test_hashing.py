"""Content hashes, against those of a real dvc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spavl_dag.pipeline.hashing import ContentHasher
from tests.conftest import Project


def test_hashes_are_those_of_dvc(tmp_path: Path):
    project = Project(tmp_path)
    project.run("git", "init", "-q")
    project.dvc("init", "-q")
    (tmp_path / ".dvcignore").write_text("__pycache__/\n*.pyc\n.gitignore\n")
    for name in ("b.txt", "a/é.txt", "a/b/empty", "z z/10", "z z/9", "Z", "a-b"):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode() * 3 if "empty" not in name else b"")
    (tmp_path / "in" / "a" / "__pycache__").mkdir()
    (tmp_path / "in" / "a" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (tmp_path / "in" / "a" / ".gitignore").write_text("/b\n")
    (tmp_path / "dvc.yaml").write_text("stages: {s: {cmd: cp -r in out, deps: [in, in/b.txt], outs: [out]}}")
    project.dvc("repro", "-q")
    stage = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]["s"]
    hasher = ContentHasher(tmp_path)
    for entry in (*stage["deps"], *stage["outs"]):
        assert hasher.md5(tmp_path / entry["path"]) == entry["md5"], entry["path"]


def test_nothing_has_no_hash(tmp_path: Path):
    assert ContentHasher(tmp_path).md5(tmp_path / "none") is None


@settings(max_examples=30, deadline=None)
@given(first=st.binary(max_size=50), second=st.binary(max_size=50))
def test_a_remembered_hash_is_the_file_s_own(tmp_path_factory, first: bytes, second: bytes):
    folder = tmp_path_factory.mktemp("hash")
    file, memory = folder / "file", folder / "memory.json"
    file.write_bytes(first)
    hasher = ContentHasher(folder, memory)
    before = hasher.md5(file)
    hasher.save()
    file.write_bytes(second)
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))
    assert (ContentHasher(folder, memory).md5(file) == before) is (first == second)


DAMAGE = ("{", "[]", "null", '"x"', "3", '{"FILE": 3}', '{"FILE": {"a": 1}}', '{"FILE": [1]}', '{"FILE": [STAMP]}')


@pytest.mark.parametrize(
    "damage", [*DAMAGE, '{"FILE": [STAMP, null]}', '{"FILE": [STAMP, "abc"]}', "\udcff", "[" * 10**5]
)
def test_a_broken_memory_is_forgotten(tmp_path: Path, damage: str):
    (tmp_path / "file").write_text("x")
    found = (tmp_path / "file").stat()
    stamp = f"{found.st_size}, {found.st_mtime_ns}, {found.st_ino}"
    text = damage.replace("FILE", str(tmp_path / "file")).replace("STAMP", stamp)
    (tmp_path / "memory.json").write_text(text, errors="surrogateescape")
    hasher = ContentHasher(tmp_path, tmp_path / "memory.json")
    assert hasher.md5(tmp_path / "file") == "9dd4e461268c8034f5c8564e155c67a6"
    hasher.save()
    assert (tmp_path / "memory.json").read_text().startswith("{")


def test_a_memory_that_cannot_be_kept_stops_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    hasher = ContentHasher(tmp_path, tmp_path / "file" / "memory.json")  # a file is no folder, for root neither
    assert hasher.md5(tmp_path / "file") == "9dd4e461268c8034f5c8564e155c67a6"
    hasher.save()
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
