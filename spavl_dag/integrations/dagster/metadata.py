"""What Dagster shows of an artifact: columns, row counts, previews, charts and checks."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pandera.polars as pa

from spavl_dag.pipeline.checks import Outcome, declared_checks
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.make import Content
from spavl_dag.preview import Markdown, Picture, table_preview
from spavl_dag.schemas import Table, hidden_columns


def column_schema(schema: type[Table]) -> dg.TableSchema:
    """A table's columns as Dagster's column schema, described as pandera checks them."""
    described = schema.to_schema()
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=str(column.dtype),
                description=column.description or "; ".join(_conditions(column)),
                constraints=dg.TableColumnConstraints(
                    nullable=bool(column.nullable), unique=bool(column.unique), other=list(_conditions(column))
                ),
            )
            for name, column in described.columns.items()
        ]
    )


def static_metadata(asset: Asset, place: str) -> dict[str, Any]:
    """What is known of an asset before it is made."""
    found: dict[str, Any] = {"path": dg.MetadataValue.path(place)}
    for spec in asset.tables:
        name = "dagster/column_schema" if spec is asset.tables[0] else f"columns_{spec.name}"
        found[name] = column_schema(spec.schema)
    return found


def content_metadata(asset: Asset, content: Content, show_text: bool) -> dict[str, Any]:
    """What an artifact holds.

    Args:
        asset: Its declaration.
        content: Its tables and summary.
        show_text: Whether harmful text may be shown.
    """
    values: dict[str, Any] = {}
    for spec in asset.tables:
        table = content.tables[spec.name]
        values["dagster/row_count" if spec is asset.tables[0] else f"rows_{spec.name}"] = table.height
    values |= {name: _value(value) for name, value in content.summary.metadata.items()}
    if asset.tables:
        main = asset.tables[0]
        hidden = frozenset() if show_text else hidden_columns(main.schema)
        values["preview"] = _value(table_preview(content.tables[main.name], hidden, content.summary.columns))
    return values


def check_specs(asset: Asset, partitions_def: dg.PartitionsDefinition[str] | None) -> list[dg.AssetCheckSpec]:
    """The checks of an asset; what breaks an error check is not kept, so nothing behind it runs."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=asset.name,
            description=description,
            blocking=severity == "error",
            partitions_def=partitions_def,
        )
        for name, description, severity in declared_checks(asset)
    ]


def check_results(outcomes: Sequence[Outcome]) -> Iterator[dg.AssetCheckResult]:
    """Outcomes as Dagster takes them from an asset."""
    for outcome in outcomes:
        yield dg.AssetCheckResult(
            check_name=outcome.check,
            passed=outcome.passed,
            severity=_severity(outcome),
            description="" if outcome.passed else "; ".join(outcome.details) or outcome.description,
            metadata=_check_metadata(outcome),
        )


def check_evaluations(asset: str, partition: str | None, outcomes: Sequence[Outcome]) -> list[dg.AssetCheckEvaluation]:
    """Outcomes as events of their own, for what was made outside of Dagster."""
    return [
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset),
            check_name=outcome.check,
            passed=outcome.passed,
            severity=_severity(outcome),
            metadata=_check_metadata(outcome),
            partition=partition,
        )
        for outcome in outcomes
    ]


def _severity(outcome: Outcome) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if outcome.severity == "error" else dg.AssetCheckSeverity.WARN


def _check_metadata(outcome: Outcome) -> Mapping[str, Any]:
    ids = {"first_failing_ids": ", ".join(outcome.ids)} if outcome.ids else {}
    return {"rows": outcome.rows, "failing": outcome.failing.height, **ids}


def _conditions(column: pa.Column) -> Iterator[str]:
    for check in column.checks:
        statistics = ", ".join(f"{name} {value}" for name, value in (check.statistics or {}).items())
        yield statistics or str(check.name)


def _value(value: object) -> Any:
    if isinstance(value, Markdown):
        return dg.MetadataValue.md(value.text)
    if isinstance(value, Picture):
        data = base64.b64encode(value.png).decode()
        return dg.MetadataValue.md(f"![{value.title}](data:image/png;base64,{data})")
    return value
