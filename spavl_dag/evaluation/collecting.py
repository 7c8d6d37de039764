"""All benchmarks of the params, from wherever each comes from, as one table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from spavl_dag.errors import MissingInputError
from spavl_dag.evaluation.benchmarks import Benchmark, Source, benchmark_of
from spavl_dag.evaluation.items import EvalItem, draw_items, use_images, write_items
from spavl_dag.inference.request import ImageRef
from spavl_dag.params.evaluation import BenchmarkParams
from spavl_dag.taxonomy import Taxonomy


def collect_benchmarks(
    benchmarks: Mapping[str, BenchmarkParams],
    dataset: pl.DataFrame,
    pictures: Mapping[str, ImageRef],
    folders: Mapping[str, Path],
    target: Path,
    taxonomy: Taxonomy,
    seed: int,
) -> pl.DataFrame:
    """Load the items of all benchmarks and write their images.

    Those of the drawn world are written in their official formats first, so that one reader serves both.

    Args:
        benchmarks: Settings by benchmark name.
        dataset: Table `dataset`, for HarmEval and HelpEval.
        pictures: Content of its images by image id.
        folders: Where benchmarks of `source: folder` lie, by name.
        target: Folder of the artifact; images go into `files/`.
        taxonomy: Harm classes of the drawn world's items.
        seed: Of drawn items.

    Returns:
        Table `benchmarks`.

    Raises:
        SpavlError: A benchmark is unknown, not there, not whole, or not in its official format.
    """
    with tempfile.TemporaryDirectory(prefix="spavl-benchmarks-") as scratch:
        drawn = Path(scratch)
        if any(settings.source == "pictograms" for settings in benchmarks.values()):
            from spavl_dag.demo.benchmarks import write_benchmarks

            write_benchmarks(drawn, [harm.slug for harm in taxonomy.classes], seed)
        items: dict[str, Sequence[EvalItem]] = {}
        for name, settings in benchmarks.items():
            benchmark = benchmark_of(name)
            found = benchmark.load(_source(name, settings, dataset, pictures, folders, drawn))
            if settings.source in ("folder", "hub") and not settings.subset:
                _refuse_subset(benchmark, len(found))
            items[name] = use_images(draw_items(found, settings.limit, seed), settings.image)
        return write_items(items, target)


def _refuse_subset(benchmark: Benchmark, count: int) -> None:
    """A part of a benchmark gives other scores than the whole, so that it is a choice that one states."""
    if benchmark.published and count not in benchmark.published:
        sizes = " or ".join(f"{size:,}" for size in benchmark.published)
        raise MissingInputError(
            f"{benchmark.name}: there are {count:,} items, published are {sizes}",
            f"Get the official files whole, or state that these are others: evaluation.benchmarks.{benchmark.name}."
            "subset: true.",
        )


def _source(
    name: str,
    settings: BenchmarkParams,
    dataset: pl.DataFrame,
    pictures: Mapping[str, ImageRef],
    folders: Mapping[str, Path],
    drawn: Path,
) -> Source:
    match settings.source:
        case "dataset":
            return Source("dataset", dataset=dataset, pictures=pictures)
        case "hub":
            return Source("hub", hub=settings.hub, revision=settings.revision)
        case "folder":
            return Source("folder", folder=folders[name])
        case "pictograms":
            return Source("folder", folder=drawn / name)
