"""The report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl

from spavl_dag.evaluation.metrics import judge_name
from spavl_dag.evaluation.schemas import (
    BenchmarkItems,
    ClassScores,
    EvalResponses,
    EvalScores,
    Gate,
    ItemScores,
    JudgeCheck,
)
from spavl_dag.params.evaluation import BenchmarkParams, IntervalSettings, JudgeSetParams
from spavl_dag.params.models import BASE_MODEL
from spavl_dag.params.sections import ReportParams
from spavl_dag.params.training import Experiment
from spavl_dag.pipeline.declaration import asset
from spavl_dag.pipeline.inputs import ByPartition, Document, OutputFolder, Params, Table, Versions
from spavl_dag.pipeline.result import Result
from spavl_dag.report.build import build_report
from spavl_dag.report.differences import differing_params
from spavl_dag.report.examples import choose_examples
from spavl_dag.report.inputs import CheckpointInfo, ReportInputs, RewardModelInfo
from spavl_dag.taxonomy import Taxonomy
from spavl_dag.training.schemas import Calibration, Curve


@dataclass
class Choices:
    """What the report says of how everything was made."""

    settings: Annotated[ReportParams, Params("report")]
    experiments: Annotated[Mapping[str, Experiment], Params("experiments")]
    baseline: Annotated[str, Params("evaluation.baseline")]
    interval: Annotated[IntervalSettings, Params("evaluation.interval")]
    judge_sets: Annotated[Mapping[str, JudgeSetParams], Params("evaluation.judge_check.sets")]
    benchmarks: Annotated[Mapping[str, BenchmarkParams], Params("evaluation.benchmarks")]
    judge: Annotated[str, Params("roles.judge.model")]
    images: Annotated[str, Params("images.source")]

    @property
    def drawn_benchmarks(self) -> frozenset[str]:
        """Benchmarks whose items are drawn here, whatever their name promises."""
        cards = self.images == "pictograms"
        drawn = {"pictograms", "dataset"} if cards else {"pictograms"}
        return frozenset(name for name, entry in self.benchmarks.items() if entry.source in drawn)


@asset(group_name="evaluation", kinds={"python"}, folder="eval")
def report(
    scores: ByPartition[EvalScores],
    item_scores: ByPartition[ItemScores],
    class_scores: ByPartition[ClassScores],
    gate: ByPartition[Gate],
    answers: ByPartition[EvalResponses],
    items: Table[BenchmarkItems],
    curves: ByPartition[Curve],
    trainings: Annotated[Mapping[str, Any], Document("checkpoints", "training.json", partitioned=True)],
    versions: Annotated[Mapping[str, str | None], Versions("checkpoints")],
    judges: Table[JudgeCheck],
    rewards: Annotated[Mapping[str, float], Document("reward_model", "metrics.json")],
    calibration: Table[Calibration],
    statistics: Annotated[Mapping[str, Any], Document("dataset", "statistics.json")],
    taxonomy: Taxonomy,
    choices: Choices,
    output: OutputFolder,
) -> Result[()]:
    """Leaderboard, differences from the baseline, curves, classes, examples and lineage, as HTML and Markdown."""
    shown = choose_examples(with_key(item_scores), with_key(answers), items, choices.settings.examples)
    inputs = ReportInputs(
        baseline=choices.baseline,
        checkpoints=[
            CheckpointInfo(
                key=key,
                label=choices.experiments[key].label or key,
                method=choices.experiments[key].method,
                params=differing,
                rows=(trainings[key] or {}).get("rows"),
                md5=versions[f"checkpoints@{key}"],
            )
            for key, differing in differing_params(choices.experiments).items()
        ],
        scores=with_key(scores),
        gate=with_key(gate),
        class_scores=with_key(class_scores),
        curves=with_key(curves),
        reward_model=RewardModelInfo(rewards, calibration),
        dataset=statistics,
        examples=shown,
        lineage=pl.DataFrame({"stage": list(versions), "md5": list(versions.values())}),
        judges=judges,
        drawn_judge_sets=[name for name, one in choices.judge_sets.items() if one.source == "pictograms"],
        judge=judge_name(choices.judge),
        class_names={harm.slug: harm.name for harm in taxonomy.classes},
        confidence=choices.interval.confidence,
        show_text=choices.settings.show_text,
        simulated=bool(statistics["simulated_models"]),
        drawn_benchmarks=choices.drawn_benchmarks,
        judge_is_base_model=choices.judge == BASE_MODEL,
    )
    for name, content in build_report(inputs).items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(content)
    return Result()


def with_key(parts: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The parts of all checkpoints as one frame, with their key in the column `checkpoint`."""
    return pl.concat([rows.select(pl.lit(key).alias("checkpoint"), pl.all()) for key, rows in parts.items()])
