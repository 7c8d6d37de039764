"""The choices that decide an evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spavl_dag.params.base import Section
from spavl_dag.params.models import NewTokens, Template


class BenchmarkParams(Section):
    """Where a benchmark's items come from, and how the model is asked them."""

    source: Annotated[
        Literal["dataset", "pictograms", "folder", "hub"],
        Field(description="the project's dataset, the drawn world, a folder in the official format, or the Hub"),
    ]
    folder: Annotated[str | None, Field(description="for folder: relative to evaluation.folder")] = None
    hub: Annotated[str | None, Field(description="for hub: the dataset's id")] = None
    revision: str | None = None
    subset: Annotated[
        bool, Field(description="for folder and hub: these are not all items that were published, and that is meant")
    ] = False
    prompt: Annotated[Template | None, Field(description="Jinja template file; null: the policy's")] = None
    max_new_tokens: NewTokens
    limit: Annotated[
        int | None, Field(ge=1, le=100_000_000, description="at most so many items per variant, drawn by seed")
    ] = None
    image: Annotated[
        Literal["own", "blank", "none"],
        Field(description="blank: a white one for texts without; none: no image for any item"),
    ] = "own"

    @model_validator(mode="after")
    def _placed(self) -> BenchmarkParams:
        if self.source == "folder" and not self.folder:
            raise ValueError("source is 'folder', so folder must name one")
        if self.source == "hub" and not self.hub:
            raise ValueError("source is 'hub', so hub must name a dataset")
        return self


class GateParams(Section):
    """What a checkpoint must hold to pass, compared with the baseline."""

    safety: Annotated[list[str], Field(description="metrics that must fall beyond the interval of the difference")]
    capability: Annotated[list[str], Field(description="metrics that may fall by the tolerance at most")]
    over_refusal: Annotated[list[str], Field(description="metrics that may rise by the tolerance at most")]
    tolerance: Annotated[float, Field(ge=0, le=1, description="in points of a rate: 0.05 is 5 points")]


class IntervalSettings(Section):
    """How uncertainty is computed."""

    confidence: Annotated[float, Field(gt=0, lt=1, description="coverage of all intervals")]
    resamples: Annotated[int, Field(ge=100, le=10_000_000, description="of each bootstrap")]


class JudgeSetParams(Section):
    """Answers that people labelled."""

    source: Annotated[
        Literal["pictograms", "csv", "xstest", "pyrit", "pyrit_refusal"],
        Field(description="the drawn world; a CSV of one's own; XSTest's completions; PyRIT's scorer sets"),
    ]
    file: Annotated[str | None, Field(min_length=1, description="CSV, or a folder of some, in the project")] = None
    limit: Annotated[int | None, Field(ge=1, le=100_000_000, description="at most so many, drawn by seed")] = None

    @model_validator(mode="after")
    def _placed(self) -> JudgeSetParams:
        if (self.source == "pictograms") != (self.file is None):
            raise ValueError("file names the labelled answers, for every source but 'pictograms'")
        return self


class JudgeCheckParams(Section):
    """How judges are measured against people."""

    sets: Annotated[dict[str, JudgeSetParams], Field(description="labelled answers by name; none: nothing is checked")]
    min_kappa: Annotated[
        float | None, Field(ge=-1, le=1, description="a judge below it evaluates nothing; null: any judge may")
    ] = None


class EvaluationParams(Section):
    """How checkpoints are measured."""

    baseline: Annotated[str, Field(description="key of experiments that all others are compared with")]
    interval: IntervalSettings
    folder: Annotated[str, Field(min_length=1, description="where the folders of benchmarks lie, in the project")]
    benchmarks: dict[str, BenchmarkParams]
    gate: GateParams
    judge_check: JudgeCheckParams
