"""What checkpoints are measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from spavl_dag.evaluation.collecting import collect_benchmarks
from spavl_dag.evaluation.schemas import BenchmarkItems
from spavl_dag.params.evaluation import BenchmarkParams
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import asset
from spavl_dag.pipeline.inputs import Files, OutputFolder, Params, Pictures, Seed, Table
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.preview import counts_of
from spavl_dag.schemas import DatasetRows, Images
from spavl_dag.taxonomy import Taxonomy


def _folders(params: ProjectParams) -> Sequence[str]:
    """The folders of benchmarks that come from one, in the order of params."""
    evaluation = params.evaluation
    return [f"{evaluation.folder}/{one.folder}" for one in evaluation.benchmarks.values() if one.source == "folder"]


def _summary(made: Result[BenchmarkItems]) -> Summary:
    columns = ["benchmark", "item_id", "variant", "category", "question"]
    return Summary({"items": counts_of(made.tables[0], "benchmark", "benchmark", "items")}, columns=columns)


@asset(group_name="evaluation", kinds={"polars"}, files=True, summary=_summary)
def benchmarks(
    dataset: Table[DatasetRows],
    pictures: Pictures[Images],
    entries: Annotated[Mapping[str, BenchmarkParams], Params("evaluation.benchmarks")],
    folders: Annotated[list[Path], Files("params/benchmark_folders", _folders)],
    taxonomy: Taxonomy,
    seed: Seed,
    output: OutputFolder,
) -> Result[BenchmarkItems]:
    """The items of every benchmark with their images: HarmEval and HelpEval, and those of others in their formats."""
    named = dict(zip((name for name, one in entries.items() if one.source == "folder"), folders, strict=True))
    return Result(collect_benchmarks(entries, dataset, pictures, named, output, taxonomy, seed))
