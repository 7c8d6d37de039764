from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from spavl_dag.training.loop import NotFiniteError
from spavl_dag.training.progress import CURVE_FILE, Curve, CurveCallback, read_curve, renamed


def test_rows_are_kept_as_they_come(tmp_path: Path) -> None:
    curve = Curve(tmp_path)
    curve.append(1, {"loss": 0.5, "a": 1})
    curve.append(2, {"loss": math.nan, "a": 2})
    assert read_curve(tmp_path) == [{"step": 1, "a": 1.0, "loss": 0.5}, {"step": 2, "a": 2.0}]


def test_a_resumed_curve_drops_what_is_trained_again(tmp_path: Path) -> None:
    curve = Curve(tmp_path)
    for step in range(1, 6):
        curve.append(step, {"loss": step})
    with (tmp_path / CURVE_FILE).open("a") as stream:
        stream.write('{"step": 6, "lo')  # killed while writing
    assert [row["step"] for row in read_curve(tmp_path)] == [1, 2, 3, 4, 5]
    Curve(tmp_path, resumed_step=3).append(4, {"loss": 40})
    assert [(row["step"], row["loss"]) for row in read_curve(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 40)]
    Curve(tmp_path)
    assert read_curve(tmp_path) == []


def test_a_callback_renames_and_stops_at_a_loss_that_is_no_number(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    names = {"loss": "loss", "rewards/margins": "dpo/reward_margin"}
    callback = CurveCallback(
        Curve(tmp_path), renamed(names), lambda label, done, total: told.append((label, done, total)), "dpo"
    )
    state = TrainerState(global_step=3, max_steps=9)
    arguments, control = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerControl()
    callback.on_log(arguments, state, control, logs={"loss": 0.7, "rewards/margins": 0.1, "epoch": 1.0})
    callback.on_log(arguments, state, control, logs={"train_runtime": 3.0})
    callback.on_step_end(arguments, state, control)
    assert read_curve(tmp_path) == [{"step": 3, "dpo/reward_margin": 0.1, "loss": 0.7}]
    assert told == [("dpo", 3, 9)]
    with pytest.raises(NotFiniteError, match="loss of dpo is nan at step 3"):
        callback.on_log(arguments, state, control, logs={"loss": math.nan})
    assert json.loads((tmp_path / CURVE_FILE).read_text())["step"] == 3
