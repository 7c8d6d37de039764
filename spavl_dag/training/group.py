"""GRPO and RLOO: several answers per question, rated by the reward model and compared with each other; by TRL.

GRPO: Shao et al. 2024, arXiv 2402.03300; RLOO: Ahmadian et al. 2024, arXiv 2402.14740.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from spavl_dag.errors import ParamsError
from spavl_dag.media.decode import decode_image
from spavl_dag.params.training import GrpoExperiment, RlooExperiment
from spavl_dag.progress import Progress
from spavl_dag.training.examples import Encoder, PreferenceRow
from spavl_dag.training.job import Job
from spavl_dag.training.models import lora_config
from spavl_dag.training.progress import renamed
from spavl_dag.training.reward.scorer import RewardScorer
from spavl_dag.training.trl_common import (
    COMMON_METRICS,
    ExactStates,
    common_arguments,
    load_for,
    numbered,
    run_trainer,
)

VERSION = 1

_METRICS = {
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "answer_length",
}


class _Grpo(ExactStates, GRPOTrainer):
    pass


class _Rloo(ExactStates, RLOOTrainer):
    pass


class Prompts:
    """Row numbers to conversations with their decoded images, which is what these trainers ask for."""

    def __init__(self, rows: Sequence[PreferenceRow], encoder: Encoder) -> None:
        """Keep references and conversations; pictures are decoded when a row is drawn."""
        self._images = [row.image for row in rows]
        self._messages = [encoder.messages(row.question) for row in rows]

    def __call__(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Columns row, prompt and image of the drawn rows."""
        drawn = batch["image"]
        return {
            "row": list(drawn),
            "prompt": [self._messages[index] for index in drawn],
            "image": [decode_image(self._images[index].read()) for index in drawn],
        }


def train_group(job: Job, rows: Sequence[PreferenceRow], encoder: Encoder, progress: Progress) -> None:
    """Train with GRPO or RLOO, as the job says; see `runner` for what is left in the work folder.

    Raises:
        ParamsError: There are fewer questions than one batch needs.
    """
    training = job.training
    assert isinstance(training, GrpoExperiment | RlooExperiment)
    chosen = training.hyperparameters
    _check_questions(training.optimizer.batch_size // chosen.generations, len(rows))
    loaded = load_for(job, encoder.processor)
    lora = lora_config(loaded.model, training.tuning)
    classes: tuple[type[Any], type[Any]] = (GRPOConfig, _Grpo) if job.method == "grpo" else (RLOOConfig, _Rloo)
    config_class, trainer_class = classes
    config = config_class(
        **common_arguments(job),
        beta=chosen.beta,
        num_generations=chosen.generations,
        max_completion_length=chosen.max_new_tokens,
        temperature=chosen.temperature,
        disable_dropout=lora is None or not lora.lora_dropout,
        # For the reference, which the trainer loads by the policy's name.
        model_init_kwargs={"revision": job.revision} if job.revision else None,
    )
    trainer = trainer_class(
        model=loaded.model,
        reward_funcs=_rate_by(job, rows),
        args=config,
        train_dataset=numbered(len(rows)).with_transform(Prompts(rows, encoder)),
        processing_class=loaded.processor,
        peft_config=lora,
    )
    names = COMMON_METRICS | {theirs: f"{job.method}/{ours}" for theirs, ours in _METRICS.items()}
    plain = renamed(names)

    def translate(logs: Mapping[str, Any]) -> dict[str, float]:
        return {**plain(logs), f"{job.method}/ended_share": 1.0 - logs["completions/clipped_ratio"]}

    run_trainer(trainer, job, loaded, translate, progress)


def _check_questions(needed: int, rows: int) -> None:
    if rows < needed:
        raise ParamsError(
            f"one step needs {needed} questions, there are {rows}",
            "Lower optimizer.batch_size, or select more rows.",
        )


def _rate_by(job: Job, rows: Sequence[PreferenceRow]) -> Callable[..., list[float]]:
    """The reward model as TRL calls it: with one completion, and the row it answers, per place."""
    assert job.reward_model is not None, "the runner has checked that"
    scorer = RewardScorer(job.reward_model, job.device, job.dtype)

    def reward_model(completions: Sequence[Sequence[Mapping[str, str]]], row: Sequence[int], **_: Any) -> list[float]:
        asked = [rows[index] for index in row]
        answers = [completion[0]["content"] for completion in completions]
        return scorer.score([each.question for each in asked], [each.image for each in asked], answers)

    return reward_model
