"""The process that all stages of one `dvc repro` share, met as DVC meets it: `spavl run` with DVC_STAGE set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs Unix sockets")

SOCKETS = Path(tempfile.gettempdir()) / f"spavl-{os.getuid() if hasattr(os, 'getuid') else ''}"
SHELL = 'while read -r line; do eval "$line"; echo "ended $?"; done'


class Dvc:
    """Stands where DVC stands: the parent of one `spavl run` after another. Bash, which adds nothing to them."""

    def __init__(self, project: Project) -> None:
        self.process = subprocess.Popen(
            ["bash", "-c", SHELL],
            cwd=project.root,
            env=project.environment() | {"DVC_STAGE": "some"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def begin(self, arguments: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{sys.executable} -m spavl_dag {arguments}\n")
        self.process.stdin.flush()

    def finish(self) -> tuple[int, str]:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            if line.startswith("ended "):
                return int(line.split()[1]), "".join(lines)
            lines.append(line)
        raise AssertionError(lines)

    def run(self, arguments: str) -> tuple[int, str]:
        self.begin(arguments)
        return self.finish()

    def shared(self) -> list[int]:
        """The processes that listen for it."""
        return [
            pid for pid, _, command in processes() if f"cli.shared_process {SOCKETS}/{self.process.pid}-" in command
        ]

    def stage(self) -> int:
        """The process of the stage that runs now."""
        (found,) = [
            pid
            for pid, parent, command in processes()
            if parent == self.process.pid and "shared_process" not in command
        ]
        return found

    def end(self) -> None:
        with self.process:  # closes its pipes
            self.process.kill()


def processes() -> list[tuple[int, int, str]]:
    """Process ids, those of their parents, commands."""
    listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [(int(pid), int(parent), command) for pid, parent, command in rows]


@pytest.fixture
def dvc(fresh_project: Project) -> Iterator[Dvc]:
    running = Dvc(fresh_project)
    yield running
    running.end()


def wait_until(condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


def test_stages_share_a_process_that_ends_with_dvc(dvc: Dvc, fresh_project: Project) -> None:
    code, told = dvc.run("run keywords")
    assert (code, "made keywords" in told) == (0, True), told
    (process,) = dvc.shared()

    code, told = dvc.run("run captions")
    assert code == 1
    assert "error: captions needs what is not there" in told, "what a stage prints goes where DVC's own output goes"
    assert "Traceback" not in told
    assert dvc.shared() == [process]

    file = fresh_project.root / "spavl_dag" / "names.py"
    file.write_text(file.read_text() + "\n# edited\n")
    assert dvc.run("run keywords")[0] == 0
    (another,) = dvc.shared()
    assert another != process, "edited code needs a new process"

    dvc.end()
    wait_until(lambda: not dvc.shared())
    wait_until(lambda: not list(SOCKETS.glob(f"{dvc.process.pid}-*")))


@pytest.mark.parametrize("victim", ["stage", "shared process"])
def test_killed_on_either_side_the_work_ends_and_the_next_goes_on(dvc: Dvc, victim: str) -> None:
    assert dvc.run("run keywords")[0] == 0
    (shared,) = dvc.shared()
    dvc.begin("run base_model")
    time.sleep(3)  # it trains for much longer
    os.kill(dvc.stage() if victim == "stage" else shared, signal.SIGKILL)
    code, told = dvc.finish()
    assert code == (128 + signal.SIGKILL if victim == "stage" else 1)
    assert ("the process that ran this stage was ended" in told) == (victim != "stage")
    wait_until(lambda: shared not in dvc.shared())
    code, told = dvc.run("run keywords")
    assert (code, "made keywords" in told) == (0, True), told


def test_a_signal_reaches_the_work(dvc: Dvc) -> None:
    dvc.begin("run base_model")
    wait_until(dvc.shared)
    time.sleep(3)
    os.kill(dvc.stage(), signal.SIGTERM)
    code, told = dvc.finish()
    assert (code, "interrupted; finished calls are in the ledger" in told) == (143, True), told


def test_it_can_be_turned_off(fresh_project: Project) -> None:
    fresh_project.env["SPAVL_SHARED"] = "0"
    alone = Dvc(fresh_project)
    assert alone.run("run keywords")[0] == 0
    assert alone.shared() == []
    alone.end()
