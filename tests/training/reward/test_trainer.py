"""The reward model's training: it learns, and a kill changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spavl_dag.errors import MissingInputError, ParamsError
from spavl_dag.training.job import Job
from spavl_dag.training.reward.measuring import measure_reward_model
from spavl_dag.training.reward.pictures import calibration_plot, margin_histogram
from spavl_dag.training.runner import train
from tests.inference.engines.tiny_llava import file_ref, picture
from tests.training.killing import interrupt_training, kill_training, same_files
from tests.training.tiny_jobs import FULL, LORA, make_job, nothing


def test_learns_to_tell_the_better_answer(start: Path, tmp_path: Path) -> None:
    runtime = {"per_device_batch": 16, "checkpoint_every": 100}
    job = make_job("reward", start, tmp_path, pairs=96, batch_size=16, epochs=5, runtime=runtime)
    assert train(job, nothing).curve[0]["loss"] == pytest.approx(0.6931, abs=1e-4)  # guessing
    result = measure_reward_model(job)
    assert result.metrics["accuracy"] >= 0.9
    assert result.metrics["accuracy_low"] > 0.7
    assert result.metrics["margin"] > 1.0
    assert len(result.pairs) == result.metrics["pairs"] == 24
    assert result.calibration["n"].sum() == 24
    assert calibration_plot(result.calibration).png.startswith(b"\x89PNG")
    assert margin_histogram(result.pairs).png.startswith(b"\x89PNG")
    # Finished: it isn't done again, not even where it couldn't be.
    (job.rows).unlink()
    train(job, nothing)
    assert measure_reward_model(job).metrics == result.metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tuning", "stop"),
    [(FULL, kill_training), (LORA | {"lora": {"rank": 4, "alpha": 8, "dropout": 0.2}}, interrupt_training)],
    ids=["full", "lora with dropout"],
)
def test_stopped_and_resumed_is_undisturbed(
    start: Path, tmp_path: Path, tuning: dict[str, Any], stop: Callable[[Job, int], None]
) -> None:
    calm = make_job("reward", start, tmp_path / "calm", tuning=tuning)
    undisturbed = train(calm, nothing)
    stopped = calm.model_copy(update={"work": tmp_path / "stopped" / "work"})
    stop(stopped, 5)
    assert [path.name for path in (stopped.work / "states").iterdir()] == ["step-3"]
    # A state that was cut short is passed over.
    (stopped.work / "states" / "unfinished-6").mkdir()
    (stopped.work / "states" / "step-99").mkdir()
    resumed = train(stopped, nothing)
    assert same_files(resumed.folder, undisturbed.folder)
    assert resumed.curve == undisturbed.curve
    assert [row["step"] for row in resumed.curve] == list(range(1, 9))


def test_passes_do_not_change_the_step(start: Path, tmp_path: Path) -> None:
    losses = []
    for size in (2, 8):
        job = make_job("reward", start, tmp_path / str(size), epochs=1, runtime={"per_device_batch": size})
        losses.append([row["loss"] for row in train(job, nothing).curve])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_unreadable_held_out_pairs_are_counted(start: Path, tmp_path: Path) -> None:
    job = make_job("reward", start, tmp_path, epochs=1)
    assert job.validation is not None
    table = pl.read_parquet(job.validation)
    half = tmp_path / "half.png"
    half.write_bytes(picture(1).read()[:100])
    broken = pl.col("row_id") == "r2-003"
    image = pl.when(broken).then(pl.lit(str(half))).otherwise(pl.col("image"))
    sha256 = pl.when(broken).then(pl.lit(file_ref(half).sha256)).otherwise(pl.col("sha256"))
    table.with_columns(image=image, sha256=sha256).write_parquet(job.validation)
    train(job, nothing)
    metrics = measure_reward_model(job).metrics
    assert (metrics["pairs"], metrics["rejected_pairs"]) == (23, 1)


def test_what_cannot_be_trained_is_refused(start: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="batch_size"):
        train(make_job("reward", start, tmp_path / "a", batch_size=6), nothing)
    with pytest.raises(MissingInputError, match="no held-out pairs"):
        train(make_job("reward", start, tmp_path / "b").model_copy(update={"validation": None}), nothing)
