"""A training in a process of its own, killed at a given step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spavl_dag.training.job import Job
from spavl_dag.training.runner import train

_SCRIPT = """
import os, signal, sys
from pathlib import Path
from spavl_dag.training.job import Job
from spavl_dag.training.runner import train

job = Job.from_json(Path(sys.argv[1]).read_text())

def progress(label, done, total):
    if label == job.method and done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

train(job, progress)
"""


def kill_training(job: Job, step: int) -> None:
    """Train in another process that is killed when `step` steps are done."""
    job.work.mkdir(parents=True, exist_ok=True)
    file = job.work.parent / "job.json"
    file.write_text(job.to_json())
    command = [sys.executable, "-c", _SCRIPT, str(file), str(step)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]


class Interrupted(Exception):
    """Stands for a kill, within the same process."""


def interrupt_training(job: Job, step: int) -> None:
    """Train until `step` steps are done; quicker than `kill_training`, but Python gets to clean up."""

    def progress(label: str, done: int, total: int) -> None:
        if done == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(job, progress)


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same bytes under the same names."""
    contents = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in (one, other)]
    return contents[0] == contents[1]
