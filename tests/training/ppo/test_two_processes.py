"""PPO over two processes is PPO in one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spavl_dag.training.progress import read_curve
from spavl_dag.training.runner import train
from tests.training.tiny_jobs import make_job, nothing


@pytest.mark.slow
def test_two_processes_train_as_one_does(start: Path, reward_model: Path, tmp_path: Path) -> None:
    one, two = (
        make_job("ppo", start, tmp_path / name, reward_model=reward_model, pairs=16, batch_size=8)
        for name in ("one", "two")
    )
    train(one, nothing)
    two.work.mkdir(parents=True)
    file = tmp_path / "job.json"
    file.write_text(two.to_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "spavl_dag.training.worker", str(file)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = list(zip(read_curve(one.work), read_curve(two.work), strict=True))
    assert len(rows) == 4
    for ours, theirs in rows:
        for name in ("reward", "kl", "entropy", "policy_loss", "value_loss", "explained_variance", "learning_rate"):
            assert theirs[name] == pytest.approx(ours[name], abs=1e-3)
    weights = [(job.work / "final" / "model.safetensors").read_bytes() for job in (one, two)]
    assert weights[0] != weights[1]  # sums in another order: there were two processes indeed
