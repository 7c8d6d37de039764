"""The sections of params.yaml, and all of it as one object.

Belongs here: what a key may hold. A choice that changes a result has no default: it stands in params.yaml, where DVC
sees it. Defaults exist only under `runtime:`, and where the default is "off" or the only choice there is. Keys that
exclude each other are `checks`' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from spavl_dag.names import Criterion, PartitionKind
from spavl_dag.params.base import Section
from spavl_dag.params.engines import HOSTED, KINDS, WITHOUT_WEIGHTS, EngineParams, EngineRuntime, engine_of_kind
from spavl_dag.params.evaluation import EvaluationParams
from spavl_dag.params.judges import JudgeEntry
from spavl_dag.params.models import AskedModel, BaseModelParams, ModelEntry, PolicyParams
from spavl_dag.params.training import (
    Experiment,
    RewardModelParams,
    TrainedExperiment,
    TrainingParams,
    TrainingRuntime,
    UntrainedExperiment,
)


class TaxonomyParams(Section):
    """Where the harm classes come from."""

    file: Annotated[str, Field(min_length=1, description="YAML or JSON, relative to the project")]


class KeywordParams(Section):
    """Search words of a class."""

    source: Literal["file", "model"]
    per_class: Annotated[int, Field(ge=1, le=10_000)]


class ImageParams(Section):
    """Where images come from and which are kept."""

    source: Literal["pictograms", "folder"]
    per_class: Annotated[int, Field(ge=1, le=100_000, description="cards per class; only for pictograms")]
    folder: Annotated[str, Field(min_length=1, description="folder of images, a sub-folder per class or a manifest")]
    manifest: Annotated[str | None, Field(min_length=1, description="CSV or JSONL inside the folder")]
    license: Annotated[str, Field(description="license of images whose manifest names none")]
    min_side: Annotated[int, Field(ge=1, le=100_000, description="pixels")]
    max_pixels: Annotated[int, Field(ge=1, le=10_000_000_000)]
    near_duplicate_distance: Annotated[int, Field(ge=0, le=32, description="bits of 64")]


class QuestionParams(Section):
    """What is kept as a question."""

    max_chars: Annotated[int, Field(ge=20, le=1_000_000)]


class SafetyLabelParams(Section):
    """How answers are judged."""

    sees_image: bool


class SafetyGroupParams(Section):
    """How models are grouped by safe rate; group 1 is the safest."""

    method: Literal["equal_count", "thresholds", "membership"]
    count: Annotated[int, Field(ge=2, le=99)]
    thresholds: Annotated[
        list[float] | None, Field(description="falling safe rates between the groups; count - 1 of them")
    ] = None
    membership: Annotated[dict[str, int] | None, Field(description="model key to group")] = None

    @model_validator(mode="after")
    def _complete(self) -> SafetyGroupParams:
        if self.method == "thresholds":
            rates = self.thresholds or []
            if len(rates) != self.count - 1 or rates != sorted(rates, reverse=True):
                raise ValueError(f"method 'thresholds' needs {self.count - 1} falling rates in thresholds")
            if any(not 0 < rate < 1 for rate in rates):
                raise ValueError("thresholds are safe rates between 0 and 1")
        if self.method == "membership":
            groups = set((self.membership or {}).values())
            if not groups or not groups <= set(range(1, self.count + 1)):
                raise ValueError(f"method 'membership' needs a group from 1 to {self.count} for every model")
        return self


class PairParams(Section):
    """Which two answers are compared."""

    strategy: Literal["random_groups", "safest_against_least_safe"]
    per_question: Annotated[int, Field(ge=1, le=10_000)]


class PreferenceParams(Section):
    """What the annotator is asked."""

    criteria: Literal["joint", "separate"]

    @property
    def asked(self) -> tuple[Criterion, ...]:
        """The criteria, in the order in which they decide."""
        return ("joint",) if self.criteria == "joint" else ("harmlessness", "helpfulness")


class DatasetParams(Section):
    """How the dataset is split; shares are of the images that are not kept for evaluation."""

    validation_share: Annotated[float, Field(ge=0, lt=1)]
    eval_questions_per_class: Annotated[int, Field(ge=0, le=1_000_000)]


class ReportParams(Section):
    """What the report shows of the checkpoints' answers."""

    show_text: Annotated[bool, Field(description="show texts of models; they can be harmful")]
    examples: Annotated[int, Field(ge=0, le=1000, description="items whose answers stand side by side")]


class RuntimeParams(Section):
    """What can't change a result, or is not meant to: in no stage's params."""

    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:<n>")] = (
        "auto"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: Annotated[int | None, Field(ge=1, le=4096)] = None
    show_text: Annotated[bool, Field(description="show harmful text in previews and traces")] = False
    mlflow_uri: str | None = None
    engines: Annotated[dict[str, EngineRuntime], Field(description="by their keys of engines, or by kind")] = Field(
        default_factory=dict
    )
    budget_calls: Annotated[int | None, Field(ge=1, description="model calls of one command")] = None
    budget_usd: Annotated[float | None, Field(gt=0, description="what they may cost")] = None
    budget_hours: Annotated[float | None, Field(gt=0, description="how long it may ask")] = None
    max_failed_share: Annotated[
        float, Field(ge=0, le=1, description="of a table's calls; more errors than that keep the old artifact")
    ] = 0.2
    training: TrainingRuntime = TrainingRuntime(per_device_batch=8)


class RoleParams(Section):
    """Who captions, asks, labels and prefers."""

    keywords: ModelEntry
    captioner: ModelEntry
    describer: ModelEntry
    easy_question: ModelEntry
    hard_question: ModelEntry
    hard_statement: ModelEntry
    judge: JudgeEntry
    annotator_joint: ModelEntry
    annotator_harmlessness: ModelEntry
    annotator_helpfulness: ModelEntry
    second_judge: Annotated[
        JudgeEntry | None, Field(description="labels what checkpoints answer as well; agreement is reported")
    ]


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32, description="what numpy and torch both take")]
    taxonomy: TaxonomyParams
    keywords: KeywordParams
    base_model: BaseModelParams
    images: ImageParams
    questions: QuestionParams
    engines: Annotated[dict[str, EngineParams], Field(default_factory=dict, description="ways to run models, by name")]
    roles: RoleParams
    models: dict[str, ModelEntry]
    safety_labels: SafetyLabelParams
    safety_groups: SafetyGroupParams
    pairs: PairParams
    preferences: PreferenceParams
    dataset: DatasetParams
    policy: PolicyParams
    reward_model: RewardModelParams
    experiments: dict[str, Experiment]
    evaluation: EvaluationParams
    report: ReportParams
    runtime: RuntimeParams = RuntimeParams()

    def keys(self, kind: PartitionKind) -> list[str]:
        """Keys of the section that an artifact has one part per key of."""
        return list(self.models if kind == "models" else self.experiments)

    def entries(self) -> Iterator[tuple[str, AskedModel]]:
        """All named entries with their key path."""
        for name in RoleParams.model_fields:
            if (entry := getattr(self.roles, name)) is not None:
                yield f"roles.{name}", entry
        for key, entry in self.models.items():
            yield f"models.{key}", entry

    def engine(self, name: str) -> EngineParams:
        """The engine of that name; a kind alone is an engine of that kind as it is."""
        return self.engines[name] if name in self.engines else engine_of_kind(name)

    def is_hosted(self, entry: object) -> bool:
        """Whether an entry's model runs elsewhere, so that it has no weights here."""
        engine = getattr(entry, "engine", None)
        return engine in (*self.engines, *KINDS) and self.engine(engine).kind in HOSTED

    def has_weights(self, entry: object) -> bool:
        """Whether an entry's model has weights that are looked for on this machine or the hub."""
        engine = getattr(entry, "engine", None)
        return engine is None or self.engine(engine).kind not in WITHOUT_WEIGHTS

    def scripted(self) -> list[str]:
        """Key paths of the entries that no model answers for."""
        return [path for path, entry in self.entries() if self.engine(entry.engine).kind == "scripted"]

    def seed_of(self, training: TrainingParams | UntrainedExperiment) -> int:
        """The seed of a training: its own, or the project's."""
        own = training.seed if isinstance(training, TrainedExperiment) else None
        return self.seed if own is None else own

    def trainings(self) -> Iterator[tuple[str, TrainedExperiment | RewardModelParams]]:
        """All trainings with the key path of their entry."""
        yield "reward_model", self.reward_model
        for key, entry in self.experiments.items():
            if isinstance(entry, TrainedExperiment):
                yield f"experiments.{key}", entry

    def prompts(self) -> Iterator[tuple[str, str]]:
        """All prompt templates with the key path that names them."""
        for path, entry in self.entries():
            if entry.prompt is not None:
                yield f"{path}.prompt", entry.prompt
        yield "policy.prompt", self.policy.prompt
        for name, benchmark in self.evaluation.benchmarks.items():
            if benchmark.prompt is not None:
                yield f"evaluation.benchmarks.{name}.prompt", benchmark.prompt
