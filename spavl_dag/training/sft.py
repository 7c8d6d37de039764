"""Supervised fine-tuning on the chosen answers, the baseline of the methods that see preferences; by TRL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from spavl_dag.progress import Progress
from spavl_dag.training.examples import Encoder, PreferenceRow
from spavl_dag.training.job import Job
from spavl_dag.training.models import lora_config
from spavl_dag.training.progress import renamed
from spavl_dag.training.trl_common import (
    COMMON_METRICS,
    ExactStates,
    RowCollator,
    common_arguments,
    load_for,
    numbered,
    run_trainer,
)

VERSION = 1

_METRICS = COMMON_METRICS | {"mean_token_accuracy": "sft/token_accuracy", "entropy": "sft/entropy"}
_IGNORED = -100


class _Trainer(ExactStates, SFTTrainer):
    pass


def _only_answers(encoder: Encoder, rows: Sequence[PreferenceRow]) -> dict[str, Any]:
    """Model inputs with labels on the answers' tokens, each of shape (rows, tokens)."""
    batch = encoder.chosen(rows)
    learnt = batch.pop("completion_mask").bool()
    return batch | {"labels": batch["input_ids"].masked_fill(~learnt, _IGNORED)}


def train_sft(job: Job, rows: Sequence[PreferenceRow], encoder: Encoder, progress: Progress) -> None:
    """Train on the chosen answers; see `runner` for what is left in the work folder."""
    loaded = load_for(job, encoder.processor)
    trainer = _Trainer(
        model=loaded.model,
        args=SFTConfig(**common_arguments(job), max_length=None, packing=False),
        data_collator=RowCollator(rows, partial(_only_answers, encoder)),
        train_dataset=numbered(len(rows)),
        processing_class=loaded.processor,
        peft_config=lora_config(loaded.model, job.training.tuning),
    )
    run_trainer(trainer, job, loaded, renamed(_METRICS), progress)
