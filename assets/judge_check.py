"""How far the judges can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from spavl_dag.evaluation.evaluate import name_judges
from spavl_dag.evaluation.judge_check.measure import judge_answers
from spavl_dag.evaluation.judge_check.measure import judge_check as measured
from spavl_dag.evaluation.judge_check.sets import read_set
from spavl_dag.evaluation.schemas import JudgeCheck, JudgedAnswers
from spavl_dag.params.evaluation import IntervalSettings, JudgeSetParams
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Files, Params, Seed
from spavl_dag.pipeline.model_inputs import Role
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import doubtful_judges
from spavl_dag.preview import table_preview


def _files(params: ProjectParams) -> Sequence[str]:
    """The files of the sets that have some, in the order of params."""
    return [one.file for one in params.evaluation.judge_check.sets.values() if one.file]


def _summary(made: Result[JudgeCheck, JudgedAnswers]) -> Summary:
    columns = ["set", "judge", "n", "failed", "accuracy", "precision", "recall", "specificity", "kappa"]
    return Summary({"judges": table_preview(made.tables[0].filter(category="all"), columns=columns)})


@asset(
    group_name="evaluation",
    kinds={"transformers", "polars"},
    folder="eval",
    checks=[Check("kappa_enough", "No judge is below evaluation.judge_check.min_kappa.", doubtful_judges)],
    summary=_summary,
)
def judge_check(
    judge: Role,
    second_judge: Role | None,
    sets: Annotated[Mapping[str, JudgeSetParams], Params("evaluation.judge_check.sets")],
    files: Annotated[list[Path], Files("params/judge_sets", _files)],
    min_kappa: Annotated[float | None, Params("evaluation.judge_check.min_kappa")],
    interval: Annotated[IntervalSettings, Params("evaluation.interval")],
    seed: Seed,
) -> Result[JudgeCheck, JudgedAnswers]:
    """How far judges and the rule of refusal phrases say what people say of the same answers."""
    named = dict(zip((name for name, one in sets.items() if one.file), files, strict=True))
    labelled = {name: read_set(name, one, named.get(name), seed) for name, one in sets.items()}
    judged = judge_answers(labelled, name_judges([judge, *([second_judge] if second_judge else [])]))
    return Result(measured(judged, interval, seed), judged)
