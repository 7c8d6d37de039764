"""PPO on a tiny VLM: it learns, it starts at KL 0, and a kill changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from spavl_dag.errors import EngineError
from spavl_dag.training.job import Job
from spavl_dag.training.loop import NotFiniteError
from spavl_dag.training.runner import train
from tests.inference.engines.tiny_llava import build_checkpoint
from tests.training.killing import interrupt_training, kill_training, same_files
from tests.training.tiny_jobs import FULL, LORA, PPO, make_job, nothing


def short_job(start: Path, reward_model: Path, folder: Path, **changes: Any) -> Job:
    """Six steps of eight rollouts in two passes; a state after every second step."""
    chosen = PPO | changes.pop("hyperparameters", {})
    runtime = {"per_device_batch": 4, "checkpoint_every": 4} | changes.pop("runtime", {})
    made = {"pairs": 16, "epochs": 3, "batch_size": 8, **changes}
    return make_job("ppo", start, folder, reward_model=reward_model, hyperparameters=chosen, runtime=runtime, **made)


def test_reward_rises_and_kl_stays_finite(start: Path, reward_model: Path, tmp_path: Path) -> None:
    runtime = {"per_device_batch": 32}
    job = short_job(
        start, reward_model, tmp_path, pairs=32, epochs=12, batch_size=32, learning_rate=2e-3, runtime=runtime
    )
    curve = train(job, nothing).curve
    assert len(curve) == 12
    assert curve[0]["kl"] == 0.0
    assert curve[0]["kl_k3"] == 0.0
    assert curve[0]["clip_fraction"] == 0.0
    rewards = [row["reward"] for row in curve]
    assert mean(rewards[-4:]) > mean(rewards[:2]) + 0.3
    assert all(math.isfinite(value) for row in curve for value in row.values())
    assert 0.0 < curve[-1]["kl"] < 20.0
    assert {row["kl_coefficient"] for row in curve} == {0.02}


@pytest.mark.slow
@pytest.mark.parametrize(("tuning", "stop"), [(FULL, interrupt_training), (LORA, kill_training)], ids=["full", "lora"])
def test_stopped_and_resumed_is_undisturbed(
    start: Path, reward_model: Path, tmp_path: Path, tuning: dict[str, Any], stop: Callable[[Job, int], None]
) -> None:
    chosen = {"kl_target": 1.0}  # the coefficient is part of the state
    calm = short_job(start, reward_model, tmp_path / "calm", tuning=tuning, hyperparameters=chosen)
    undisturbed = train(calm, nothing)
    killed = calm.model_copy(update={"work": tmp_path / "killed" / "work"})
    stop(killed, 5)
    states = sorted(path.name for path in (killed.work / "states").iterdir())
    assert states == ["step-4"]
    seen: list[int] = []
    resumed = train(killed, lambda label, done, total: seen.append(done))
    assert seen == [4, 5, 6]
    assert same_files(resumed.folder, undisturbed.folder)
    assert resumed.curve == undisturbed.curve
    assert len({row["kl_coefficient"] for row in resumed.curve}) > 2
    assert not (killed.work / "states").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.bin", "state.json"])
def test_a_damaged_state_is_not_gone_on_from(start: Path, reward_model: Path, tmp_path: Path, file: str) -> None:
    calm = short_job(start, reward_model, tmp_path / "calm", epochs=1, runtime={"checkpoint_every": 1})
    undisturbed = train(calm, nothing)
    killed = calm.model_copy(update={"work": tmp_path / "killed" / "work"})
    interrupt_training(killed, 2)
    (state,) = (killed.work / "states").iterdir()
    (state / file).write_bytes((state / file).read_bytes()[:-10])
    seen: list[int] = []
    resumed = train(killed, lambda label, done, total: seen.append(done))
    assert seen[0] == 0
    assert same_files(resumed.folder, undisturbed.folder)
    assert resumed.curve == undisturbed.curve


def test_lora_trains_the_language_model_alone(start: Path, reward_model: Path, tmp_path: Path) -> None:
    job = short_job(start, reward_model, tmp_path, tuning=LORA | {"train_projector": False})
    result = train(job, nothing)
    assert result.curve[0]["kl"] == 0.0
    before, after = (AutoModelForImageTextToText.from_pretrained(path).state_dict() for path in (start, result.folder))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(".language_model." in name and "proj" in name for name in changed)


def test_passes_do_not_change_the_step(start: Path, reward_model: Path, tmp_path: Path) -> None:
    """The loss is the mean over the tokens of the whole batch, however it is cut."""
    losses = []
    for size in (2, 8):
        job = short_job(start, reward_model, tmp_path / str(size), epochs=1, runtime={"per_device_batch": size})
        losses.append(train(job, nothing).curve[1])
    for name in ("reward", "kl", "policy_loss", "value_loss"):
        assert losses[0][name] == pytest.approx(losses[1][name], abs=1e-4)


def test_stops_on_kl(start: Path, reward_model: Path, tmp_path: Path) -> None:
    chosen = {"kl_stop": 0.3, "kl_coefficient": 0.0}
    curve = train(short_job(start, reward_model, tmp_path, epochs=20, hyperparameters=chosen), nothing).curve
    assert len(curve) < 40
    assert curve[-1]["kl"] > 0.3
    assert curve[-1]["stopped_early"] == 1.0
    assert all(row["kl"] <= 0.3 for row in curve[:-1])


def test_divergence_names_the_step(start: Path, reward_model: Path, tmp_path: Path) -> None:
    job = short_job(start, reward_model, tmp_path, learning_rate=1e30, warmup_steps=0, max_grad_norm=1e30)
    with pytest.raises(NotFiniteError, match=r"PPO's \w+ is (nan|inf|-inf) in step 1|step 2"):
        train(job, nothing)


def test_all_options_together(start: Path, reward_model: Path, tmp_path: Path) -> None:
    """Whitened rewards, a penalty, an own rate of the values and checkpointing, in one run."""
    chosen = {
        "whiten_rewards": True,
        "whiten_advantages": False,
        "missing_end_penalty": 1.0,
        "value_learning_rate": 1e-2,
        "gae_lambda": 0.9,
    }
    job = short_job(start, reward_model, tmp_path, hyperparameters=chosen, runtime={"gradient_checkpointing": True})
    curve = train(job, nothing).curve
    assert len(curve) == 6
    assert all(math.isfinite(value) for row in curve for value in row.values())


def test_checkpointing_of_activations_changes_nothing(start: Path, reward_model: Path, tmp_path: Path) -> None:
    folders = []
    for name in ("plain", "checkpointed"):
        runtime = {"gradient_checkpointing": name == "checkpointed"}
        job = short_job(start, reward_model, tmp_path / name, epochs=1, runtime=runtime)
        folders.append(train(job, nothing).folder)
    assert same_files(*folders)


def test_a_reward_model_with_other_tokens_is_refused(start: Path, reward_model: Path, tmp_path: Path) -> None:
    other = build_checkpoint(tmp_path / "other")
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"word239"', '"word999"'))
    with pytest.raises(EngineError, match="other tokens than the policy"):
        train(short_job(other, reward_model, tmp_path), nothing)
