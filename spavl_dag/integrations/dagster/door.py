"""Dagster's view of the project: one asset per artifact, checks, and versions that mean what DVC means by them.

An asset's data version is the hash that dvc.lock holds for it. Its code version is a hash of the code, inputs and
params its stage names in dvc.yaml. What one part alone depends on (its entry in params.yaml, a template it names) is
the data version of that partition of an external asset, `models` or `experiments`: a changed entry makes one partition
stale.
"""

# No postponed annotations here: Dagster reads those of an asset's context when it is defined.

import base64
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from spavl_dag.errors import SpavlError
from spavl_dag.integrations.dvc.command import RECORDER
from spavl_dag.integrations.mlflow.checkpoints import (
    CheckpointRecord,
    EvaluationRecord,
    LiveCurves,
    Score,
    TrainingData,
    checkpoint_params,
)
from spavl_dag.integrations.mlflow.client import tracking_uri
from spavl_dag.integrations.mlflow.outbox import deliver
from spavl_dag.integrations.mlflow.runs import RunRecord
from spavl_dag.params.project import Params, load_params
from spavl_dag.pipeline.layout import ARTIFACTS, PartitionKind, Project
from spavl_dag.pipeline.making import BrokenError, Finished, make
from spavl_dag.pipeline.preview import Markdown, Picture
from spavl_dag.pipeline.recipe import Recipe
from spavl_dag.pipeline.revision import head_commit
from spavl_dag.pipeline.run import CurveCallback, no_curve
from spavl_dag.pipeline.stages import Stages
from spavl_dag.pipeline.store import note_run
from spavl_dag.pipeline.validation import Outcome, check_names
from spavl_dag.progress import Progress, no_progress

ENTRIES: Mapping[PartitionKind, str] = {
    "models": "The answering models: their entries in params.yaml and their prompt templates.",
    "experiments": "The experiments: their entries in params.yaml.",
}
"""The external assets with a partition per entry of that section, and what they are."""

MODEL_POOL = "models"
"""Concurrency pool of everything that runs a model."""

DATA_VERSION = "dagster/data_version"
OWNERS = ["team:spavl-dag"]
EXPERIMENT = "generation"
_PROGRESS_STEPS = 10


@dataclass(frozen=True, slots=True)
class Staleness:
    """What Dagster says of an artifact or a part of it.

    Attributes:
        status: "FRESH", "STALE" or "MISSING".
        causes: Why it is stale.
    """

    status: str
    causes: tuple[str, ...] = ()


def build_defs(project: Project, recipes: Sequence[Recipe]) -> dg.Definitions:
    """All assets, checks, jobs and sensors of a project.

    Args:
        project: The project.
        recipes: How its artifacts are made.

    Raises:
        ParamsError: params.yaml is not valid; the code location then shows why.
    """
    params = load_params(project.params_file)
    stages = Stages(project)
    partitions = {kind: dg.StaticPartitionsDefinition(params.keys(kind)) for kind in ENTRIES}
    with warnings.catch_warnings():
        # Checks per partition are a preview in this Dagster; without them a check shows only the last partition.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        assets = [_asset(project, recipe, params, stages, partitions) for recipe in recipes]
    stages.hasher.save()
    entries = [
        dg.AssetSpec(
            kind,
            partitions_def=partitions[kind],
            group_name="inputs",
            description=description,
            kinds={"yaml"},
            owners=OWNERS,
            metadata={"params": dg.MetadataValue.path(str(project.params_file))},
        )
        for kind, description in ENTRIES.items()
    ]
    dataset = dg.AssetSelection.assets("dataset").upstream() - dg.AssetSelection.assets(*ENTRIES)
    # Two jobs, because the assets of a job share their partitions: answering models here, experiments there.
    alignment = dg.AssetSelection.assets(*[recipe.name for recipe in recipes]) - dataset
    return dg.Definitions(
        assets=[*entries, *assets],
        jobs=[
            dg.define_asset_job("build_dataset", dataset, description="From pictures to the preference dataset."),
            dg.define_asset_job("align", alignment, description="From the dataset to checkpoints, scores and report."),
        ],
        sensors=[_entries_sensor(project)],
        # One process per run: the answering models share weights, which are loaded once.
        executor=dg.in_process_executor,
    )


def open_instance(project: Project) -> dg.DagsterInstance:
    """The project's Dagster instance; its home is made on first use."""
    home = prepare_home(project)
    os.environ["DAGSTER_HOME"] = str(home)
    return dg.DagsterInstance.get()


def prepare_home(project: Project) -> Path:
    """The folder of the project's Dagster instance, with the project's dagster.yaml in it."""
    home = project.dagster_home
    home.mkdir(exist_ok=True)
    link, settings = home / "dagster.yaml", project.root / "dagster.yaml"
    if not link.exists() and settings.is_file():
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(settings, home))
    return home


def materialize(
    project: Project,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    artifact: str,
    partition: str | None,
    progress: Progress = no_progress,
) -> None:
    """Materialize one asset (or one partition of it) in this process.

    Raises:
        SpavlError: What went wrong, as the asset raised it.
    """
    observe_entries(project, instance)
    global _progress
    _progress = progress
    try:
        result = (
            definitions.resolve_implicit_global_asset_job_def()
            .get_subset(asset_selection={dg.AssetKey(artifact)})
            .execute_in_process(instance=instance, partition_key=partition, raise_on_error=False, run_config=_QUIET)
        )
    finally:
        _progress = no_progress
    if not result.success:
        raise _failure_of(result, artifact)


# Every event as a line would drown the command line's bars; the instance keeps all of them.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

_progress: Progress = no_progress
"""Where an in-process materialization reports to; runs started by Dagster itself log instead."""


def observe_entries(project: Project, instance: dg.DagsterInstance) -> None:
    """Tell Dagster which version each entry of params.yaml has, where it doesn't know yet."""
    for event in _new_observations(project, instance):
        instance.report_runless_asset_event(event)


def synchronize(project: Project, definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[str]:
    """Show Dagster what DVC has: artifacts that are up to date by dvc.lock but unknown or different in Dagster.

    That happens when DVC restored outs from its cache or a remote, so that no asset ran.

    Returns:
        Names of the stages that were reported.
    """
    observe_entries(project, instance)
    stages = Stages(project)
    reported = []
    for stage in stages.all:
        recorded = stages.recorded(stage)
        if recorded is None or stages.why_stale(stage):
            continue
        version = recorded.outs[stage.main_out]
        known = staleness(definitions, instance, stage.artifact, stage.partition)
        if known.status == "FRESH" and _known_version(instance, stage.artifact, stage.partition) == version:
            continue
        provenance = _provenance(project, definitions, instance, stage.artifact, stage.partition)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=stage.artifact,
                partition=stage.partition,
                description="Found up to date in dvc.lock; made by DVC, not in this instance.",
                metadata={"restored_by": "dvc"},
                tags={DATA_VERSION: version, **provenance},
            )
        )
        reported.append(stage.name)
    stages.hasher.save()
    return reported


def staleness(
    definitions: dg.Definitions, instance: dg.DagsterInstance, artifact: str, partition: str | None
) -> Staleness:
    """What Dagster's UI would show of an artifact."""
    resolver = _resolver(definitions, instance)
    key = dg.AssetKey(artifact)
    causes = tuple(
        f"{cause.reason}: {cause.dependency.asset_key.to_user_string()}" if cause.dependency else cause.reason
        for cause in resolver.get_stale_causes(key, partition)
    )
    return Staleness(resolver.get_status(key, partition).value, causes)


def _resolver(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    # No public name for it yet; it is what the UI's GraphQL resolvers ask.
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    return CachingStaleStatusResolver(instance, definitions.resolve_asset_graph(), LoadingContextForTest(instance))


def _asset(
    project: Project,
    recipe: Recipe,
    params: Params,
    stages: Stages,
    partitions: Mapping[PartitionKind, dg.StaticPartitionsDefinition],
) -> dg.AssetsDefinition:
    kind = ARTIFACTS[recipe.name].partitions
    partitions_def = partitions[kind] if kind else None
    deps = [_dep(name, recipe, params) for name in recipe.deps]
    # An entry matters to the first artifact it makes; what follows depends on that.
    if kind and stages.of(recipe.name)[0].own_params:
        deps.append(dg.AssetDep(kind))
    code_version = stages.code_version(recipe.name)

    @dg.asset(
        name=recipe.name,
        deps=deps,
        group_name=recipe.group,
        kinds=set(recipe.kinds),
        owners=OWNERS,
        description=recipe.description,
        code_version=code_version,
        partitions_def=partitions_def,
        pool=MODEL_POOL if recipe.asks_models else None,
        check_specs=[
            dg.AssetCheckSpec(
                name,
                asset=recipe.name,
                description=description,
                blocking=severity == "error",
                partitions_def=partitions_def,
            )
            for name, description, severity in check_names(recipe.name)
        ],
        metadata={"path": dg.MetadataValue.path(str(project.out(recipe.name)))},
    )
    def compute(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        partition = context.partition_key if context.has_partition_key else None
        observe_entries(project, context.instance)
        if Stages(project).code_version(recipe.name) != code_version:
            # Dagster would note the old code version and call the new artifact stale.
            raise dg.Failure(
                "params, code or input files changed since Dagster loaded them\n"
                "Reload the definitions (or run the command again) and materialize anew.",
                allow_retries=False,
            )
        try:
            watch = _live_curves(project, params, partition) if recipe.name == "checkpoints" else no_curve
            finished = make(project, recipe, partition, _reporting(context), watch)
        except BrokenError as error:
            yield from _check_results(error.outcomes)
            raise dg.Failure(str(error), allow_retries=False) from error
        except SpavlError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        recorded = RECORDER.record(project, finished)
        run_id = _log_to_mlflow(project, params, finished, context.run_id)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(finished.data_version),
            metadata=_metadata(finished, recorded, run_id),
            check_results=list(_check_results(finished.outcomes)),
        )

    return compute


def _dep(name: str, recipe: Recipe, params: Params) -> dg.AssetDep:
    """A dep on the same partition, or on the same one and the baseline's."""
    if name not in recipe.of_baseline:
        return dg.AssetDep(name)
    keys, baseline = params.keys("experiments"), params.evaluation.baseline
    readers = {key: list(keys) if key == baseline else [key] for key in keys}
    return dg.AssetDep(name, partition_mapping=dg.StaticPartitionMapping(readers))


def _reporting(context: dg.AssetExecutionContext) -> Progress:
    """Progress to the command line's bars, or as ten log lines a model."""
    if _progress is not no_progress:
        return _progress

    def log(label: str, done: int, total: int) -> None:
        before = (done - 1) * _PROGRESS_STEPS // total
        if done == total or done * _PROGRESS_STEPS // total > before:
            context.log.info(f"{label}: {done:,} of {total:,}")

    return log


def _check_results(outcomes: Sequence[Outcome]) -> Iterator[dg.AssetCheckResult]:
    for outcome in outcomes:
        yield dg.AssetCheckResult(
            check_name=outcome.check,
            passed=outcome.passed,
            severity=dg.AssetCheckSeverity.ERROR if outcome.severity == "error" else dg.AssetCheckSeverity.WARN,
            description="" if outcome.passed else "; ".join(outcome.details) or outcome.description,
            metadata={
                "rows": outcome.rows,
                "failing": outcome.failing.height,
                **({"first_failing_ids": ", ".join(outcome.ids)} if outcome.ids else {}),
            },
        )


def _metadata(finished: Finished, recorded: str, mlflow_run: str | None) -> dict[str, Any]:
    counts = finished.counts
    values: dict[str, Any] = {
        "seconds": round(finished.seconds, 2),
        "recorded": recorded,
        "dvc_md5": finished.data_version,
    }
    for name, table in finished.made.tables.items():
        values["dagster/row_count" if name == finished.stage.artifact else f"rows_{name}"] = table.height
    if counts.asked:
        values |= {
            "calls_made": counts.made,
            "calls_saved": counts.saved,
            "calls_failed": counts.failed,
            "cost_usd": round(counts.cost_usd, 6),
            "mlflow_run": mlflow_run or "kept in the outbox",
        }
    return values | {name: _value(value) for name, value in finished.made.metadata.items()}


def _value(value: object) -> Any:
    if isinstance(value, Markdown):
        return dg.MetadataValue.md(value.text)
    if isinstance(value, Picture):
        data = base64.b64encode(value.png).decode()
        return dg.MetadataValue.md(f"![{value.title}](data:image/png;base64,{data})")
    return value


def _log_to_mlflow(project: Project, params: Params, finished: Finished, dagster_run: str) -> str | None:
    match finished.stage.artifact:
        case "checkpoints":
            return _log_checkpoint(project, params, finished, dagster_run)
        case "eval_scores":
            return _log_evaluation(project, params, finished, dagster_run)
        case _:
            return _log_generation(project, params, finished, dagster_run)


def _log_checkpoint(project: Project, params: Params, finished: Finished, dagster_run: str) -> str | None:
    key = str(finished.stage.partition)
    entry, training = params.experiments[key], finished.made.training
    data = None
    if training:
        version = str(finished.before.deps["data/dataset"])
        data = TrainingData("dataset", version, training.rows, ARTIFACTS["dataset"].out())
    record = CheckpointRecord(
        key=key,
        label=entry.label or key,
        data_version=finished.data_version,
        params=checkpoint_params(entry, training.rows if training else 0),
        data=data,
        curves=training.curve if training else (),
        metrics={"seconds": finished.seconds},
        tags=_origin(project, finished, dagster_run),
        training=training.key if training else None,
    )
    run_id = deliver(project, tracking_uri(project, params.runtime.mlflow_uri), record)
    if run_id:
        note_run(project, key, finished.data_version, run_id)
    return run_id


def _log_evaluation(project: Project, params: Params, finished: Finished, dagster_run: str) -> str | None:
    key = str(finished.stage.partition)
    tables = finished.made.tables
    broken = tables["gate"].filter(~tables["gate"]["passed"])
    failed = [f"{condition}: {metric}" for condition, metric in broken.select("condition", "metric").iter_rows()]
    is_baseline = key == params.evaluation.baseline
    record = EvaluationRecord(
        key=key,
        label=params.experiments[key].label or key,
        data_version=str(Stages(project).data_version("checkpoints", key)),
        scores={
            row["name"]: Score(row["value"], row["ci_low"], row["ci_high"], row["n"])
            for row in tables["eval_scores"].iter_rows(named=True)
        },
        gate="baseline" if is_baseline else "failed" if failed else "passed",
        gate_failed=failed,
        tags=_origin(project, finished, dagster_run),
    )
    return deliver(project, tracking_uri(project, params.runtime.mlflow_uri), record)


def _origin(project: Project, finished: Finished, dagster_run: str) -> dict[str, str]:
    """Tags of an MLflow run that lead back to what it is about."""
    return {
        "dagster.run_id": dagster_run,
        "dvc.md5": finished.data_version,
        "git.commit": head_commit(project.root),
    }


def _live_curves(project: Project, params: Params, key: str | None) -> CurveCallback:
    """Curves of a training to MLflow while it runs; the checkpoint's record finishes that run."""
    opened: dict[str, LiveCurves] = {}

    def watch(training: str, rows: Sequence[Mapping[str, float]]) -> None:
        if training not in opened:
            label = params.experiments[str(key)].label or str(key)
            uri = tracking_uri(project, params.runtime.mlflow_uri)
            opened[training] = LiveCurves(project, uri, str(key), label, training)
        opened[training].add(rows)

    return watch


def _log_generation(project: Project, params: Params, finished: Finished, dagster_run: str) -> str | None:
    counts = finished.counts
    if not (counts.asked or finished.made.metrics):
        return None
    metrics = {
        "rows": float(sum(table.height for table in finished.made.tables.values())),
        "seconds": finished.seconds,
        **finished.made.metrics,
    }
    if counts.asked:
        metrics |= {
            "calls_made": counts.made,
            "calls_saved": counts.saved,
            "calls_failed": counts.failed,
            "prompt_tokens": counts.prompt_tokens,
            "completion_tokens": counts.completion_tokens,
            "cost_usd": counts.cost_usd,
        }
    record = RunRecord(
        experiment=EXPERIMENT,
        name=finished.stage.name.replace("@", "/"),
        params={
            "artifact": finished.stage.artifact,
            "partition": finished.stage.partition,
            **finished.fields,
        },
        metrics=metrics,
        tags=_origin(project, finished, dagster_run),
    )
    return deliver(project, tracking_uri(project, params.runtime.mlflow_uri), record)


def _entries_sensor(project: Project) -> dg.SensorDefinition:
    @dg.sensor(
        name="entries_changed",
        description="Notices changed entries of models and experiments, so that just their partitions turn stale.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def entries_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return dg.SensorResult(asset_events=list(_new_observations(project, context.instance)))

    return entries_changed


def _new_observations(project: Project, instance: dg.DagsterInstance) -> Iterator[dg.AssetObservation]:
    stages = Stages(project)
    for kind in ENTRIES:
        of_kind = [s for s in stages.all if s.partition and ARTIFACTS[s.artifact].partitions == kind]
        keys = list(dict.fromkeys(stage.partition for stage in of_kind if stage.partition))
        known = _latest_observations(instance, kind, keys)
        for key in keys:
            version = stages.entry_version(kind, key)
            if known.get(key) != version:
                yield dg.AssetObservation(
                    kind,
                    partition=key,
                    tags={DATA_VERSION: version},
                    description=f"{kind}.{key} of params.yaml, with a prompt template it names",
                )


def _latest_observations(
    instance: dg.DagsterInstance, kind: PartitionKind, keys: Sequence[str]
) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    cursor: str | None = None
    # Newest first, in pages, until every key has turned up: one query for all of them as a rule.
    while len(found) < len(keys):
        page = instance.fetch_observations(dg.AssetKey(kind), limit=500, cursor=cursor)
        for record in page.records:
            observation = record.asset_observation
            if observation and observation.partition and observation.partition not in found:
                found[observation.partition] = observation.tags.get(DATA_VERSION)
        if not page.has_more:
            break
        cursor = page.cursor
    return found


def _known_version(instance: dg.DagsterInstance, artifact: str, partition: str | None) -> str | None:
    record = instance.get_latest_data_version_record(dg.AssetKey(artifact), partition_key=partition)
    event = record.event_log_entry if record else None
    return (event.tags or {}).get(DATA_VERSION) if event else None


def _provenance(
    project: Project,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    artifact: str,
    partition: str | None,
) -> Mapping[str, str]:
    """The tags a run would have written: from which code and which input versions the artifact was made."""
    from dagster._core.definitions.data_version import (
        CODE_VERSION_TAG,
        get_input_data_version_tag,
        get_input_event_pointer_tag,
    )

    graph = definitions.resolve_asset_graph()
    node = graph.get(dg.AssetKey(artifact))
    tags = {CODE_VERSION_TAG: node.code_version or ""}
    for parent in node.parent_keys:
        parent_node = graph.get(parent)
        keys: list[str | None] = [None]
        if parent_node.is_partitioned:
            assert parent_node.partitions_def is not None
            keys = list(parent_node.partitions_def.get_partition_keys())
            if node.is_partitioned:
                mapping = node.partition_mappings.get(parent)
                readers: Mapping[str, Any] = {}
                if isinstance(mapping, dg.StaticPartitionMapping):
                    readers = mapping.downstream_partition_keys_by_upstream_partition_key
                keys = [key for key in keys if key == partition or partition in readers.get(str(key), ())]
        records = [
            instance.get_latest_data_version_record(parent, is_source=parent_node.is_external, partition_key=key)
            for key in keys
        ]
        newest = max((record.storage_id for record in records if record), default=None)
        versions = [(r.event_log_entry.tags or {}).get(DATA_VERSION, "") for r in records if r]
        tags[get_input_data_version_tag(parent)] = versions[0] if len(versions) == 1 else "|".join(versions)
        if newest is not None:
            tags[get_input_event_pointer_tag(parent)] = str(newest)
    return tags


def _failure_of(result: dg.ExecuteInProcessResult, artifact: str) -> SpavlError:
    """The failure's own words, without Dagster's frames around them."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                message, _, hint = data.user_failure_data.description.partition("\n")
                return SpavlError(message, hint or None)
            if data.error:
                cause = data.error
                while cause.cause:
                    cause = cause.cause
                print(cause.to_string(), file=sys.stderr)
                return SpavlError(f"{artifact} failed: {cause.message.strip()}")
    return SpavlError(f"{artifact} failed", "See the run in the Dagster UI.")
