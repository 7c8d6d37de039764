"""`spavl ledger merge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape


def merge_ledgers(project_ledger: Path, files: Sequence[Path]) -> None:
    """Append what other ledgers hold and the project's lacks; say of each file what it brought.

    Args:
        project_ledger: The project's ledger; made where there is none.
        files: Ledgers of other checkouts or machines. They are only read.

    Raises:
        LedgerError: A file is missing, damaged, or the project's ledger itself.
    """
    from spavl_dag.cli.progress import ProgressReporter
    from spavl_dag.inference.ledger import Ledger

    with Ledger(project_ledger) as ledger:
        with ProgressReporter() as progress:
            merged = ledger.merge(files, progress)
        console = Console()
        for file, (new, known, conflicting) in zip(files, merged, strict=True):
            told = f"{escape(str(file))}: {new:,} new, {known:,} already here"
            if conflicting:
                told += f", {conflicting:,} with another result here, which goes on to count"
            console.print(told, highlight=False, soft_wrap=True)
        console.print(f"{ledger.count():,} calls in {escape(str(project_ledger))}", highlight=False, soft_wrap=True)
