"""How much one command may ask of models: calls, money, hours.

A budget is of a process: a command, one `dvc repro`, a run of Dagster. It stops asking between two batches; what was
answered by then is in the ledger, and the next run goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from spavl_dag.errors import SpavlError


class BudgetError(SpavlError):
    """What may be spent is spent."""


@dataclass(slots=True)
class Spending:
    """What this process has spent so far.

    Attributes:
        calls: Model calls made.
        usd: What they cost.
        since: When the process began to count, by the monotonic clock (seconds).
    """

    calls: int = 0
    usd: float = 0.0
    since: float = field(default_factory=time.monotonic)


SPENT = Spending()
"""This process's."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper bounds; None for none.

    Attributes:
        calls: Model calls.
        usd: What they cost; reached when the calls made so far cost as much, so the last batch may go beyond it.
        hours: Wall time.
    """

    calls: int | None = None
    usd: float | None = None
    hours: float | None = None

    def calls_left(self) -> int | None:
        """How many calls may still be made; None for any number."""
        return None if self.calls is None else max(self.calls - SPENT.calls, 0)

    def reached(self) -> str | None:
        """Which bound is reached, in words; None for none."""
        hours = (time.monotonic() - SPENT.since) / 3600
        if self.calls is not None and SPENT.calls >= self.calls:
            return f"{SPENT.calls:,} calls of runtime.budget_calls {self.calls:,}"
        if self.usd is not None and SPENT.usd >= self.usd:
            return f"{SPENT.usd:.2f} USD of runtime.budget_usd {self.usd:.2f}"
        if self.hours is not None and hours >= self.hours:
            return f"{hours:.2f} hours of runtime.budget_hours {self.hours:g}"
        return None

    def refuse(self, role: str, made: int, wanted: int) -> None:
        """Raise where a bound is reached.

        Args:
            role: Who was asked.
            made: Calls of it made now.
            wanted: Calls of it that were missing.

        Raises:
            BudgetError: One is.
        """
        if what := self.reached():
            raise BudgetError(
                f"the budget is spent: {what}; {made:,} of {wanted:,} missing calls of {role} were made",
                "They are in the ledger. Run it again to go on with as much again, or raise the budget.",
            )
