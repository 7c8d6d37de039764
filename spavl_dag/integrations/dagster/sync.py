"""Tells Dagster what it didn't make itself: versions of params and files, and what DVC or the command line made.

What is reported of an artifact is read from the artifact: rows, checks, previews. So it is the same after `dvc pull` on
another machine, and nothing needs to be written down for Dagster while stages run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from spavl_dag.errors import SpavlError
from spavl_dag.integrations.dagster.keys import source_key
from spavl_dag.integrations.dagster.metadata import check_evaluations, content_metadata
from spavl_dag.integrations.dagster.private import DATA_VERSION, new_owner, provenance_tags, report_checks
from spavl_dag.integrations.dagster.staleness import StalenessReader
from spavl_dag.integrations.dvc.lock import Lock
from spavl_dag.pipeline.checks import Outcome
from spavl_dag.pipeline.declaration import Source
from spavl_dag.pipeline.graph import Graph, Stage
from spavl_dag.pipeline.make import check_content, read_content


def observe_sources(graph: Graph, instance: dg.DagsterInstance, sources: Iterable[Source] | None = None) -> None:
    """Tell Dagster which version params and input files have, where it doesn't know yet.

    Args:
        graph: The project's artifacts.
        instance: The project's Dagster instance.
        sources: Which of them; all when None.
    """
    for event in _observations(graph, instance, graph.sources.values() if sources is None else sources):
        instance.report_runless_asset_event(event)


def _observations(
    graph: Graph, instance: dg.DagsterInstance, sources: Iterable[Source]
) -> Iterator[dg.AssetObservation]:
    """An observation of each source, or of each of its entries, whose version isn't the one that Dagster knows."""
    for source in sources:
        key = source_key(source)
        partitions: Sequence[str | None] = graph.params.keys(source.partitions) if source.partitions else [None]
        known = _latest_versions(instance, key, len(partitions))
        for partition in partitions:
            version = graph.source_version(source, partition)
            if known.get(partition) != version:
                yield dg.AssetObservation(
                    key,
                    partition=partition,
                    tags={DATA_VERSION: version},
                    description=", ".join([*source.keys, *source.files]).replace("{key}", str(partition)),
                )


def synchronize(graph: Graph, definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[str]:
    """Show Dagster what is there: artifacts that are up to date by dvc.lock but unknown or different in Dagster.

    Returns:
        Names of the stages that were reported.
    """
    observe_sources(graph, instance)
    lock, owner = Lock(graph), new_owner()
    reported = []
    for stage in graph.stages:
        recorded = lock.recorded(stage)
        if recorded is None or lock.why_stale(stage):
            continue
        # After what it is made from was reported: its tags point there.
        tags = {
            DATA_VERSION: recorded.outs[stage.main_out],
            **_provenance(graph, definitions, instance, stage),
        }
        if not _is_known(definitions, instance, stage, tags):
            made, evaluations = _events(graph, stage, tags)
            instance.report_runless_asset_event(made)
            report_checks(instance, stage.artifact, stage.partition, evaluations, owner)
            reported.append(stage.name)
    graph.hasher.save()
    return reported


def _is_known(definitions: dg.Definitions, instance: dg.DagsterInstance, stage: Stage, tags: Mapping[str, str]) -> bool:
    """Whether Dagster knows a stage as it is: by the same tags, or by others from which it concludes the same."""
    record = instance.get_latest_data_version_record(dg.AssetKey(stage.artifact), partition_key=stage.partition)
    known = (record.event_log_entry.tags or {}) if record else {}
    if tags.items() <= known.items():
        return True
    if known.get(DATA_VERSION) != tags[DATA_VERSION]:
        return False
    return StalenessReader(definitions, instance).read(stage.artifact, stage.partition).status == "FRESH"


def _events(
    graph: Graph, stage: Stage, tags: Mapping[str, str]
) -> tuple[dg.AssetMaterialization, list[dg.AssetCheckEvaluation]]:
    asset = graph.asset(stage.artifact)
    outcomes: Sequence[Outcome] = ()
    metadata: dict[str, Any] = {"dvc_md5": tags[DATA_VERSION]}
    try:
        content = read_content(graph, stage)
        metadata |= content_metadata(asset, content, graph.params.runtime.show_text)
        outcomes = check_content(graph, stage, content)
    except (SpavlError, KeyError, OSError) as error:  # such as inputs that weren't pulled: the version is still known
        metadata["not_shown"] = f"{type(error).__name__}: {error}"
    made = dg.AssetMaterialization(
        asset_key=asset.name,
        partition=stage.partition,
        description="Found up to date in dvc.lock; made by `spavl`, `dvc repro` or `dvc pull`.",
        metadata=metadata,
        tags=tags,
    )
    return made, check_evaluations(asset.name, stage.partition, outcomes)


def _latest_versions(instance: dg.DagsterInstance, key: dg.AssetKey, wanted: int) -> Mapping[str | None, str | None]:
    found: dict[str | None, str | None] = {}
    cursor: str | None = None
    # Newest first, in pages, until every partition has turned up: one query for all of them as a rule.
    while len(found) < wanted:
        page = instance.fetch_observations(key, limit=500, cursor=cursor)
        for record in page.records:
            observation = record.asset_observation
            if observation and observation.partition not in found:
                found[observation.partition] = observation.tags.get(DATA_VERSION)
        if not page.has_more:
            break
        cursor = page.cursor
    return found


def _provenance(
    graph: Graph, definitions: dg.Definitions, instance: dg.DagsterInstance, stage: Stage
) -> Mapping[str, str]:
    """The tags a run would have written: from which code and which input versions the artifact was made."""
    node = definitions.resolve_asset_graph().get(dg.AssetKey(stage.artifact))
    inputs: dict[dg.AssetKey, tuple[Sequence[str], int | None]] = {}
    for parent in node.parent_keys:
        keys = _partitions_read(definitions, parent, node, stage.partition)
        is_source = definitions.resolve_asset_graph().get(parent).is_external
        records = [
            record
            for key in keys
            if (record := instance.get_latest_data_version_record(parent, is_source=is_source, partition_key=key))
        ]
        versions = [(record.event_log_entry.tags or {}).get(DATA_VERSION, "") for record in records]
        inputs[parent] = (versions, max((record.storage_id for record in records), default=None))
    return provenance_tags(node.code_version or "", inputs)


def _partitions_read(
    definitions: dg.Definitions, parent: dg.AssetKey, node: Any, partition: str | None
) -> Sequence[str | None]:
    parent_node = definitions.resolve_asset_graph().get(parent)
    if not parent_node.is_partitioned:
        return [None]
    assert parent_node.partitions_def is not None
    keys = list(parent_node.partitions_def.get_partition_keys())
    mapping = node.partition_mappings.get(parent)
    if not node.is_partitioned or isinstance(mapping, dg.AllPartitionMapping):
        return keys
    readers: Mapping[str, Any] = {}
    if isinstance(mapping, dg.StaticPartitionMapping):
        readers = mapping.downstream_partition_keys_by_upstream_partition_key
    return [key for key in keys if key == partition or partition in readers.get(str(key), ())]
