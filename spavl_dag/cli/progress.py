"""Progress bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_SECONDS_BETWEEN_LINES = 10.0


class ProgressReporter:
    """Shows what is being done; a context manager that is called with label, done and total."""

    def __init__(self) -> None:
        """Bars need a terminal; a log file gets lines."""
        console = Console(stderr=True)
        self._bars = (
            Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        self._label: str | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> ProgressReporter:
        """Start the bars."""
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Take the bars away."""
        if self._bars:
            self._bars.stop()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show how far something is."""
        if self._bars:
            if label != self._label:
                for task in self._bars.task_ids:
                    self._bars.remove_task(task)
                self._bars.add_task(label, total=total)
                self._label = label
            self._bars.update(self._bars.task_ids[-1], completed=done, total=total)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"  {label}: {done:,} of {total:,}", file=sys.stderr, flush=True)
