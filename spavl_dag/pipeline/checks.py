"""Checks tables before an artifact is replaced: the schema of each, then the conditions that the asset names.

Every check gives one outcome, also when it passed, so that its history has no gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandera.errors
import polars as pl

from spavl_dag.pipeline.declaration import Asset, Checked
from spavl_dag.schemas import Table, polars_schema
from spavl_dag.states import CallState

CALLS_CHECK = "calls_succeeded"
_CALLS_DESCRIPTION = "At most runtime.max_failed_share of the calls ended in an error."

SHOWN_IDS = 10
"""Failing ids named in messages and check metadata; all failing rows go to a file."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found.

    Attributes:
        check: Its name.
        description: What should hold.
        severity: "error" keeps the artifact from being replaced.
        rows: Rows that were looked at.
        failing: The rows that broke it.
        details: What was wrong, in words.
    """

    check: str
    description: str
    severity: Literal["error", "warn"]
    rows: int
    failing: pl.DataFrame = field(default_factory=pl.DataFrame)
    details: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing broke it."""
        return self.failing.is_empty() and not self.details

    @property
    def blocks(self) -> bool:
        """Whether it keeps the artifact from being replaced."""
        return not self.passed and self.severity == "error"

    @property
    def ids(self) -> list[str]:
        """The first failing ids (of the first column)."""
        if self.failing.is_empty():
            return []
        return [str(value) for value in self.failing.to_series(0).head(SHOWN_IDS)]


def declared_checks(asset: Asset) -> list[tuple[str, str, Literal["error", "warn"]]]:
    """Name, description and severity of every check an artifact has."""
    schemas: list[tuple[str, str, Literal["error", "warn"]]] = [
        (f"schema_{table.name}", _schema_description(table.name), "error") for table in asset.tables
    ]
    calls: list[tuple[str, str, Literal["error", "warn"]]] = (
        [(CALLS_CHECK, _CALLS_DESCRIPTION, "error")] if _has_states(asset) else []
    )
    return schemas + calls + [(check.name, check.description, check.severity) for check in asset.checks]


def run_checks(
    asset: Asset,
    tables: Mapping[str, pl.DataFrame],
    inputs: Mapping[str, Any],
    metrics: Mapping[str, float],
    max_failed_share: float = 1.0,
) -> list[Outcome]:
    """Run all checks of an artifact.

    Args:
        asset: The artifact.
        tables: Its new tables, by name.
        inputs: What its function was given.
        metrics: Its numbers.
        max_failed_share: How many of a table's calls may have ended in a permanent error.

    Returns:
        An outcome per check. When a schema is broken the other checks are not run: they rely on it.
    """
    outcomes = [_against_schema(table.name, tables[table.name], table.schema) for table in asset.tables]
    if any(outcome.blocks for outcome in outcomes):
        return outcomes
    if _has_states(asset):
        outcomes.append(_calls_succeeded(tables, max_failed_share))
    rows = tables[asset.tables[0].name].height if asset.tables else 0
    checked = Checked(tables, inputs, metrics)
    return outcomes + [
        Outcome(check.name, check.description, check.severity, rows, check.broken(checked)) for check in asset.checks
    ]


def _has_states(asset: Asset) -> bool:
    return any(_state_columns(polars_schema(table.schema)) for table in asset.tables)


def _state_columns(columns: Iterable[str]) -> list[str]:
    return [column for column in columns if column == "state" or column.endswith("_state")]


def _calls_succeeded(tables: Mapping[str, pl.DataFrame], most: float) -> Outcome:
    """Whether few enough calls ended in an error: many are no property of the rows, but of a server or a setting."""
    rows, worst, details = 0, pl.DataFrame(), []
    for name, table in tables.items():
        if not (columns := _state_columns(table.columns)):
            continue
        rows += table.height
        failed = table.filter(pl.any_horizontal(pl.col(columns) == CallState.PERMANENT_ERROR.value))
        if failed.height > most * table.height:
            share = failed.height / table.height
            details.append(
                f"{failed.height:,} of {table.height:,} rows of '{name}' ended in an error ({share:.0%}; "
                f"runtime.max_failed_share is {most:.0%}). `spavl run ... --retry failed` asks them again"
            )
            worst = failed if worst.is_empty() else worst
    return Outcome(CALLS_CHECK, _CALLS_DESCRIPTION, "error", rows, worst, tuple(details))


def _schema_description(table: str) -> str:
    return f"The rows of table '{table}' are what they must be."


def _against_schema(table: str, rows: pl.DataFrame, schema: type[Table]) -> Outcome:
    name, description = f"schema_{table}", _schema_description(table)
    try:
        schema.validate(rows, lazy=True)
    except pandera.errors.SchemaErrors as error:
        failing = _failing_rows(rows, error)
        return Outcome(name, description, "error", rows.height, failing, tuple(_in_words(error, schema)))
    return Outcome(name, description, "error", rows.height)


def _failing_rows(rows: pl.DataFrame, error: pandera.errors.SchemaErrors) -> pl.DataFrame:
    """The rows that pandera's failure cases point at (their column `index`)."""
    cases = error.failure_cases
    if "index" not in cases.columns:
        return rows.clear()
    places = cases["index"].drop_nulls().cast(pl.Int64, strict=False).drop_nulls().unique().sort()
    return rows[places.to_list()] if places.len() else rows.clear()


def _in_words(error: pandera.errors.SchemaErrors, schema: type[Table]) -> Iterator[str]:
    cases = error.failure_cases
    grouped = cases.group_by("column", "check", maintain_order=True).agg(
        count=pl.len(), first=pl.col("failure_case").first()
    )
    known = set(polars_schema(schema))
    for row in grouped.head(20).iter_rows(named=True):
        where = f"column '{row['column']}'" if row["column"] in known else "table"
        # Cell values can be harmful text; they are in the file of failing rows, not in the message.
        yield f"{where}: {row['check']} fails on {row['count']} row(s)"
