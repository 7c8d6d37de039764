"""Direct preference optimization by TRL (Rafailov et al. 2023; paper, 'Training': sums of token log-probabilities)."""

from __future__ import annotations

from collections.abc import Sequence

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from spavl_dag.params.training import DpoExperiment
from spavl_dag.progress import Progress
from spavl_dag.training.examples import Encoder, PreferenceRow
from spavl_dag.training.job import Job
from spavl_dag.training.models import frozen_copy, lora_config
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

_METRICS = COMMON_METRICS | {
    "rewards/margins": "dpo/reward_margin",
    "rewards/accuracies": "dpo/reward_accuracy",
    "rewards/chosen": "dpo/reward_chosen",
    "rewards/rejected": "dpo/reward_rejected",
    "logps/chosen": "dpo/logps_chosen",
    "logps/rejected": "dpo/logps_rejected",
    "entropy": "dpo/entropy",
}


class _Trainer(ExactStates, DPOTrainer):
    pass


def train_dpo(job: Job, rows: Sequence[PreferenceRow], encoder: Encoder, progress: Progress) -> None:
    """Train on pairs; the reference is a frozen copy, or with LoRA the model with its adapter off.

    See `runner` for what is left in the work folder.
    """
    training = job.training
    assert isinstance(training, DpoExperiment)
    loaded, chosen = load_for(job, encoder.processor), training.hyperparameters
    lora = lora_config(loaded.model, training.tuning)
    config = DPOConfig(
        **common_arguments(job),
        max_length=None,
        beta=chosen.beta,
        loss_type=["sigmoid", "sft"] if chosen.sft_weight else ["sigmoid"],
        loss_weights=[1.0, chosen.sft_weight] if chosen.sft_weight else None,
        disable_dropout=lora is None or not lora.lora_dropout,
    )
    trainer = _Trainer(
        model=loaded.model,
        ref_model=frozen_copy(loaded.model, loaded.dtype) if lora is None else None,
        args=config,
        data_collator=RowCollator(rows, encoder.pairs),
        train_dataset=numbered(len(rows)),
        processing_class=loaded.processor,
        peft_config=lora,
    )
    run_trainer(trainer, job, loaded, renamed(_METRICS), progress)
