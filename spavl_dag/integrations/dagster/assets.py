"""One declared artifact as a Dagster asset: a real `AssetsDefinition`, with what its signature says."""

# No postponed annotations here: Dagster reads those of an asset's context when it is defined.

from collections.abc import Iterator
from typing import Any

import dagster as dg

from spavl_dag.errors import SpavlError, from_system
from spavl_dag.integrations.dagster.keys import MODEL_POOL, OWNERS, dependencies, partitions_of
from spavl_dag.integrations.dagster.metadata import check_results, check_specs, content_metadata, static_metadata
from spavl_dag.integrations.dagster.sync import observe_sources
from spavl_dag.integrations.dvc.commit import DvcCommit
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.integrations.mlflow.records import run_url
from spavl_dag.integrations.recording import Recorded, make_and_record
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.make import BrokenError, check_content, read_content
from spavl_dag.progress import Progress

RETRY_TAG = "spavl/retry"
"""A run with this tag and the value `failed` asks again what ended in a permanent error."""

_PROGRESS_LINES = 10
"""Log lines of a long piece of work."""

Yielded = dg.MaterializeResult[None] | dg.AssetCheckResult


def build_asset(graph: Graph, asset: Asset) -> dg.AssetsDefinition:
    """The Dagster asset of an artifact.

    Args:
        graph: All artifacts, as declared and as params choose.
        asset: The artifact.
    """
    partitions_def = partitions_of(graph, asset.partitions) if asset.partitions else None

    @dg.asset(
        name=asset.name,
        deps=dependencies(graph, asset),
        group_name=asset.group_name,
        kinds=set(asset.kinds),
        owners=OWNERS,
        description=asset.description,
        code_version=graph.code_version(asset),
        partitions_def=partitions_def,
        pool=MODEL_POOL if asset.uses_models else None,
        check_specs=check_specs(asset, partitions_def),
        metadata=static_metadata(asset, str(graph.project.root / asset.out())),
        # In a run of one partition, what needs all partitions is left to the run that comes last.
        output_required=False,
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[Yielded]:
        partition = context.partition_key if asset.partitions and context.has_partition_key else None
        try:
            # Read anew: a run uses what is on disk now, also where the page shows older definitions.
            now = Graph(graph.project, graph.assets.values())
            yield from _materialize(context, now, now.get(asset.name, partition))
        except BrokenError as error:
            yield from check_results(error.outcomes)
            raise dg.Failure(str(error), allow_retries=False) from error
        except SpavlError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except OSError as error:
            raise dg.Failure(str(from_system(error)), allow_retries=False) from error

    return compute


def _materialize(context: dg.AssetExecutionContext, graph: Graph, stage: Stage) -> Iterator[Yielded]:
    observe_sources(graph, context.instance, graph.sources_of(graph.asset(stage.artifact)))
    retry = context.run.tags.get(RETRY_TAG) == "failed" and graph.asset(stage.artifact).uses_models
    if not Lock(graph).why_stale(stage) and not retry:
        context.log.info(f"{stage.name} is up to date: nothing to do")
        yield _up_to_date(graph, stage)
        return
    if context.has_partition_key and stage.partition is None and (missing := _missing_parts(graph, stage)):
        context.log.info(f"{stage.name} waits for other partitions: {', '.join(missing)}; their run makes it")
        return
    commit = DvcCommit(graph)
    for needed in _missing_baseline(graph, stage):
        context.log.info(f"{needed.name}, which {stage.name} is compared with, is made first")
        make_and_record(graph, needed, commit, _reporting(context), wait=True, dagster_run=context.run_id)
    recorded = make_and_record(
        graph,
        stage,
        commit,
        _reporting(context),
        wait=True,
        retry_failed=retry,
        dagster_run=context.run_id,
    )
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(recorded.finished.data_version),
        metadata=_metadata(graph, recorded),
        check_results=list(check_results(recorded.finished.outcomes)),
    )


def _up_to_date(graph: Graph, stage: Stage) -> dg.MaterializeResult[None]:
    asset, content = graph.asset(stage.artifact), read_content(graph, stage)
    version = str(graph.data_version(stage))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "made": "nothing: it was up to date",
            "dvc_md5": version,
            **content_metadata(asset, content, graph.params.runtime.show_text),
        },
        check_results=list(check_results(check_content(graph, stage, content))),
    )


def _missing_parts(graph: Graph, stage: Stage) -> list[str]:
    """Parts of partitioned artifacts that a stage reads and that are not there yet, or not yet as they will be."""
    lock = Lock(graph)
    return [up.name for up in graph.behind(stage) if up.partition and lock.why_stale(up)]


def _missing_baseline(graph: Graph, stage: Stage) -> list[Stage]:
    """Parts of the baseline that a stage of another partition reads and that are not up to date, in order."""
    if stage.partition is None:
        return []
    lock = Lock(graph)
    others = [up for up in graph.behind(stage) if up.partition not in (None, stage.partition)]
    return [up for up in others if lock.why_stale(up)]


def _reporting(context: dg.AssetExecutionContext) -> Progress:
    """Progress as log lines, ten for each piece of work."""

    def log(label: str, done: int, total: int) -> None:
        before = (done - 1) * _PROGRESS_LINES // max(total, 1)
        if done == total or done * _PROGRESS_LINES // max(total, 1) > before:
            context.log.info(f"{label}: {done:,} of {total:,}")

    return log


def _metadata(graph: Graph, recorded: Recorded) -> dict[str, Any]:
    finished = recorded.finished
    counts = finished.counts
    values: dict[str, Any] = {
        "seconds": round(finished.seconds, 2),
        "recorded": recorded.how,
        "dvc_md5": finished.data_version,
    }
    if counts.asked:
        values |= {
            "calls_made": counts.made,
            "calls_saved": counts.saved,
            "calls_failed": counts.failed,
            "cost_usd": round(counts.cost_usd, 6),
            "engines": ", ".join(sorted(counts.engines)),
        }
    if recorded.mlflow_run:
        values["mlflow_run"] = dg.MetadataValue.url(run_url(graph, recorded.mlflow_run))
    return values | content_metadata(finished.asset, finished.content, graph.params.runtime.show_text)
