"""The methods of TRL on a tiny random model: what they learn, what they measure, and that they go on after a kill."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from spavl_dag.errors import MissingInputError, ParamsError
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.transformers_engine import TransformersEngine
from spavl_dag.inference.request import Decoding, Request, single_turn
from spavl_dag.training import trl_common
from spavl_dag.training.examples import read_rows
from spavl_dag.training.job import Job
from spavl_dag.training.loop import NotFiniteError
from spavl_dag.training.models import load_policy
from spavl_dag.training.progress import read_curve
from spavl_dag.training.reward.model import RewardPrompt, new_reward_model, save_reward_model
from spavl_dag.training.runner import TrainingResult, reward_encoders, train
from spavl_dag.training.state import FINAL, SUMMARY
from tests.inference.engines.tiny_llava import file_ref, picture
from tests.training.killing import kill_training, same_files
from tests.training.tiny_jobs import FULL, LORA, TEMPLATE, make_job, nothing, rows_and_encoder

DPO = {"beta": 0.1}
GROUP = {"beta": 0.05, "generations": 2, "temperature": 1.0, "max_new_tokens": 6}
HYPERPARAMETERS: Mapping[str, Mapping[str, Any]] = {"sft": {}, "dpo": DPO, "grpo": GROUP, "rloo": GROUP}


@pytest.fixture(scope="session")
def rater(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that was never trained: its head is random, so that answers differ."""
    folder = tmp_path_factory.mktemp("rater") / "final"
    torch.manual_seed(5)
    tuning = make_job("dpo", start, folder.parent, hyperparameters=DPO).training.tuning
    loaded = load_policy(str(start), None, tuning, "cpu", "float32")
    model = new_reward_model(loaded)
    torch.nn.init.normal_(model.head.weight)
    save_reward_model(model, loaded, RewardPrompt(TEMPLATE, None, 96), folder)
    return folder


def job_of(method: Any, start: Path, folder: Path, rater: Path | None = None, **changes: Any) -> Job:
    return make_job(method, start, folder, hyperparameters=HYPERPARAMETERS[method], reward_model=rater, **changes)


class Stopped(Exception):
    """Stands for whatever ends a process."""


def run_until(job: Job, step: int) -> None:
    """Train and stop dead when `step` steps are done."""

    def progress(label: str, done: int, _total: int) -> None:
        if label == job.method and done == step:
            raise Stopped

    with pytest.raises(Stopped):
        train(job, progress)


def test_sft_learns_the_answers_and_to_stop(start: Path, tmp_path: Path) -> None:
    job = job_of("sft", start, tmp_path, pairs=8, epochs=30, learning_rate=1e-2)
    rows = pl.read_parquet(job.rows).with_columns(chosen=pl.lit("word5 word6 word7"))
    rows.write_parquet(job.rows)
    assert ends_of(str(start), job) != {("word5 word6 word7", "stop")}
    result = train(job, nothing)
    assert ends_of(str(result.folder), job) == {("word5 word6 word7", "stop")}
    assert result.curve[-1]["sft/token_accuracy"] == 1.0
    assert result.curve[-1]["loss"] < 0.1 * result.curve[0]["loss"]


def ends_of(model: str, job: Job) -> set[tuple[str, str]]:
    """What the evaluation's engine gets from a model for the rows of a job."""
    engine = TransformersEngine(EngineSettings("transformers", model, device="cpu", dtype="float32"))
    rows = read_rows(job.rows)
    asked = [Request(row.row_id.encode(), single_turn(row.question, row.image), 0) for row in rows]
    results = [each for batch in engine.generate(asked, Decoding(max_new_tokens=12)) for each in batch]
    return {(result.text, result.finish_reason) for result in results}


@pytest.mark.parametrize("tuning", [FULL, LORA], ids=["full", "lora"])
def test_dpo_prefers_the_chosen_answers(start: Path, tmp_path: Path, tuning: Any) -> None:
    job = job_of("dpo", start, tmp_path, tuning=tuning, epochs=4)
    result = train(job, nothing)
    first, last = result.curve[0], result.curve[-1]
    # Policy and reference are the same at first: no margin, and the loss of a coin flip.
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["dpo/reward_margin"] == pytest.approx(0, abs=1e-6)
    assert last["dpo/reward_accuracy"] == 1.0
    assert last["dpo/reward_margin"] > 1
    assert last["dpo/logps_rejected"] < first["dpo/logps_rejected"]
    assert [row["step"] for row in result.curve] == list(range(1, 17))
    assert result.summary["steps"] == 16
    assert result.summary["rows"] == 32
    assert result.summary["last"]["loss"] == last["loss"]


def test_the_margin_is_the_one_of_sums_of_log_probabilities(start: Path, tmp_path: Path) -> None:
    """One batch a step: what the second step logs is computed here from the weights after the first."""
    runtime = {"per_device_batch": 8, "checkpoint_every": 1}
    job = job_of("dpo", start, tmp_path, pairs=8, epochs=3, warmup_steps=0, runtime=runtime)
    run_until(job, 3)
    logged = read_curve(job.work)[-1]
    assert logged["step"] == 2
    rows, encoder = rows_and_encoder(job)
    policy = AutoModelForImageTextToText.from_pretrained(job.model)
    before = sums_of_answers(policy, rows, encoder)
    policy.load_state_dict(load_file(job.work / "checkpoints" / "checkpoint-1" / "trained.safetensors"), strict=False)
    after = sums_of_answers(policy, rows, encoder)
    rewards = {side: 0.1 * (after[side] - before[side]) for side in ("chosen", "rejected")}
    margins = rewards["chosen"] - rewards["rejected"]
    assert margins.abs().max() > 0.1
    assert logged["dpo/reward_chosen"] == pytest.approx(rewards["chosen"].mean().item(), abs=1e-4)
    assert logged["dpo/reward_margin"] == pytest.approx(margins.mean().item(), abs=1e-4)
    assert logged["dpo/reward_accuracy"] == pytest.approx((margins > 0).float().mean().item())
    assert logged["loss"] == pytest.approx(-torch.nn.functional.logsigmoid(margins).mean().item(), abs=1e-4)


def sums_of_answers(model: Any, rows: Any, encoder: Any) -> dict[str, torch.Tensor]:
    """For each row the sum of its answers' token log-probabilities, by plain transformers."""
    sums: dict[str, list[float]] = {"chosen": [], "rejected": []}
    for row in rows:
        for side, found in sums.items():
            batch = encoder.sequences([row.question], [row.image], [getattr(row, side)])
            learnt = batch.pop("completion_mask")[:, 1:]
            with torch.no_grad():
                logps = model(**batch).logits.log_softmax(-1)[:, :-1]
            found.append((logps.gather(-1, batch["input_ids"][:, 1:, None])[..., 0] * learnt).sum().item())
    return {side: torch.tensor(found) for side, found in sums.items()}


def test_an_added_loss_on_the_chosen_answers_raises_them(start: Path, tmp_path: Path) -> None:
    plain = train(job_of("dpo", start, tmp_path / "plain"), nothing)
    chosen = {"beta": 0.1, "sft_weight": 1.0}
    added = train(make_job("dpo", start, tmp_path / "added", hyperparameters=chosen), nothing)
    assert added.curve[0]["loss"] > plain.curve[0]["loss"] + 1
    assert added.curve[-1]["dpo/logps_chosen"] > plain.curve[-1]["dpo/logps_chosen"] + 1


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_groups_raise_the_reward(start: Path, tmp_path: Path, rater: Path, method: Any) -> None:
    chosen = {"beta": 0.01, "generations": 4, "temperature": 1.0, "max_new_tokens": 6}
    optimizer: dict[str, Any] = {"batch_size": 32, "epochs": 16, "learning_rate": 1e-2}
    runtime = {"per_device_batch": 32, "checkpoint_every": 100}
    job = make_job(
        method, start, tmp_path, hyperparameters=chosen, reward_model=rater, pairs=16, runtime=runtime, **optimizer
    )
    result = train(job, nothing)
    rewards = [row[f"{method}/reward"] for row in result.curve]
    assert len(rewards) == 32
    # The rewards of single answers spread over 5.
    assert sum(rewards[-8:]) / 8 > sum(rewards[:8]) / 8 + 1.5
    assert result.curve[0][f"{method}/kl"] == pytest.approx(0, abs=1e-6)
    assert result.curve[-1][f"{method}/kl"] > 0.01
    for name in ("answer_length", "ended_share", "entropy", "reward_std"):
        assert all(math.isfinite(row[f"{method}/{name}"]) for row in result.curve)
    assert 0 <= result.curve[0][f"{method}/ended_share"] <= 1


def final_bytes(result: TrainingResult) -> bytes:
    return (result.folder / "model.safetensors").read_bytes()


CASES = [("sft", FULL), ("sft", LORA), ("dpo", FULL), ("dpo", LORA), ("grpo", FULL), ("rloo", LORA)]


@pytest.mark.parametrize(("method", "tuning"), CASES, ids=[f"{m}-{t['mode']}" for m, t in CASES])
def test_an_interrupted_training_ends_with_the_same_bits(
    start: Path, tmp_path: Path, rater: Path, method: str, tuning: Any
) -> None:
    """Stopped three times: it goes on in the middle of the first epoch, at its end, and in the middle of the second."""
    pairs = 12 if HYPERPARAMETERS[method] is GROUP else 24  # 3 steps in each of 2 epochs
    runtime = {"checkpoint_every": 1}
    jobs = [
        job_of(method, start, tmp_path / name, rater, tuning=tuning, pairs=pairs, runtime=runtime)
        for name in ("whole", "parts")
    ]
    whole = train(jobs[0], nothing)
    assert whole.summary["steps"] == 6
    for step in (3, 4, 6):  # each before its own checkpoint is made
        run_until(jobs[1], step)
    parts = train(jobs[1], nothing)
    assert parts.curve == whole.curve
    assert same_files(parts.folder, whole.folder)
    assert parts.summary == whole.summary


@pytest.mark.parametrize(("method", "tuning"), CASES[:4], ids=[f"{m}-{t['mode']}" for m, t in CASES[:4]])
def test_a_training_that_ended_without_saving_ends_with_the_same_bits(
    start: Path, tmp_path: Path, method: str, tuning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on, it has no step left to make, so nothing is tokenized after the prompts were measured."""
    jobs = [
        job_of(method, start, tmp_path / name, tuning=tuning, pairs=8, epochs=1, runtime={"checkpoint_every": 1})
        for name in ("whole", "parts")
    ]

    def stop(*_: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(trl_common, "publish", stop)
        with pytest.raises(Stopped):
            train(jobs[1], nothing)
    assert not (jobs[1].work / FINAL).exists()
    assert same_files(train(jobs[1], nothing).folder, train(jobs[0], nothing).folder)


@pytest.mark.slow
def test_killed_in_another_process_and_a_broken_checkpoint(start: Path, tmp_path: Path) -> None:
    jobs = [job_of("dpo", start, tmp_path / name) for name in ("whole", "parts")]
    whole = train(jobs[0], nothing)
    kill_training(jobs[1], 7)
    checkpoints = jobs[1].work / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"checkpoint-3", "checkpoint-6"}
    # As if it had been killed while it wrote the second one.
    (checkpoints / "checkpoint-6" / "whole").unlink()
    (checkpoints / "checkpoint-6" / "optimizer.pt").write_bytes(b"half")
    assert same_files(train(jobs[1], nothing).folder, whole.folder)


@pytest.mark.parametrize("damaged", ["newest", "all", "notes"])
def test_damaged_states_cost_no_more_than_their_steps(start: Path, tmp_path: Path, damaged: str) -> None:
    """Cut, flipped or lost files: an older whole state is used, or none, and the weights are the same."""
    runtime = {"checkpoint_every": 1}
    jobs = [job_of("dpo", start, tmp_path / name, pairs=24, epochs=1, runtime=runtime) for name in ("whole", "parts")]
    whole = train(jobs[0], nothing)
    run_until(jobs[1], 3)  # before its checkpoint is made
    work = jobs[1].work
    one, two = work / "checkpoints" / "checkpoint-1", work / "checkpoints" / "checkpoint-2"
    if damaged == "newest":
        content = bytearray((two / "optimizer.pt").read_bytes())
        content[len(content) // 2] ^= 1
        (two / "optimizer.pt").write_bytes(content)
    elif damaged == "all":
        (two / "trained.safetensors").write_bytes((two / "trained.safetensors").read_bytes()[:1000])
        (one / "trainer_state.json").unlink()
    else:
        (two / "whole").write_text("{")
        (work / "rejected.parquet").write_bytes(b"PAR1")
        (work / "curve.jsonl").write_bytes((work / "curve.jsonl").read_bytes() + b"\xff\xfe")
    seen: list[int] = []
    parts = train(jobs[1], lambda label, done, _total: seen.append(done) if label == "dpo" else None)
    assert seen[0] == (0 if damaged == "all" else 1)
    assert same_files(parts.folder, whole.folder)
    assert parts.curve == whole.curve


@pytest.mark.parametrize("name", ["summary.json", "rejected.parquet"])
def test_damaged_notes_of_a_finished_training_are_made_again(start: Path, tmp_path: Path, name: str) -> None:
    job = job_of("dpo", start, tmp_path, pairs=8, epochs=1)
    before = train(job, nothing)
    (job.work / name).write_bytes((job.work / name).read_bytes()[:20])
    after = train(job, nothing)
    assert (after.summary, after.curve) == (before.summary, before.curve)
    assert after.rejected.equals(before.rejected)


def test_a_reward_model_with_another_processor_reads_along(start: Path, tmp_path: Path, rater: Path) -> None:
    job = job_of("grpo", start, tmp_path, rater)
    _, encoder = rows_and_encoder(job)
    assert reward_encoders(job, encoder) == []
    other = Path(shutil.copytree(rater, tmp_path / "other"))
    config = json.loads((other / "processor_config.json").read_text())
    config["image_processor"]["image_mean"] = [0.5, 0.5, 0.5]
    (other / "processor_config.json").write_text(json.dumps(config))
    (reader,) = reward_encoders(job.model_copy(update={"reward_model": other}), encoder)
    assert list(reader.processor.image_processor.image_mean) == [0.5, 0.5, 0.5]
    assert reward_encoders(job_of("dpo", start, tmp_path, other), encoder) == []


def test_a_finished_training_is_returned_at_once(start: Path, tmp_path: Path) -> None:
    job = job_of("dpo", start, tmp_path, pairs=8, epochs=1)
    first = train(job, nothing)
    job.rows.unlink()  # nothing is read again
    again = train(job.model_copy(update={"model": "nowhere"}), nothing)
    assert (again.curve, again.summary, again.folder) == (first.curve, first.summary, first.folder)


def test_a_training_that_saved_but_did_not_finish_is_not_done(start: Path, tmp_path: Path) -> None:
    job = job_of("sft", start, tmp_path, pairs=8, epochs=1)
    first = train(job, nothing)
    before = final_bytes(first)
    (job.work / SUMMARY).unlink()
    (job.work / FINAL / "model.safetensors").write_bytes(b"half")
    assert final_bytes(train(job, nothing)) == before


def test_rejected_rows_are_counted_and_not_trained_on(start: Path, tmp_path: Path) -> None:
    job = job_of("dpo", start, tmp_path, pairs=16, epochs=1)
    rows = pl.read_parquet(job.rows)
    long = pl.when(pl.col("row_id") == "r1-003").then(pl.lit("word1 " * 200)).otherwise(pl.col("chosen"))
    half = tmp_path / "half.png"
    half.write_bytes(picture(1).read()[:100])
    other = pl.col("row_id") == "r1-005"
    image = pl.when(other).then(pl.lit(str(half))).otherwise(pl.col("image"))
    sha256 = pl.when(other).then(pl.lit(file_ref(half).sha256)).otherwise(pl.col("sha256"))
    rows.with_columns(chosen=long, image=image, sha256=sha256).write_parquet(job.rows)
    result = train(job, nothing)
    assert result.summary["rejected"] == {"too_long": 1, "truncated": 1}
    assert result.summary["rows"] == 14
    assert result.rejected["row_id"].to_list() == ["r1-003", "r1-005"]
    assert result.rejected["tokens"][0] > 200


def test_accumulation_and_checkpointing_change_little(start: Path, tmp_path: Path) -> None:
    """Splitting a batch, and computing activations twice, give the same training up to rounding."""
    plain, split, again = (
        train(job_of("dpo", start, tmp_path / name, pairs=16, epochs=1, runtime=runtime), nothing)
        for name, runtime in (
            ("plain", {"per_device_batch": 8}),
            ("split", {"per_device_batch": 2}),
            ("again", {"per_device_batch": 8, "gradient_checkpointing": True}),
        )
    )
    for other in (split, again):
        for mine, theirs in zip(plain.curve, other.curve, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-3)


def test_lora_trains_with_checkpointing(start: Path, tmp_path: Path) -> None:
    result = train(
        job_of("dpo", start, tmp_path, tuning=LORA, runtime={"gradient_checkpointing": True}, epochs=4), nothing
    )
    assert result.curve[-1]["dpo/reward_margin"] > 1


def test_a_loss_that_is_no_number_ends_the_training(start: Path, tmp_path: Path) -> None:
    job = job_of("sft", start, tmp_path, pairs=16, learning_rate=1e12, max_grad_norm=1e12)
    with pytest.raises(NotFiniteError, match="learning_rate"):
        train(job, nothing)
    assert not (job.work / SUMMARY).exists()


def test_params_that_do_not_fit_are_named(start: Path, tmp_path: Path, rater: Path) -> None:
    with pytest.raises(MissingInputError, match="reward model"):
        train(job_of("grpo", start, tmp_path), nothing)
    with pytest.raises(ParamsError, match="per_device_batch 3"):
        train(job_of("dpo", start, tmp_path, runtime={"per_device_batch": 3}), nothing)
    with pytest.raises(ParamsError, match="needs 32 questions, there are 8"):
        train(job_of("grpo", start, tmp_path / "few", rater, batch_size=64, pairs=8), nothing)
    with pytest.raises(MissingInputError, match="accelerate"):
        train(job_of("dpo", start, tmp_path, runtime={"accelerate": "nowhere.yaml"}), nothing)
