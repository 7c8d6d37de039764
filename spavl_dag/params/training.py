"""The choices that decide a trained checkpoint: one kind of entry per method.

Hyper-parameters have no default here: each entry of params.yaml states its own, so that DVC sees every change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from spavl_dag.names import QuestionType
from spavl_dag.params.base import Section
from spavl_dag.params.models import ModelReference, NewTokens

Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Temperature = Annotated[float, Field(gt=0, le=10)]


class DataSelection(Section):
    """Which rows of the dataset's training split are trained on; what is not named is not restricted."""

    pairs: Annotated[
        int | None, Field(ge=1, le=1_000_000_000, description="at most so many, drawn by seed; smaller draws nest")
    ] = None
    question_types: Annotated[list[QuestionType] | None, Field(min_length=1)] = None
    safety_groups: Annotated[
        list[int] | None, Field(min_length=1, description="both answers come from models of these groups")
    ] = None
    classes: Annotated[list[str] | None, Field(min_length=1, description="slugs of harm classes")] = None
    min_agreement: Annotated[
        float, Field(ge=0, le=1, description="share of the pair's verdicts that name the chosen answer")
    ] = 0.0


class LoraParams(Section):
    """Low-rank adapters of the language model; the paper's are rank 256, alpha 512, all linear layers."""

    rank: Annotated[int, Field(ge=1, le=65_536)]
    alpha: Annotated[int, Field(ge=1, le=1_000_000)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[
        Literal["all-linear"] | list[str],
        Field(description="all linear layers of the language model, or the last parts of their names"),
    ] = "all-linear"


class TuningParams(Section):
    """Which weights are trained. The vision tower never is (paper, 'Training')."""

    mode: Literal["full", "lora"]
    lora: LoraParams | None = None
    train_projector: bool

    @model_validator(mode="after")
    def _lora_described(self) -> TuningParams:
        if self.mode == "lora" and self.lora is None:
            raise ValueError("mode is 'lora', so lora.rank and lora.alpha must be stated")
        return self


class OptimizerParams(Section):
    """How weights are stepped; AdamW everywhere."""

    learning_rate: Rate
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    warmup_steps: Annotated[float, Field(ge=0, le=1_000_000_000, description="steps; a share of all steps if below 1")]
    batch_size: Annotated[
        int, Field(ge=1, le=1_000_000, description="pairs (or rollouts) per optimizer step, over all devices")
    ]
    epochs: Annotated[float, Field(gt=0, le=100_000)]
    max_length: Annotated[
        int, Field(ge=8, le=10_000_000, description="tokens of prompt and answer; longer rows are rejected")
    ]
    weight_decay: Weight = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


class SftHyperparameters(Section):
    """Supervised fine-tuning on the chosen answers: nothing to choose beyond the optimizer."""


class DpoHyperparameters(Section):
    """Direct preference optimization; the paper's beta is 0.1, with the sum of token log-probabilities."""

    beta: Annotated[float, Field(gt=0)]
    sft_weight: Annotated[Weight, Field(description="weight of an added loss on the chosen answer")] = 0.0


class PpoHyperparameters(Section):
    """Proximal policy optimization; the paper's: KL 0.1 fixed, gamma = lambda = 1, both clips 0.2, value 0.1."""

    kl_coefficient: Weight
    kl_target: Annotated[
        float | None,
        Field(gt=0, description="nats per answer an adaptive coefficient aims at; null keeps it fixed"),
    ] = None
    kl_stop: Annotated[float | None, Field(gt=0, description="nats per answer at which training ends early")] = None
    gamma: Annotated[float, Field(gt=0, le=1)]
    gae_lambda: Annotated[float, Field(ge=0, le=1)]
    clip: Annotated[float, Field(gt=0)]
    value_clip: Annotated[float, Field(gt=0)]
    value_weight: Weight
    ppo_epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over each batch of rollouts")]
    temperature: Temperature
    max_new_tokens: NewTokens
    value_learning_rate: Annotated[Rate | None, Field(description="null: the optimizer's")] = None
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    missing_end_penalty: Annotated[Weight, Field(description="taken from the reward of an answer that doesn't end")] = (
        0.0
    )


class GroupHyperparameters(Section):
    """GRPO and RLOO: several answers per question, compared with each other."""

    beta: Annotated[Weight, Field(description="weight of the KL to the reference")]
    generations: Annotated[int, Field(ge=2, le=10_000, description="answers per question")]
    temperature: Temperature
    max_new_tokens: NewTokens


Method = Literal["none", "sft", "dpo", "ppo", "grpo", "rloo"]


class _Entry(ModelReference):
    method: Method
    label: Annotated[str | None, Field(description="how it is named where it is shown")] = None


class UntrainedExperiment(_Entry):
    """A model as it is."""

    method: Literal["none"]


class TrainedExperiment(_Entry):
    """What all trainings of a policy have in common."""

    tuning: TuningParams
    data: DataSelection = DataSelection()
    optimizer: OptimizerParams
    hyperparameters: Section
    save: Annotated[
        Literal["merged", "adapter"], Field(description="with LoRA: whole weights, or the adapter alone")
    ] = "merged"
    seed: Annotated[
        int | None,
        Field(ge=0, le=2**32 - 1, description="of data drawn, their order, weights and sampling; null: the project's"),
    ] = None

    @model_validator(mode="after")
    def _adapter_made(self) -> TrainedExperiment:
        if self.save == "adapter" and self.tuning.mode != "lora":
            raise ValueError("save 'adapter' needs tuning.mode 'lora'")
        return self


class SftExperiment(TrainedExperiment):
    """Supervised fine-tuning."""

    method: Literal["sft"]
    hyperparameters: SftHyperparameters = SftHyperparameters()


class DpoExperiment(TrainedExperiment):
    """Direct preference optimization."""

    method: Literal["dpo"]
    hyperparameters: DpoHyperparameters


class PpoExperiment(TrainedExperiment):
    """Proximal policy optimization; reads the reward model."""

    method: Literal["ppo"]
    hyperparameters: PpoHyperparameters


class _GroupExperiment(TrainedExperiment):
    hyperparameters: GroupHyperparameters

    @model_validator(mode="after")
    def _whole_groups(self) -> _GroupExperiment:
        batch, generations = self.optimizer.batch_size, self.hyperparameters.generations
        if batch % generations:
            raise ValueError(
                f"optimizer.batch_size {batch} is no multiple of hyperparameters.generations {generations}; it counts "
                "answers: questions per step times answers per question"
            )
        return self


class GrpoExperiment(_GroupExperiment):
    """Group relative policy optimization; reads the reward model."""

    method: Literal["grpo"]


class RlooExperiment(_GroupExperiment):
    """REINFORCE leave-one-out; reads the reward model."""

    method: Literal["rloo"]


PolicyTraining = Annotated[
    SftExperiment | DpoExperiment | PpoExperiment | GrpoExperiment | RlooExperiment, Field(discriminator="method")
]
"""A training that makes a checkpoint."""

Experiment = Annotated[
    UntrainedExperiment | SftExperiment | DpoExperiment | PpoExperiment | GrpoExperiment | RlooExperiment,
    Field(discriminator="method"),
]
"""One checkpoint: a model as it is, or what a training makes of it."""

_EXPERIMENT: TypeAdapter[Experiment] = TypeAdapter(Experiment)


def read_experiment(raw: Any) -> Experiment:
    """An entry as it stands under `experiments:`.

    Raises:
        pydantic.ValidationError: It is none.
    """
    return _EXPERIMENT.validate_python(raw)


class RewardModelParams(ModelReference):
    """A scalar head on the VLM, trained with the pairwise logistic loss."""

    tuning: TuningParams
    data: DataSelection = DataSelection()
    optimizer: OptimizerParams


TrainingParams = PolicyTraining | RewardModelParams
"""What a training makes, and how."""

RewardReader = PpoExperiment | GrpoExperiment | RlooExperiment
"""The trainings that read the reward model."""


class TrainingRuntime(Section):
    """How training is spread over devices; not meant to change a result."""

    per_device_batch: Annotated[
        int, Field(ge=1, le=1_000_000, description="pairs per device and forward pass; the rest accumulates")
    ]
    gradient_checkpointing: bool = False
    checkpoint_every: Annotated[
        int, Field(ge=1, le=1_000_000_000, description="optimizer steps between resumable states")
    ] = 50
    accelerate: Annotated[
        str | None, Field(description="config file for `accelerate launch`; null trains in this process")
    ] = None
