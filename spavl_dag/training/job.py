"""One training as a file: what another process needs to run it, and the key that names its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from pydantic import BaseModel

from spavl_dag.params.training import RewardModelParams, TrainingParams, TrainingRuntime
from spavl_dag.training.versions import Method

_SCHEMA = 2
"""Raised when the key is made of other things: every training is then done again."""

_UNIMPORTANT = {"label", "data", "seed"}  # the seed that counts is given
"""Params that don't change weights: a name, and a selection that shows in the hash of its rows."""


class Job(BaseModel, frozen=True, extra="forbid"):
    """Everything a training needs.

    Attributes:
        training: What to train, and how.
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
        runtime: How the training is spread over devices.
        device: "auto", "cpu", "cuda" or "cuda:<n>".
        dtype: "auto", "float32" or "bfloat16": what is computed in; what is stepped is always float32.
    """

    training: TrainingParams
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
    runtime: TrainingRuntime
    device: str = "auto"
    dtype: str = "auto"

    @property
    def method(self) -> Method:
        """What to train with; "reward" for the reward model."""
        return method_of(self.training)

    def to_json(self) -> str:
        """The job as text; `from_json` gives an equal one."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what `to_json` wrote."""
        return cls.model_validate_json(text)


def method_of(training: TrainingParams) -> Method:
    """What a training trains with; "reward" for the reward model."""
    return "reward" if isinstance(training, RewardModelParams) else training.method


def training_key(
    training: TrainingParams, *, inputs: Mapping[str, str], template: str, system: str | None, seed: int
) -> str:
    """A name for the result of a training: equal keys mean equal weights, up to the device's rounding.

    Paths, devices, batch splitting and how often state is saved are not part of it.

    Args:
        training: Its params; their label, data selection and own seed don't count.
        inputs: Content hash by name: model, rows, validation, reward_model; and the version of the code.
        template: Source of the prompt template.
        system: System turn.
        seed: Of the training, its own or the project's.

    Returns:
        32 hex digits.
    """
    decisive = {
        "schema": _SCHEMA,
        "method": method_of(training),
        "params": training.model_dump(mode="json", exclude=_UNIMPORTANT),
        "inputs": dict(inputs),
        "template": template,
        "system": system,
        "seed": seed,
    }
    text = json.dumps(decisive, sort_keys=True, ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
