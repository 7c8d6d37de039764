"""Training by `accelerate launch`, with two processes on the processor."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from spavl_dag.training.runner import TrainingFailedError, train
from tests.training.tiny_jobs import make_job, nothing

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "accelerate"
DPO = {"beta": 0.1}


@pytest.mark.slow
def test_two_processes_train_like_one(start: Path, tmp_path: Path) -> None:
    alone = train(make_job("dpo", start, tmp_path / "alone", hyperparameters=DPO, epochs=1), nothing)
    told: list[int] = []
    runtime = {"accelerate": str(CONFIGS / "cpu_2.yaml")}
    job = make_job("dpo", start, tmp_path / "both", hyperparameters=DPO, epochs=1, runtime=runtime)
    both = train(job, lambda _label, done, _total: told.append(done))
    assert told[-1] == 4
    assert both.summary["steps"] == alone.summary["steps"] == 4
    # The same rows in each step, so the same gradients up to rounding.
    for mine, theirs in zip(alone.curve, both.curve, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
        assert mine["dpo/reward_margin"] == pytest.approx(theirs["dpo/reward_margin"], abs=5e-3)
    assert (both.folder / "model.safetensors").is_file()


@pytest.mark.slow
def test_what_a_process_says_of_its_failure_is_in_the_error(start: Path, tmp_path: Path) -> None:
    runtime = {"accelerate": str(CONFIGS / "cpu_2.yaml")}
    job = make_job("dpo", start, tmp_path, hyperparameters=DPO, batch_size=9, runtime=runtime)
    with pytest.raises(TrainingFailedError, match="9 can't be spread over 2 processes") as caught:
        train(job, nothing)
    assert caught.value.hint == "Use a multiple of 2."


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_configs_are_what_accelerate_reads(file: Path) -> None:
    config = load_config_from_file(str(file))
    content = yaml.safe_load(file.read_text())
    assert config.num_processes == content["num_processes"]
    expected = {"cpu_2": 2, "gpu_1": 1, "gpu_2": 2, "gpu_8": 8, "gpu_8_zero2": 8}
    assert content["num_processes"] == expected[file.stem]
