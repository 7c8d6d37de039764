"""The choices that decide a trained checkpoint; no heavy import, so that a schema of params can use it.

Hyper-parameters have no default here: each entry of params.yaml states its own, so that DVC sees every change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spavl_dag.names import QuestionType

Method = Literal["none", "sft", "dpo", "ppo", "grpo", "rloo"]
TRAINED_WITH_REWARD: tuple[Method, ...] = ("ppo", "grpo", "rloo")
"""Methods that read the reward model."""


S = TypeVar("S", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraParams(_Strict):
    """Low-rank adapters of the language model; the paper's are rank 256, alpha 512, all linear layers."""

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[
        Literal["all-linear"] | list[str],
        Field(description="all linear layers of the language model, or the last parts of their names"),
    ] = "all-linear"


class DataSelection(_Strict):
    """Which rows of the dataset's training split are trained on; what is not named is not restricted."""

    pairs: Annotated[int | None, Field(ge=1, description="at most so many, drawn by seed; smaller draws nest")] = None
    question_types: Annotated[list[QuestionType] | None, Field(min_length=1)] = None
    safety_groups: Annotated[
        list[int] | None, Field(min_length=1, description="both answers come from models of these groups")
    ] = None
    classes: Annotated[list[str] | None, Field(min_length=1, description="slugs of harm classes")] = None
    min_agreement: Annotated[
        float, Field(ge=0, le=1, description="share of the pair's verdicts that name the chosen answer")
    ] = 0.0


class OptimizerParams(_Strict):
    """How weights are stepped; AdamW everywhere."""

    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    warmup_steps: Annotated[float, Field(ge=0, description="steps; a share of all steps if below 1")]
    batch_size: Annotated[int, Field(ge=1, description="pairs (or rollouts) per optimizer step, over all devices")]
    epochs: Annotated[float, Field(gt=0)]
    max_length: Annotated[int, Field(ge=8, description="tokens of prompt and answer; longer rows are rejected")]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


class SftParams(_Strict):
    """Supervised fine-tuning on the chosen answers: nothing to choose beyond the optimizer."""


class DpoParams(_Strict):
    """Direct preference optimization; the paper's beta is 0.1, with the sum of token log-probabilities."""

    beta: Annotated[float, Field(gt=0)]
    sft_weight: Annotated[float, Field(ge=0, description="weight of an added loss on the chosen answer")] = 0.0


class PpoParams(_Strict):
    """Proximal policy optimization; the paper's: KL 0.1 fixed, gamma = lambda = 1, both clips 0.2, value 0.1."""

    kl_coefficient: Annotated[float, Field(ge=0)]
    kl_target: Annotated[
        float | None, Field(gt=0, description="nats per answer an adaptive coefficient aims at; null keeps it fixed")
    ] = None
    kl_stop: Annotated[float | None, Field(gt=0, description="nats per answer at which training ends early")] = None
    gamma: Annotated[float, Field(gt=0, le=1)]
    gae_lambda: Annotated[float, Field(ge=0, le=1)]
    clip: Annotated[float, Field(gt=0)]
    value_clip: Annotated[float, Field(gt=0)]
    value_weight: Annotated[float, Field(ge=0)]
    ppo_epochs: Annotated[int, Field(ge=1, description="passes over each batch of rollouts")]
    temperature: Annotated[float, Field(gt=0)]
    max_new_tokens: Annotated[int, Field(ge=1)]
    value_learning_rate: Annotated[float | None, Field(gt=0, description="null: the optimizer's")] = None
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    missing_end_penalty: Annotated[
        float, Field(ge=0, description="taken from the reward of an answer that doesn't end")
    ] = 0.0


class GroupParams(_Strict):
    """GRPO and RLOO: several answers per question, compared with each other."""

    beta: Annotated[float, Field(ge=0, description="weight of the KL to the reference")]
    generations: Annotated[int, Field(ge=2, description="answers per question")]
    temperature: Annotated[float, Field(gt=0)]
    max_new_tokens: Annotated[int, Field(ge=1)]


_SETTINGS: dict[str, type[_Strict]] = {
    "sft": SftParams,
    "dpo": DpoParams,
    "ppo": PpoParams,
    "grpo": GroupParams,
    "rloo": GroupParams,
}


class TuningParams(_Strict):
    """Which weights are trained. The vision tower never is (paper, 'Training')."""

    tuning: Literal["full", "lora"]
    lora: LoraParams | None = None
    train_projector: bool

    @model_validator(mode="after")
    def _lora_described(self) -> TuningParams:
        if self.tuning == "lora" and self.lora is None:
            raise ValueError("tuning is 'lora', so lora.rank and lora.alpha must be stated")
        return self


class RewardModelParams(TuningParams):
    """A scalar head on the VLM, trained with the pairwise logistic loss."""

    model: Annotated[str, Field(min_length=1, description="where it starts: base_model, a folder, or a hub id")]
    revision: str | None = None
    data: DataSelection = DataSelection()
    optimizer: OptimizerParams


class ExperimentParams(_Strict):
    """One checkpoint: a model as it is (method none), or what a training makes of it."""

    method: Method
    label: Annotated[str | None, Field(description="how it is named where it is shown")] = None
    model: Annotated[str, Field(min_length=1, description="where it starts: base_model, a folder, or a hub id")]
    revision: str | None = None
    tuning: TuningParams | None = None
    data: DataSelection = DataSelection()
    optimizer: OptimizerParams | None = None
    settings: Annotated[dict[str, Any], Field(description="hyper-parameters of the method")] = {}
    save: Annotated[
        Literal["merged", "adapter"], Field(description="with LoRA: whole weights, or the adapter alone")
    ] = "merged"

    @model_validator(mode="after")
    def _complete(self) -> ExperimentParams:
        if self.method == "none":
            if self.tuning or self.optimizer or self.settings:
                raise ValueError("method 'none' trains nothing: leave out tuning, optimizer and settings")
            return self
        if self.tuning is None or self.optimizer is None:
            raise ValueError(f"method '{self.method}' needs tuning and optimizer")
        if self.save == "adapter" and self.tuning.tuning != "lora":
            raise ValueError("save 'adapter' needs tuning.tuning 'lora'")
        _SETTINGS[self.method].model_validate(self.settings)
        return self

    def settings_of(self, kind: type[S]) -> S:
        """The method's hyper-parameters, typed."""
        return kind.model_validate(self.settings)


class PolicyParams(_Strict):
    """How the model that is aligned is asked, in training and in evaluation."""

    engine: Literal["transformers"]
    system: str | None
    prompt: Annotated[str, Field(description="Jinja template file, relative to the project")]


class TrainingRuntime(_Strict):
    """How training is spread over devices; not meant to change a result."""

    per_device_batch: Annotated[int, Field(ge=1, description="pairs per device and forward pass; the rest accumulates")]
    gradient_checkpointing: bool = False
    checkpoint_every: Annotated[int, Field(ge=1, description="optimizer steps between resumable states")] = 50
    accelerate: Annotated[
        str | None, Field(description="config file for `accelerate launch`; null trains in this process")
    ] = None
