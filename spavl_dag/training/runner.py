"""Runs a training once: here or on several devices, from the start or from where it was interrupted.

A work folder holds, when it is finished: `final/` (the weights), `curve.jsonl`, `rejected.parquet`, `summary.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.errors import MissingInputError, SpavlError
from spavl_dag.params.training import DpoExperiment, RewardModelParams, RewardReader, SftExperiment, TrainingParams
from spavl_dag.progress import Progress, no_progress
from spavl_dag.training.examples import Encoder, PreferenceRow, read_rows, reject_untrainable
from spavl_dag.training.job import Job
from spavl_dag.training.models import load_processor
from spavl_dag.training.progress import read_curve
from spavl_dag.training.state import CHECKPOINTS, FINAL, REJECTED, SUMMARY, publish_text, read_noted
from spavl_dag.training.versions import Method

TrainMethod = Callable[[Job, Sequence[PreferenceRow], Encoder, Progress], None]
"""Trains, resuming where `job.work` holds a state, and leaves `final/` and a curve there."""

PROGRESS_FILE = "progress.json"
"""What processes of `accelerate launch` write for the one that waits for them."""

MEASURING = "measuring rows"
"""What progress is called before the first step."""

ERROR_FILE = "error.json"
"""Why the first of these processes failed."""

_LOG_FILE = "workers.log"
_ROWS_TOLD = 64
_POLL_SECONDS = 0.5
_TAIL_LINES = 25


class TrainingFailedError(SpavlError):
    """The processes of a training ended with an error."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training left behind.

    Attributes:
        folder: The trained weights.
        curve: Rows {"step": int, metric: float, …}.
        summary: Numbers of the training: method, rows, rejected by reason, steps, last metrics.
        rejected: Rows that couldn't be trained on: row_id, reason, tokens.
    """

    folder: Path
    curve: list[dict[str, Any]]
    summary: dict[str, Any]
    rejected: pl.DataFrame


def train(job: Job, progress: Progress = no_progress) -> TrainingResult:
    """Run a training, or what is left of it; a finished one is returned at once.

    Args:
        job: The job; its work folder may hold a finished or an interrupted run of the same job.
        progress: Told about steps.

    Raises:
        MissingInputError: Rows, the reward model or the config for `accelerate` aren't there.
        ParamsError: The params don't fit together.
        UntrainableRowsError: All rows are too long or have no picture.
        TrainingFailedError: A process of `accelerate launch` failed.
        NotFiniteError: The loss is no number any more.
    """
    if read_noted(job.work / SUMMARY) is None:
        _check(job)
        job.work.mkdir(parents=True, exist_ok=True)
        config = job.runtime.accelerate
        if config is None:
            run_here(job, progress)
        else:
            _sort_out(job, progress)  # once, before several processes read the outcome
            _launch(job, Path(config), progress)
    elif _read_rejected(job.work) is None:
        _sort_out(job, progress)
    return TrainingResult(
        folder=job.work / FINAL,
        curve=read_curve(job.work),
        summary=json.loads((job.work / SUMMARY).read_text(encoding="utf-8")),
        rejected=pl.read_parquet(job.work / REJECTED, glob=False),
    )


def _read_rejected(work: Path) -> pl.DataFrame | None:
    """The rows that were rejected; None where that isn't known, or no more."""
    try:
        return pl.read_parquet(work / REJECTED, glob=False)
    except (OSError, pl.exceptions.PolarsError):
        return None


def run_here(job: Job, progress: Progress) -> None:
    """Train in this process, or in this one of several that `accelerate launch` started."""
    rank = int(os.environ.get("RANK", "0"))
    if "LOCAL_RANK" in os.environ and job.device in ("auto", "cuda"):
        job = job.model_copy(update={"device": _device_of_rank(int(os.environ["LOCAL_RANK"]))})
    rows, encoder = _sort_out(job, progress)
    with warnings.catch_warnings():
        # TRL asks transformers by this old name, and we must: the release that vLLM needs knows no other.
        warnings.filterwarnings("ignore", r".*gradient_checkpointing.* is deprecated", FutureWarning)
        _method(job.method)(job, rows, encoder, progress)
    if rank == 0:
        _write_summary(job, len(rows))
        shutil.rmtree(job.work / CHECKPOINTS, ignore_errors=True)


def _check(job: Job) -> None:
    if isinstance(job.training, RewardReader) and (job.reward_model is None or not job.reward_model.is_dir()):
        raise MissingInputError(
            f"method '{job.method}' needs a reward model, and {job.reward_model} is none",
            "Make the artifact `reward_model` first.",
        )


def _sort_out(job: Job, progress: Progress) -> tuple[list[PreferenceRow], Encoder]:
    """The rows that can be trained on, and their encoder; what was rejected is measured once and kept."""
    processor, end_tokens, context = load_processor(job.model, job.revision)
    stated = job.training.optimizer.max_length
    longest = stated if context is None else min(stated, context)
    encoder = Encoder(processor, job.template, job.system, longest, end_tokens)
    rows = read_rows(job.rows)
    file = job.work / REJECTED
    if (known := _read_rejected(job.work)) is not None:
        rejected = set(known["row_id"])
        return [row for row in rows if row.row_id not in rejected], encoder
    answers, new_tokens = _read_of_rows(job.training)
    kept, table = reject_untrainable(
        _counted(rows, progress), encoder, answers=answers, new_tokens=new_tokens, others=reward_encoders(job, encoder)
    )
    temporary = file.with_suffix(".tmp")
    table.write_parquet(temporary)
    temporary.replace(file)
    return kept, encoder


def reward_encoders(job: Job, encoder: Encoder) -> list[Encoder]:
    """The reward model's encoder, where one reads along whose processor may refuse other pictures than the policy's."""
    if job.reward_model is None or not isinstance(job.training, RewardReader):
        return []
    from spavl_dag.training.reward.model import read_prompt

    processor, end_tokens, _ = load_processor(str(job.reward_model), None)
    if processor.image_processor.to_dict() == encoder.processor.image_processor.to_dict():
        return []
    prompt = read_prompt(job.reward_model)
    return [Encoder(processor, prompt.template, prompt.system, prompt.max_length, end_tokens)]


def _counted(rows: Sequence[PreferenceRow], progress: Progress) -> Iterator[PreferenceRow]:
    """The rows, while it is told how many have been measured: every picture is decoded, which takes a while."""
    for done, row in enumerate(rows):
        if done % _ROWS_TOLD == 0:
            progress(MEASURING, done, len(rows))
        yield row


def _read_of_rows(training: TrainingParams) -> tuple[tuple[str, ...], int]:
    """Which answers a method reads, and how many tokens it generates behind a prompt."""
    match training:
        case SftExperiment():
            return ("chosen",), 0
        case DpoExperiment() | RewardModelParams():
            return ("chosen", "rejected"), 0
        case _:
            return (), training.hyperparameters.max_new_tokens


def _method(name: Method) -> TrainMethod:
    """The function that trains; imported only now, because each brings a heavy library."""
    match name:
        case "sft":
            from spavl_dag.training.sft import train_sft

            return train_sft
        case "dpo":
            from spavl_dag.training.dpo import train_dpo

            return train_dpo
        case "ppo":
            from spavl_dag.training.ppo.trainer import train_ppo

            return train_ppo
        case "reward":
            from spavl_dag.training.reward.trainer import train_reward

            return train_reward
        case "grpo" | "rloo":
            from spavl_dag.training.group import train_group

            return train_group


def _write_summary(job: Job, rows: int) -> None:
    """Say what was done; from here on the training is finished."""
    curve = read_curve(job.work)
    rejected = pl.read_parquet(job.work / REJECTED, glob=False)
    summary = {
        "method": job.method,
        "rows": rows,
        "rejected": dict(rejected.group_by("reason").len().sort("reason").iter_rows()),
        "steps": curve[-1]["step"] if curve else 0,
        "last": {name: value for name, value in curve[-1].items() if name != "step"} if curve else {},
    }
    publish_text(job.work / SUMMARY, json.dumps(summary, indent=2, sort_keys=True) + "\n")


def _launch(job: Job, config: Path, progress: Progress) -> None:
    """Run the job by `accelerate launch` and wait for it."""
    if not config.is_file():
        raise MissingInputError(
            f"config for `accelerate launch` is missing: {config}",
            "Fix runtime.training.accelerate; configs/accelerate/ has some.",
        )
    file = job.work / "job.json"
    publish_text(file, job.to_json())
    for stale in (PROGRESS_FILE, ERROR_FILE):
        (job.work / stale).unlink(missing_ok=True)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += ["-m", "spavl_dag.training.worker", str(file)]
    with (job.work / _LOG_FILE).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                _tell(job.work / PROGRESS_FILE, progress)
        finally:
            _end(process)
    _tell(job.work / PROGRESS_FILE, progress)
    if process.returncode or not (job.work / SUMMARY).is_file():
        raise _failure(job.work, process.returncode)


def _failure(work: Path, returncode: int) -> TrainingFailedError:
    """Why the processes failed: as one of them wrote, or the end of their log."""
    again = f"The whole log is {work / _LOG_FILE}. Run again: training goes on from its last whole checkpoint."
    try:
        told: Mapping[str, Any] = json.loads((work / ERROR_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # killed before it could write
        lines = (work / _LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        told = {"message": "\n".join(lines[-_TAIL_LINES:]), "hint": None}
    return TrainingFailedError(
        f"`accelerate launch` ended with exit code {returncode}: {told['message']}", told["hint"] or again
    )


def _tell(file: Path, progress: Progress) -> None:
    try:
        told: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet
        return
    progress(told["label"], told["done"], told["total"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Don't leave processes behind that go on training when the one that waits is interrupted."""
    import signal

    if process.poll() is not None:
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(process.pid, how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        return


def _device_of_rank(local_rank: int) -> str:
    import torch

    return f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
