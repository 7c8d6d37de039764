"""Names of Dagster that are not public yet, in one place; known to work with 1.13 (a test says so).

They are what the web server asks for the page's "stale", and the tags a run writes of what an asset was made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

KNOWN_RELEASES = "1.13"

DATA_VERSION = "dagster/data_version"


def stale_status_resolver(instance: dg.DagsterInstance, graph: Any) -> Any:
    """What answers `get_status` and `get_stale_causes`, as for the asset page."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    return CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))


def provenance_tags(
    code_version: str, inputs: Mapping[dg.AssetKey, tuple[Sequence[str], int | None]]
) -> dict[str, str]:
    """The tags that say from which code and which versions of its inputs an asset was made.

    Args:
        code_version: The asset's.
        inputs: By upstream asset: data versions of what was read of it, and the storage id of the newest event.
    """
    from dagster._core.definitions.data_version import (
        CODE_VERSION_TAG,
        get_input_data_version_tag,
        get_input_event_pointer_tag,
    )

    tags = {CODE_VERSION_TAG: code_version}
    for key, (versions, newest) in inputs.items():
        tags[get_input_data_version_tag(key)] = versions[0] if len(versions) == 1 else "|".join(versions)
        if newest is not None:
            tags[get_input_event_pointer_tag(key)] = str(newest)
    return tags


def report_checks(
    instance: dg.DagsterInstance,
    asset: str,
    partition: str | None,
    evaluations: Sequence[dg.AssetCheckEvaluation],
    owner: str,
) -> None:
    """Report checks of what was made outside of Dagster and reported just now.

    Dagster keeps one evaluation of a partition per run, and one without a run: later ones need an id of their own. Each
    names the materialization that it is about; without, Dagster compares times by the whole second, and shows a check
    as not run since.

    Args:
        instance: The project's Dagster instance.
        asset: Name of what was checked.
        partition: Its partition, if it has some.
        evaluations: What was found.
        owner: Id in place of a run's (`new_owner`), one for many reports: Dagster makes a database for each.
    """
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationTargetMaterializationData,
    )
    from dagster._core.events import DagsterEvent, DagsterEventType
    from dagster_shared.record import copy

    (made,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[partition] if partition else None), limit=1
    ).records
    target = AssetCheckEvaluationTargetMaterializationData(
        storage_id=made.storage_id, run_id=made.run_id, timestamp=made.timestamp
    )
    kind = DagsterEventType.ASSET_CHECK_EVALUATION.value
    for evaluation in evaluations:
        about_it = copy(evaluation, target_materialization_data=target)
        event = DagsterEvent(event_type_value=kind, job_name="", event_specific_data=about_it)
        instance.report_dagster_event(event, owner)


def new_owner() -> str:
    """An id for `report_checks`."""
    from dagster._core.utils import make_new_run_id

    return make_new_run_id()
