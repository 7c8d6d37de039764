"""The reward model's training: the pairwise logistic loss on both answers of a pair (paper, 'Training')."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from spavl_dag.errors import MissingInputError
from spavl_dag.inference.engines.loading import pick_device, pick_dtype
from spavl_dag.progress import Progress
from spavl_dag.training.examples import Encoder, PreferenceRow, read_rows, reject_untrainable
from spavl_dag.training.job import Job
from spavl_dag.training.loop import (
    NotFiniteError,
    RowOrder,
    States,
    count_steps,
    deterministic,
    draw_seed,
    enable_checkpointing,
    make_accelerator,
    make_optimizer,
    trainable,
)
from spavl_dag.training.models import load_policy
from spavl_dag.training.progress import Curve
from spavl_dag.training.reward.evaluation import pair_table
from spavl_dag.training.reward.model import RewardModel, RewardPrompt, new_reward_model, save_reward_model
from spavl_dag.training.reward.scorer import score_answers
from spavl_dag.training.sequences import inputs_for
from spavl_dag.training.state import FINAL, publish

VERSION = 1

HELD_OUT = "held_out.parquet"
"""Table `RewardPairs` of the validation pairs, in the work folder."""


def train_reward(job: Job, rows: Sequence[PreferenceRow], encoder: Encoder, progress: Progress) -> None:
    """Train a reward model, or go on where an interrupted training of the same work folder was.

    Leaves `final/` (see `save_reward_model`), `curve.jsonl` (loss, accuracy and margin of each batch, learning_rate)
    and `held_out.parquet` in the work folder.

    Args:
        job: Method "reward".
        rows: Pairs to train on; all fit `encoder.max_length` and have readable pictures.
        encoder: Of the model's processor and the job's prompt.
        progress: Told about steps.

    Raises:
        NotFiniteError: The loss is no number any more.
        ParamsError: The batch can't be spread over the devices.
        MissingInputError: There are no held-out pairs.
        UntrainableRowsError: None of them can be read.
    """
    held_out = _held_out_rows(job, encoder)
    optimizer, runtime = job.training.optimizer, job.runtime
    accelerator, size = make_accelerator(
        job.device, pick_dtype(job.dtype, pick_device(job.device)), optimizer.batch_size, runtime.per_device_batch
    )
    torch.manual_seed(job.seed)
    loaded = load_policy(job.model, job.revision, job.training.tuning, job.device, job.dtype)
    model = new_reward_model(loaded)
    if runtime.gradient_checkpointing:
        enable_checkpointing(loaded.model)
    steps = count_steps(len(rows), optimizer)
    adamw, schedule = make_optimizer([(trainable(model), optimizer.learning_rate)], optimizer, steps)
    prepared, adamw = accelerator.prepare(model, adamw)
    states = States(accelerator, job.work, schedule)
    done, _ = states.restore()
    curve = Curve(job.work, done) if accelerator.is_main_process else None
    order = RowOrder(len(rows), job.seed)

    with deterministic(accelerator.device):
        for step in range(done, steps):
            progress("reward", step, steps)
            prepared.train()
            torch.manual_seed(draw_seed(job.seed, step, accelerator.process_index))  # of LoRA's dropout
            batch = [rows[index] for index in order.batch(step, optimizer.batch_size)]
            mine = batch[accelerator.process_index :: accelerator.num_processes]
            sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
            for start in range(0, len(mine), size):
                with accelerator.accumulate(prepared):
                    margins = _margins(prepared, loaded.model, encoder, mine[start : start + size])
                    # Equal parts: the mean over passes and devices is that over the batch.
                    loss = -logsigmoid(margins).mean()
                    accelerator.backward(loss)
                with torch.no_grad():
                    sums += torch.stack([loss * len(margins), (margins > 0).sum(), margins.sum()]).double()
            loss_mean, accuracy, margin = (accelerator.reduce(sums, "sum") / optimizer.batch_size).tolist()
            if not math.isfinite(loss_mean):
                raise NotFiniteError(
                    f"the reward model's loss is {loss_mean} in step {step + 1}",
                    "Lower reward_model.optimizer.learning_rate or max_grad_norm.",
                )
            accelerator.clip_grad_norm_(trainable(model), optimizer.max_grad_norm)
            rate = schedule.get_last_lr()[0]
            adamw.step()
            schedule.step()
            adamw.zero_grad()
            if curve is not None:
                curve.append(
                    step + 1,
                    {"loss": loss_mean, "accuracy": accuracy, "reward_margin": margin, "learning_rate": rate},
                )
            if (step + 1) % runtime.checkpoint_every == 0 and step + 1 < steps:
                states.save(step + 1, {})
    progress("reward", steps, steps)
    if accelerator.is_main_process:
        model.eval()
        with accelerator.autocast():
            _write_held_out(job.work / HELD_OUT, model, encoder, held_out, runtime.per_device_batch)
        prompt = RewardPrompt(job.template, job.system, optimizer.max_length)
        publish(job.work / FINAL, lambda folder: save_reward_model(model, loaded, prompt, folder))
    accelerator.wait_for_everyone()
    states.clear()


def _held_out_rows(job: Job, encoder: Encoder) -> list[PreferenceRow]:
    """The validation pairs that can be read, found out before the training and not after it."""
    if job.validation is None:
        raise MissingInputError("the reward model has no held-out pairs", "Set dataset.validation_share above 0.")
    kept, _ = reject_untrainable(read_rows(job.validation), encoder, answers=("chosen", "rejected"))
    return kept


def _margins(model: torch.nn.Module, network: Any, encoder: Encoder, pairs: Sequence[PreferenceRow]) -> torch.Tensor:
    """Reward of the chosen minus reward of the rejected answer, in one forward pass; shape (pairs,)."""
    chosen, rejected = model(inputs_for(network, encoder.pairs(pairs))).chunk(2)
    margins: torch.Tensor = chosen - rejected
    return margins


def _write_held_out(
    file: Path, model: RewardModel, encoder: Encoder, pairs: Sequence[PreferenceRow], batch_size: int
) -> None:
    """Rewards of both answers of each held-out pair."""
    questions, images = [pair.question for pair in pairs], [pair.image for pair in pairs]
    chosen, rejected = (
        score_answers(model, encoder, questions, images, answers, batch_size)
        for answers in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    pair_table([pair.row_id for pair in pairs], chosen, rejected).write_parquet(file)
