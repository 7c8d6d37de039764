"""`spavl doctor` where things are odd: terminals, folders, packages that don't fit."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spavl_dag.cli.doctor import Finding, _folder, _told, _torchvision
from spavl_dag.pipeline.layout import Project as Layout
from tests.conftest import Project


def test_an_ascii_terminal_shows_it_all(fresh_project: Project):
    dvc_file = fresh_project.root / "dvc.yaml"
    dvc_file.write_text(dvc_file.read_text().replace("spavl run captions", "spavl run caption"))
    fresh_project.env["PYTHONIOENCODING"] = "ascii"
    fresh_project.change_params(lambda p: p["runtime"].update(mlflow_uri="http://m\u00fcller.example/\u2588"))
    done = fresh_project.spavl("doctor", check=False)
    assert "Traceback" not in done.stderr
    assert "http://m?ller.example/?" in done.stdout
    assert "| ok" in done.stdout
    # An outdated dvc.yaml is told with its remedy, in a terminal of any kind.
    (line,) = [line for line in done.stdout.splitlines() if "dvc.yaml" in line and "| fix" in line]
    assert "spavl graph write" in line


def told(path: Path) -> dict[str, Finding]:
    path.mkdir(parents=True, exist_ok=True)
    return {finding.what: finding for finding in _folder(Layout(path))}


@pytest.mark.parametrize(
    ("path", "named"),
    [("a%20b", "'%20'"), ("x/what?/y", "'?'"), ("100%ff", "'%ff'"), ("runs[1]", "'['"), ("all*", "'*'")],
)
def test_paths_that_a_tool_cannot_open_are_named(tmp_path: Path, path: str, named: str):
    assert named in str(told(tmp_path / path)["path"].fix)


@pytest.mark.parametrize("path", ["a b", "ä", "#$;,", "100%", "5%zz", "(copy)"])
def test_paths_that_are_fine_are_not(tmp_path: Path, path: str):
    assert told(tmp_path / path).keys() == {"project"}


def test_a_check_that_cannot_look_is_a_finding(tmp_path: Path):
    def _disk(project: Layout):
        yield Finding("size", str(len(project.params_file.read_text())))

    (found,) = _told(_disk, Layout(tmp_path))
    assert found.what == "disk"
    assert "params.yaml" in found.found
    assert found.fix


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="makes a read-only mount where it is run by root")
def test_a_project_that_cannot_be_written(fresh_project: Project):
    root = fresh_project.root
    (root / ".spavl" / "locks").mkdir(parents=True, exist_ok=True)
    (root / ".spavl" / "locks" / "dvc.lock").touch()
    before = sorted(root.rglob("*"))
    command = [sys.executable, "-B", "-m", "spavl_dag", "doctor", "--json"]
    if os.geteuid() == 0:
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, str(root), *command]
        if subprocess.run([*command[:4], "mount --bind / /"], check=False, capture_output=True).returncode:
            pytest.skip("may not mount here")
    else:
        for place in (root, *before):
            if not place.is_symlink():
                place.chmod(place.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    done = fresh_project.run(*command, check=False)
    assert "Traceback" not in done.stderr
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert [what for what, finding in found.items() if finding["fix"]] == ["can't be written"]
    assert found["can't be written"]["found"] == "the whole project"
    assert found["params.yaml"]["found"] == "3 models"
    assert sorted(root.rglob("*")) == before


def test_places_that_cannot_be_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("data", ".spavl", ".dvc"):
        (tmp_path / name).mkdir()
    closed = {tmp_path / "data", tmp_path / ".dvc"}  # root may write anywhere, so the system's answer is replaced
    monkeypatch.setattr(os, "access", lambda place, mode: place not in closed)
    assert told(tmp_path)["can't be written"].found == ".dvc, data"


def torchvision(folder: Path, version: str, code: str) -> Finding:
    """What is found where a torchvision with this code stands in a folder of the path."""
    (folder / "torchvision").mkdir(parents=True)
    (folder / "torchvision" / "__init__.py").write_text(code)
    metadata = folder / f"torchvision-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchvision\nVersion: {version}\n")
    sys.path.insert(0, str(folder))
    try:
        (found,) = _torchvision(Layout(folder))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("torchvision", None)
    return found


def test_a_torchvision_of_another_build_is_noticed(tmp_path: Path):
    fine = torchvision(tmp_path / "fine", "0.28.0", "")
    assert (fine.found, fine.fix) == ("0.28.0", None)
    broken = torchvision(
        tmp_path / "broken", "0.28.0", "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    assert "torchvision::nms" in broken.found
    assert "pip uninstall torchvision" in str(broken.fix)
