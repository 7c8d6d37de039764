"""What the system refuses (space, permission, a path) is told in a line, before or without loss of what was made."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Project

pytestmark = pytest.mark.slow


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that failed as it should."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    return done.stderr


def limited(project: Project, bytes_per_file: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`spavl` where no file may grow beyond a size: as on a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, bytes_per_file))

    command = [sys.executable, "-m", "spavl_dag", *arguments]
    environment = {**project.environment(), "PYTHONDONTWRITEBYTECODE": "1"}  # half a file of them breaks Python itself
    return subprocess.run(
        command,
        cwd=project.root,
        env=environment,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
def test_no_room_is_one_line_and_nothing_is_lost(fresh_project: Project):
    refused(limited(fresh_project, 60_000, "run", "keywords"))
    fresh_project.spavl("run", "keywords")
    before = fresh_project.recorded()
    limited(fresh_project, 1_000, "status")  # what can't be remembered is no error
    refused(limited(fresh_project, 1_000, "run", "images"))
    assert fresh_project.recorded() == before
    fresh_project.spavl("run", "images")
    assert set(fresh_project.recorded()) == {"keywords", "images"}


@pytest.mark.timeout(600)
def test_places_that_cannot_be_used_are_named(fresh_project: Project):
    locks = fresh_project.root / ".spavl" / "locks"
    locks.parent.mkdir()
    locks.write_text("")
    assert str(locks) in refused(fresh_project.spavl("run", "keywords", check=False))
    locks.unlink()
    fresh_project.spavl("run", "keywords")
    store = fresh_project.root / ".dagster"
    for file in store.rglob("*.db*"):
        file.write_bytes(b"no database" * 1000)
    told = refused(fresh_project.spavl("run", "images", check=False))
    assert f"Dagster's store in {store} can't be used" in told
    assert "images" in fresh_project.recorded()
    shutil.rmtree(store)
    fresh_project.spavl("sync")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["a%20b", "what?"])
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_made(
    fresh_project: Project, tmp_path: Path, name: str
):
    project = fresh_project.copy_to(tmp_path / "odd" / name)
    told = refused(project.spavl("run", "keywords", check=False))
    assert "'%20'" in told or "'?'" in told
    assert not (project.root / "data").exists()
    assert [path.name for path in (tmp_path / "odd").iterdir()] == [name]
