"""One training as a file: what another process needs to run it, and the key that names its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeVar

from spavl_dag.errors import ParamsError
from spavl_dag.params.training import (
    ExperimentParams,
    Method,
    OptimizerParams,
    RewardModelParams,
    TrainingRuntime,
    TuningParams,
)

JobMethod = Method | Literal["reward"]
T = TypeVar("T")

_SCHEMA = 1
"""Raised when the code trains differently from the same inputs: every training is then done again."""

_UNIMPORTANT = ("label", "data")
"""Params that don't change weights: a name, and a selection that shows in the hash of its rows."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a training needs.

    Attributes:
        method: What to train with; "reward" for the reward model.
        params: Dump of ExperimentParams, or of RewardModelParams for "reward".
        model: Folder or hub id to start from.
        revision: Hub revision, or None.
        base_name: How an adapter names its base model; never an absolute path.
        template: Source of the policy's prompt template.
        system: The policy's system turn, or None.
        rows: Parquet file with row_id, question, chosen, rejected, image, sha256 (see `examples.write_rows`).
        validation: The same for held-out pairs, or None.
        reward_model: Folder of the reward model for methods that read one.
        work: Folder of this training's state; it may hold an earlier, interrupted run.
        seed: Of weights, data order and sampling.
        runtime: Dump of TrainingRuntime.
        device: "auto", "cpu", "cuda" or "cuda:<n>".
        dtype: "auto", "float32" or "bfloat16": what is computed in; what is stepped is always float32.
    """

    method: JobMethod
    params: Mapping[str, Any]
    model: str
    revision: str | None
    base_name: str
    template: str
    system: str | None
    rows: Path
    validation: Path | None
    reward_model: Path | None
    work: Path
    seed: int
    runtime: Mapping[str, Any]
    device: str = "auto"
    dtype: str = "auto"

    @property
    def experiment(self) -> ExperimentParams:
        """The params, typed, for all methods but "reward"."""
        return ExperimentParams.model_validate(self.params)

    @property
    def reward_params(self) -> RewardModelParams:
        """The params, typed, for "reward"."""
        return RewardModelParams.model_validate(self.params)

    @property
    def optimizer(self) -> OptimizerParams:
        """How weights are stepped, whatever is trained.

        Raises:
            ParamsError: The method trains nothing.
        """
        return self._stated(self.reward_params.optimizer if self.method == "reward" else self.experiment.optimizer)

    @property
    def tuning(self) -> TuningParams:
        """Which weights are trained.

        Raises:
            ParamsError: The method trains nothing.
        """
        return self._stated(self.reward_params if self.method == "reward" else self.experiment.tuning)

    def _stated(self, params: T | None) -> T:
        if params is None:
            raise ParamsError(f"method '{self.method}' trains nothing", "Only entries with an optimizer are trained.")
        return params

    @property
    def training_runtime(self) -> TrainingRuntime:
        """The runtime, typed."""
        return TrainingRuntime.model_validate(self.runtime)

    def to_json(self) -> str:
        """The job as text; `from_json` gives an equal one."""
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        for name in ("rows", "validation", "reward_model", "work"):
            fields[name] = None if fields[name] is None else Path(fields[name])
        return cls(**fields)


def training_key(
    method: JobMethod,
    params: Mapping[str, Any],
    *,
    inputs: Mapping[str, str],
    template: str,
    system: str | None,
    seed: int,
) -> str:
    """A name for the result of a training: equal keys mean equal weights, up to the device's rounding.

    Paths, devices, batch splitting and how often state is saved are not part of it.

    Args:
        method: The method.
        params: Dump of the params; their label and data selection don't count.
        inputs: Content hash by name: model, rows, validation, reward_model.
        template: Source of the prompt template.
        system: System turn.
        seed: The seed.

    Returns:
        32 hex digits.
    """
    decisive = {
        "schema": _SCHEMA,
        "method": method,
        "params": {name: value for name, value in params.items() if name not in _UNIMPORTANT},
        "inputs": dict(inputs),
        "template": template,
        "system": system,
        "seed": seed,
    }
    text = json.dumps(decisive, sort_keys=True, ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
