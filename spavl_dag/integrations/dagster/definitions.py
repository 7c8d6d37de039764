"""All assets, checks, jobs and sensors of a project, as Dagster loads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import dagster as dg

from spavl_dag.integrations.dagster.assets import RETRY_TAG, build_asset
from spavl_dag.integrations.dagster.keys import OWNERS, partitions_of, source_key
from spavl_dag.integrations.dagster.runs import clear_dead_runs, one_process
from spavl_dag.integrations.dagster.sync import synchronize
from spavl_dag.pipeline.declaration import Asset, Source
from spavl_dag.pipeline.graph import Graph
from spavl_dag.pipeline.layout import Project

SYNC_SECONDS = 30
"""Between looks of the sensor at what changed on disk."""


def build_definitions(project: Project, declared: Iterable[Asset]) -> dg.Definitions:
    """The definitions of a project.

    Args:
        project: The project.
        declared: Its artifacts.

    Raises:
        ParamsError: params.yaml is not valid; the code location then shows why.
    """
    graph = Graph(project, declared)
    with warnings.catch_warnings():
        # Checks per partition are a preview in this Dagster; without them a check shows only the last partition.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)  # observable source assets
        assets = [build_asset(graph, asset) for asset in graph.assets.values()]
        observed = [_source(graph, source) for source in graph.sources.values()]
    graph.hasher.save()
    upstream = dg.AssetSelection.assets("dataset").upstream()
    sources = dg.AssetSelection.assets(*[source_key(source) for source in graph.sources.values()])
    made = dg.AssetSelection.assets(*graph.assets)
    # Two jobs, because the assets of a job share their partitions: answering models here, experiments there.
    return dg.Definitions(
        assets=[*observed, *assets],
        jobs=[
            dg.define_asset_job(
                "build_dataset", upstream - sources, description="From pictures to the preference dataset."
            ),
            dg.define_asset_job(
                "retry_failed",
                dg.AssetSelection.assets(*_answering(graph)),
                tags={RETRY_TAG: "failed"},
                description="Asks again for answers and labels what ended in an error; whatever succeeded stays.",
            ),
            dg.define_asset_job("align", made - upstream, description="From the dataset to scores and report."),
        ],
        sensors=[_sensor(graph)],
        executor=one_process,
        # Of a run its progress, and not each event of Dagster's own: those are in its pages.
        loggers={"console": dg.colored_console_logger.configured({"log_level": "INFO"})},
    )


def _answering(graph: Graph) -> list[str]:
    """Artifacts with a part per answering model."""
    return [name for name, asset in graph.assets.items() if asset.partitions == "models"]


def _source(graph: Graph, source: Source) -> dg.AssetSpec | dg.SourceAsset:
    """What no asset makes: an external asset whose versions the sensor observes; "Observe" on its page does so too.

    Those with a version per entry can't be observed from their page: an observation says nothing of partitions.
    """
    described: dict[str, Any] = {
        "group_name": "params",
        "description": "From params.yaml: " + ", ".join([*source.keys, *source.files]),
        "metadata": {"params": dg.MetadataValue.path(str(graph.project.params_file))},
    }
    key = source_key(source)
    if source.partitions:
        partitions_def = partitions_of(graph, source.partitions)
        return dg.AssetSpec(key, partitions_def=partitions_def, kinds={"yaml"}, owners=OWNERS, **described)

    @dg.observable_source_asset(key=key, tags={"dagster/kind/yaml": ""}, **described)
    def observe() -> dg.DataVersion:
        now = Graph(graph.project, graph.assets.values())
        return dg.DataVersion(now.source_version(now.sources[source.name]))

    return observe


def _sensor(graph: Graph) -> dg.SensorDefinition:
    @dg.sensor(
        name="what_changed_on_disk",
        description="Notices changed params and files, and what `spavl` or `dvc` made, so that pages show it.",
        minimum_interval_seconds=SYNC_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def what_changed_on_disk(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        # The daemon's own monitoring leaves runs of other processes alone, and they would hold up its queue.
        clear_dead_runs(context.instance)
        running = context.instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        now = Graph(graph.project, graph.assets.values())
        if running:  # it reports what it makes by itself
            return dg.SkipReason("a run is in progress")
        definitions = build_definitions(graph.project, graph.assets.values())
        reported = synchronize(now, definitions, context.instance)
        return dg.SkipReason(f"reported: {', '.join(reported)}" if reported else "nothing new")

    return what_changed_on_disk
