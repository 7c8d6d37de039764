"""What Dagster's pages say of an artifact: fresh, stale (and why) or missing."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from spavl_dag.integrations.dagster.private import stale_status_resolver


@dataclass(frozen=True, slots=True)
class Staleness:
    """What Dagster says of an artifact or a part of it.

    Attributes:
        status: "FRESH", "STALE" or "MISSING".
        causes: Why it is stale.
    """

    status: str
    causes: tuple[str, ...] = ()


class StalenessReader:
    """Reads what Dagster says; everything is looked up once.

    Args:
        definitions: The project's.
        instance: Its Dagster instance.
    """

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._resolver = stale_status_resolver(instance, definitions.resolve_asset_graph())

    def read(self, artifact: str, partition: str | None) -> Staleness:
        """What Dagster's UI would show of an artifact."""
        key = dg.AssetKey(artifact)
        causes = tuple(
            f"{cause.reason}: {cause.dependency.asset_key.to_user_string()}" if cause.dependency else cause.reason
            for cause in self._resolver.get_stale_causes(key, partition)
        )
        return Staleness(self._resolver.get_status(key, partition).value, causes)
