"""A policy to start from, and a reward model that likes the good words."""

from __future__ import annotations

from pathlib import Path

import pytest

from spavl_dag.training.runner import train
from tests.inference.engines.tiny_llava import build_checkpoint
from tests.training.tiny_jobs import make_job, nothing


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random LLaVA."""
    return build_checkpoint(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="session")
def reward_model(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reward model, trained from it."""
    folder = tmp_path_factory.mktemp("reward")
    runtime = {"per_device_batch": 16, "checkpoint_every": 100}
    return train(make_job("reward", start, folder, pairs=96, batch_size=16, epochs=5, runtime=runtime), nothing).folder
