"""What lies in a user's folder and can't be hashed stops neither `spavl` nor DVC, and is quarantined."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from tests.conftest import Project

LEGAL = ("a[b].png", "a b .png", " c.png", "d\\.png", "#e.png", "!f.png", "g*?.png", "caf\u00e9.png", "h\ni.png")
"""Names that patterns of .dvcignore could mistake."""


@pytest.fixture
def folder(fresh_project: Project) -> Path:
    """A folder of pictures that the project uses, in which everything can be hashed."""
    folder = fresh_project.root / "inputs" / "mine"

    def change(params: dict[str, Any]) -> None:
        params["images"] |= {"source": "folder", "folder": "inputs/mine", "min_side": 16}

    fresh_project.change_params(change)
    for number, name in enumerate(LEGAL):
        picture(folder / "weapon" / name, number)
    picture(folder / "gamble" / "z.png", len(LEGAL))
    fresh_project.spavl("graph", "write")
    fresh_project.spavl("run", "keywords")
    return folder


def picture(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((32, 32 + number), 90).save(file, format="PNG")


def break_it(folder: Path) -> dict[str, str]:
    """Put in all that DVC fails on or waits for; gives the reasons of the quarantine by file."""
    weapon = folder / "weapon"
    (weapon / "x.png").symlink_to("/nowhere/x.png")
    (weapon / "circle [1].png").symlink_to("circle [1].png")
    os.mkfifo(weapon / "pipe*.png")
    with socket.socket(socket.AF_UNIX) as listener:
        # The path of a socket must be short.
        descriptor = os.open(weapon, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{descriptor}/socket!.png")
        os.close(descriptor)
    (weapon / "device.png").symlink_to("/dev/zero")
    (weapon / "x\ny .png").symlink_to("/nowhere")
    (folder / "same").symlink_to(".")
    (folder / "again").symlink_to(".")
    (folder / "all").symlink_to("/")
    picture(Path(os.fsdecode(os.fsencode(weapon) + b"/caf\xe9.png")), 50)
    picture(Path(os.fsdecode(os.fsencode(folder) + b"/\xe9/y.png")), 51)
    found = {
        **{"weapon/x.png": "broken_link", "weapon/circle [1].png": "broken_link", "weapon/x\\ny .png": "broken_link"},
        **{"weapon/pipe*.png": "not_a_regular_file", "weapon/socket!.png": "not_a_regular_file"},
        **{"weapon/device.png": "outside_folder", "weapon/caf\\xe9.png": "undecodable_name"},
        **{"\\xe9/y.png": "undecodable_name", "same": "linked_folder", "again": "linked_folder"},
        "all": "outside_folder",
    }
    if os.geteuid():  # root may read everything
        for name in ("closed", "weapon/closed.png"):
            picture(folder / name / "w.png" if name == "closed" else folder / name, 52)
            (folder / name).chmod(0)
            found[name] = "permission"
    return found


def stale(project: Project) -> list[str]:
    """Why the images are stale, as `spavl status` says it."""
    states = json.loads(project.spavl("status", "--json").stdout)["artifacts"]
    (reasons,) = [state["reasons"] for state in states if state["stage"] == "images"]
    return list(reasons)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_stops_nothing(fresh_project: Project, folder: Path):
    project, weapon = fresh_project, folder / "weapon"
    expected = break_it(folder)
    told = project.spavl("run", "images").stderr
    assert "inputs/mine/weapon/pipe*.png (a pipe, a socket or a device)" in told
    tables = project.root / "data" / "images"
    quarantine = pl.read_parquet(tables / "quarantine.parquet")
    assert dict(quarantine.select("file", "reason").iter_rows()) == expected
    assert pl.read_parquet(tables / "images.parquet").height == len(LEGAL) + 1
    assert stale(project) == []
    assert json.loads(project.dvc("status", "--json", "images").stdout) == {}
    assert "didn't change" in project.dvc("repro", "images").stdout

    # What is mended counts again, in both.
    (weapon / "x.png").unlink()
    picture(weapon / "x.png", 60)
    assert stale(project) == ["changed: inputs/mine"]
    assert "x.png" not in project.spavl("run", "images").stderr
    assert pl.read_parquet(tables / "images.parquet").height == len(LEGAL) + 2
    assert stale(project) == []
    assert json.loads(project.dvc("status", "--json", "images").stdout) == {}
    assert "weapon/x.png" not in (project.root / ".dvcignore").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_is_said_before_dvc_alone_is_used(fresh_project: Project, folder: Path):
    own = (fresh_project.root / ".dvcignore").read_text()
    break_it(folder)
    told = fresh_project.spavl("doctor", "--json", check=False)
    (finding,) = [finding for finding in json.loads(told.stdout) if finding["what"] == "dvc repository"]
    assert "inputs/mine/weapon/x.png (a link that leads nowhere)" in finding["found"]
    assert "graph write" in finding["fix"]
    fresh_project.spavl("graph", "write")
    fresh_project.dvc("repro", "images")
    assert stale(fresh_project) == []
    assert (fresh_project.root / ".dvcignore").read_text().startswith(own)
