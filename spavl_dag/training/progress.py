"""What a training tells while it runs: a curve on disk, and how far it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spavl_dag.progress import Progress
from spavl_dag.training.loop import NotFiniteError

CURVE_FILE = "curve.jsonl"


class Curve:
    """The numbers of a training, step by step, in `curve.jsonl`.

    Each line is {"step": int, metric: float, …}. A line is on the disk before training goes on.
    """

    def __init__(self, work: Path, resumed_step: int = 0) -> None:
        """Open the curve of a work folder; rows beyond the step that training resumes from are dropped.

        Args:
            work: Folder of the training's state.
            resumed_step: Last step that the resumed state holds; 0 starts anew.
        """
        self._file = work / CURVE_FILE
        kept = [row for row in read_curve(work) if row["step"] <= resumed_step]
        work.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text("".join(map(_line, kept)), encoding="utf-8")
        temporary.replace(self._file)

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add what one step measured; numbers that aren't finite are left out."""
        finite = {name: float(value) for name, value in sorted(metrics.items()) if math.isfinite(value)}
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(_line({"step": step, **finite}))


def read_curve(work: Path) -> list[dict[str, Any]]:
    """Rows of a work folder's curve; a last line that was cut short by a kill, and all behind damage, is left out."""
    file = work / CURVE_FILE
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or "step" not in row:
            break
        rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


class CurveCallback(TrainerCallback):
    """Feeds a trainer's logs into the curve, under this project's names, and reports progress."""

    def __init__(
        self,
        curve: Curve,
        translate: Callable[[Mapping[str, Any]], Mapping[str, float]],
        progress: Progress,
        label: str,
    ) -> None:
        """Keep them.

        Args:
            curve: Where numbers go.
            translate: From a trainer's logs to a row of the curve.
            progress: Told about steps.
            label: What the progress is called.
        """
        self._curve = curve
        self._translate = translate
        self._progress = progress
        self._label = label

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say where training starts; a resumed one doesn't start at 0."""
        self._report(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Say how far it is."""
        self._report(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a row of the curve.

        Raises:
            NotFiniteError: The loss isn't finite; what would follow is no training.
        """
        if not logs or "loss" not in logs:  # the last log of a training only sums up
            return
        if not math.isfinite(logs["loss"]):
            raise NotFiniteError(
                f"the loss of {self._label} is {logs['loss']} at step {state.global_step}",
                "Lower optimizer.learning_rate or optimizer.max_grad_norm.",
            )
        if state.is_world_process_zero:
            self._curve.append(state.global_step, self._translate(logs))

    def _report(self, state: TrainerState) -> None:
        if state.is_world_process_zero:
            self._progress(self._label, state.global_step, state.max_steps)


def renamed(names: Mapping[str, str]) -> Callable[[Mapping[str, Any]], dict[str, float]]:
    """A translation that keeps only the named metrics: ours by the trainer's name."""

    def translate(logs: Mapping[str, Any]) -> dict[str, float]:
        return {ours: float(logs[theirs]) for theirs, ours in names.items() if logs.get(theirs) is not None}

    return translate
