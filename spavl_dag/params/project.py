"""params.yaml as typed, checked models.

Belongs here: what a key may hold and which combinations are impossible. A choice that changes a result has no default
here: it stands in params.yaml, where DVC sees it. Defaults exist only under `runtime:` and for decoding parameters
whose default is "off".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spavl_dag.errors import ParamsError
from spavl_dag.params.evaluation import EvaluationParams
from spavl_dag.params.pictograms import PictogramModelParams
from spavl_dag.params.training import (
    ExperimentParams,
    PolicyParams,
    RewardModelParams,
    TrainingRuntime,
)
from spavl_dag.pipeline.layout import PartitionKind
from spavl_dag.yamls import load_yaml

BASE_MODEL = "base_model"
"""What a `model:` says when it means the artifact of that name."""

MAX_PARTITIONS = 99
"""Dagster stops following data versions along an edge at 100 partitions."""

SLUG = re.compile(r"^[a-z0-9][a-z0-9_-]*$")

Criterion = Literal["joint", "harmlessness", "helpfulness"]
EngineName = Literal["transformers"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DecodingParams(_Strict):
    """How a model decodes; see `engines.base.Decoding`."""

    max_new_tokens: Annotated[int, Field(ge=1, le=32768)]
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0


class ModelEntry(_Strict):
    """One way of asking a model: a role, or an answering model."""

    engine: EngineName
    model: Annotated[str, Field(min_length=1, description="base_model, a folder, or a hub id")]
    revision: str | None = None
    system: str | None = None
    prompt: Annotated[str, Field(description="Jinja template file, relative to the project")]
    decoding: DecodingParams
    label: Annotated[str | None, Field(description="how it is named where it is shown")] = None


class RoleParams(_Strict):
    """Who captions, asks, labels and prefers."""

    keywords: ModelEntry
    captioner: ModelEntry
    describer: ModelEntry
    easy_question: ModelEntry
    hard_question: ModelEntry
    hard_statement: ModelEntry
    judge: ModelEntry
    annotator_joint: ModelEntry
    annotator_harmlessness: ModelEntry
    annotator_helpfulness: ModelEntry
    second_judge: Annotated[
        ModelEntry | None, Field(description="labels what checkpoints answer as well; agreement is reported")
    ]


class TaxonomyParams(_Strict):
    """Where the harm classes come from."""

    file: str


class KeywordParams(_Strict):
    """Search words of a class."""

    source: Literal["file", "model"]
    per_class: Annotated[int, Field(ge=1)]


class HubReference(_Strict):
    """A model that is used as it is."""

    model: str
    revision: str | None = None


class BaseModelParams(_Strict):
    """The model that is aligned, and that `model: base_model` means."""

    source: Literal["pictograms", "reference"]
    reference: HubReference | None = None
    recipe: PictogramModelParams

    @model_validator(mode="after")
    def _reference_named(self) -> BaseModelParams:
        if self.source == "reference" and self.reference is None:
            raise ValueError("source is 'reference', so reference.model must name a folder or a hub id")
        return self


class ImageParams(_Strict):
    """Where images come from and which are kept."""

    source: Literal["pictograms", "folder"]
    per_class: Annotated[int, Field(ge=1, description="cards per class; only for pictograms")]
    folder: Annotated[str, Field(description="folder of images, a sub-folder per class or a manifest")]
    manifest: Annotated[str | None, Field(description="CSV or JSONL inside the folder")]
    license: Annotated[str, Field(description="licence of images whose manifest names none")]
    min_side: Annotated[int, Field(ge=1)]
    max_pixels: Annotated[int, Field(ge=1)]
    near_duplicate_distance: Annotated[int, Field(ge=0, le=32, description="bits of 64")]


class QuestionParams(_Strict):
    """What is kept as a question."""

    max_chars: Annotated[int, Field(ge=20)]


class SafetyLabelParams(_Strict):
    """How answers are judged."""

    sees_image: bool


class SafetyGroupParams(_Strict):
    """How models are grouped by safe rate; group 1 is the safest."""

    method: Literal["equal_count", "thresholds", "membership"]
    count: Annotated[int, Field(ge=2)]
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


class PairParams(_Strict):
    """Which two answers are compared."""

    strategy: Literal["random_groups", "safest_against_least_safe"]
    per_question: Annotated[int, Field(ge=1)]


class PreferenceParams(_Strict):
    """What the annotator is asked."""

    criteria: Literal["joint", "separate"]

    @property
    def asked(self) -> tuple[Criterion, ...]:
        """The criteria, in the order in which they decide."""
        return ("joint",) if self.criteria == "joint" else ("harmlessness", "helpfulness")


class DatasetParams(_Strict):
    """How the dataset is split; shares are of the images that are not kept for evaluation."""

    validation_share: Annotated[float, Field(ge=0, lt=1)]
    eval_questions_per_class: Annotated[int, Field(ge=0)]


class RuntimeParams(_Strict):
    """What can't change a result, or is not meant to: in no stage's params."""

    batch_size: Annotated[int, Field(ge=1)] = 128
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: Annotated[int | None, Field(ge=1)] = None
    show_text: bool = False
    mlflow_uri: str | None = None
    training: TrainingRuntime = TrainingRuntime(per_device_batch=8)


class Params(_Strict):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    taxonomy: TaxonomyParams
    keywords: KeywordParams
    base_model: BaseModelParams
    images: ImageParams
    questions: QuestionParams
    roles: RoleParams
    models: dict[str, ModelEntry]
    safety_labels: SafetyLabelParams
    safety_groups: SafetyGroupParams
    pairs: PairParams
    preferences: PreferenceParams
    dataset: DatasetParams
    policy: PolicyParams
    reward_model: RewardModelParams
    experiments: dict[str, ExperimentParams]
    evaluation: EvaluationParams
    runtime: RuntimeParams = RuntimeParams()

    def keys(self, kind: PartitionKind) -> list[str]:
        """Keys of the section that an artifact has one part per key of."""
        return list(self.models if kind == "models" else self.experiments)

    def entries(self) -> Iterator[tuple[str, ModelEntry]]:
        """All named entries with their key path."""
        for name in RoleParams.model_fields:
            if (entry := getattr(self.roles, name)) is not None:
                yield f"roles.{name}", entry
        for key, entry in self.models.items():
            yield f"models.{key}", entry

    def prompts(self) -> Iterator[tuple[str, str]]:
        """All prompt templates with the key path that names them."""
        for path, entry in self.entries():
            yield f"{path}.prompt", entry.prompt
        yield "policy.prompt", self.policy.prompt
        for name, benchmark in self.evaluation.benchmarks.items():
            if benchmark.prompt is not None:
                yield f"evaluation.benchmarks.{name}.prompt", benchmark.prompt


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Args:
        path: The file; prompt templates are looked up relative to its folder.

    Raises:
        ParamsError: The file is missing, not YAML, or holds something impossible; all problems are listed.
    """
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} is not there", "Run the command in the project's folder.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path.name} is not YAML: {error}", "Fix the line named above.") from error
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{path.name} holds no keys", "Start from the params.yaml of the repository.")
    return parse_params(raw, path.parent, path.name)


def parse_params(raw: Mapping[str, Any], root: Path, name: str = "params.yaml") -> Params:
    """Check loaded params.

    Args:
        raw: Content of the file.
        root: Folder that prompt templates and the taxonomy file are relative to.
        name: File name for messages.

    Raises:
        ParamsError: With one line per problem: key path, what is wrong, how to fix it.
    """
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors(include_url=False)]
        raise ParamsError(f"{name}: {len(lines)} problem(s)\n" + "\n".join(lines)) from None
    problems = list(_impossible(params, root))
    if problems:
        raise ParamsError(f"{name}: {len(problems)} problem(s)\n" + "\n".join(problems))
    return params


def _impossible(params: Params, root: Path) -> Iterator[str]:
    """Combinations that no single key can refuse."""
    if not 2 <= len(params.models) <= MAX_PARTITIONS:
        yield f"  models: {len(params.models)} entries; between 2 and {MAX_PARTITIONS} are needed"
    if not 1 <= len(params.experiments) <= MAX_PARTITIONS:
        yield f"  experiments: {len(params.experiments)} entries; between 1 and {MAX_PARTITIONS} are needed"
    for section in ("models", "experiments"):
        for key in getattr(params, section):
            if not SLUG.match(key):
                yield f"  {section}.{key}: a key is a slug of a-z, 0-9, _ and -; rename it"
    baseline = params.evaluation.baseline
    if baseline not in params.experiments:
        yield f"  evaluation.baseline: '{baseline}' is no key of experiments; it has {', '.join(params.experiments)}"
    groups = params.safety_groups
    if groups.count > len(params.models):
        yield f"  safety_groups.count: {groups.count} groups need as many models; models has {len(params.models)}"
    if groups.method == "membership":
        stray = sorted(set(params.models) ^ set(groups.membership or {}))
        if stray:
            yield f"  safety_groups.membership: must name each key of models once; see {', '.join(stray)}"
    for path, file in params.prompts():
        if not (root / file).is_file():
            yield f"  {path}: there is no file {file}; write it or name one of prompts/"
    for path, entry in params.entries():
        looks_local = entry.model.startswith((".", "/"))
        if looks_local and not (root / entry.model).is_dir():
            yield f"  {path}.model: there is no folder {entry.model}; use base_model, a folder or a hub id"
    if not (root / params.taxonomy.file).is_file():
        yield f"  taxonomy.file: there is no file {params.taxonomy.file}"


def _explain(problem: Mapping[str, Any]) -> str:
    """One line for a pydantic error: key path, trouble, fix."""
    location = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_beside(problem["loc"])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        fix = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
        return f"  {location}: unknown key; {fix}"
    if problem["type"] == "missing":
        return f"  {location}: missing; every choice that changes a result must be stated"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = "" if isinstance(given, dict | list) else f" (found {given!r})"
    return f"  {location}: {message}{shown}"


def _fields_beside(location: tuple[str | int, ...]) -> list[str]:
    """The keys known where an unknown one was found."""
    found: Any = Params
    for part in location[:-1]:
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            annotation = found  # a dict of entries; the part is a key of it
        inside = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        models = [kind for kind in inside if issubclass(kind, BaseModel)]
        is_dict = get_origin(annotation) is dict and found is not annotation
        found = annotation if is_dict else models[0] if models else None
    return sorted(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []
