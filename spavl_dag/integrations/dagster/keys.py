"""How artifacts and what they depend on are named in Dagster."""

from __future__ import annotations

import dagster as dg

from spavl_dag.pipeline.declaration import Asset, Source, Upstream
from spavl_dag.pipeline.graph import Graph

MODEL_POOL = "models"
"""Concurrency pool of everything that runs a model."""

OWNERS = ["team:spavl-dag"]


def source_key(source: Source) -> dg.AssetKey:
    """Key of the external asset that stands for a source: `params__pairs`, `roles__judge`, `models`.

    One part only: this Dagster doesn't find the versions of inputs whose keys have several.
    """
    return dg.AssetKey(source.name.replace("/", "__"))


def partitions_of(graph: Graph, kind: str) -> dg.StaticPartitionsDefinition:
    """The keys of a section of params as partitions."""
    return dg.StaticPartitionsDefinition(graph.params.keys(kind))  # type: ignore[arg-type]


def dependencies(graph: Graph, asset: Asset) -> list[dg.AssetDep]:
    """What an asset depends on in Dagster: the artifacts it reads, and what no asset makes."""
    modes: dict[str, tuple[Asset, list[Upstream]]] = {}
    for owner, up in graph.reads(asset):
        modes.setdefault(owner.name, (owner, []))[1].append(up)
    deps = [_dep(graph, asset, owner, ups) for owner, ups in modes.values()]
    return deps + [dg.AssetDep(source_key(source)) for source in graph.sources_of(asset)]


def _dep(graph: Graph, asset: Asset, owner: Asset, ups: list[Upstream]) -> dg.AssetDep:
    """A dep on the same partition, on all of them, or on the same one and the baseline's."""
    if asset.partitions is None or owner.partitions is None or all(up.mode == "one" for up in ups):
        return dg.AssetDep(owner.name)
    if any(up.mode == "all" for up in ups):
        return dg.AssetDep(owner.name, partition_mapping=dg.AllPartitionMapping())
    keys, baseline = graph.params.keys(owner.partitions), graph.params.evaluation.baseline
    readers = {key: list(keys) if key == baseline else [key] for key in keys}
    return dg.AssetDep(owner.name, partition_mapping=dg.StaticPartitionMapping(readers))
