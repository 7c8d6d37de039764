"""Supervised fine-tuning on the chosen answers, the baseline of the methods that see preferences; by TRL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from spavl_dag.training.examples import Encoder, PreferenceRow
from spavl_dag.training.job import Job
from spavl_dag.training.models import lora_config
from spavl_dag.training.progress import Progress, renamed
from spavl_dag.training.trl_common import (
    COMMON_METRICS,
    ExactStates,
    common_arguments,
    load_for,
    numbered,
    run_trainer,
    tuning_of,
)

_METRICS = COMMON_METRICS | {"mean_token_accuracy": "sft/token_accuracy", "entropy": "sft/entropy"}
_IGNORED = -100


class _Trainer(ExactStates, SFTTrainer):
    pass


class ChosenCollator:
    """Row numbers to prompts with their chosen answers; only the answer's tokens are learnt."""

    def __init__(self, rows: Sequence[PreferenceRow], encoder: Encoder) -> None:
        """Keep them."""
        self._rows = rows
        self._encoder = encoder

    def __call__(self, examples: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Model inputs with labels, each of shape (rows, tokens)."""
        rows = [self._rows[example["image"]] for example in examples]
        batch = self._encoder.sequences(
            [row.question for row in rows], [row.image for row in rows], [row.chosen for row in rows]
        )
        learnt = batch.pop("completion_mask").bool()
        return batch | {"labels": batch["input_ids"].masked_fill(~learnt, _IGNORED)}


def train_sft(job: Job, rows: Sequence[PreferenceRow], encoder: Encoder, progress: Progress) -> None:
    """Train on the chosen answers; see `runner` for what is left in the work folder."""
    loaded = load_for(job, encoder.processor)
    trainer = _Trainer(
        model=loaded.model,
        args=SFTConfig(**common_arguments(job), max_length=None, packing=False),
        data_collator=ChosenCollator(rows, encoder),
        train_dataset=numbered(len(rows)),
        processing_class=loaded.processor,
        peft_config=lora_config(loaded.model, tuning_of(job)),
    )
    run_trainer(trainer, job, loaded, renamed(_METRICS), progress)
