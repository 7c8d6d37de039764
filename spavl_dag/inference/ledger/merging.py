"""Joins ledgers: what was paid for on several machines, or in a temporary checkout, in one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from spavl_dag.inference.keys import KEY_BYTES
from spavl_dag.inference.ledger.errors import LedgerError, clear_errors, damaged
from spavl_dag.inference.ledger.ledger import Ledger
from spavl_dag.inference.ledger.rows import CallRow
from spavl_dag.inference.ledger.schema import CODES, IS_FINAL
from spavl_dag.progress import Progress, no_progress

_ROWS_AT_ONCE = 10_000
"""Rows of one transaction, when batches are smaller."""


class Merged(NamedTuple):
    """What came of a file, in its calls that ended for good.

    Attributes:
        new: Calls that the ledger didn't have.
        known: Calls that it had, with the same result.
        conflicting: Calls that it had with another result, which goes on to count.
    """

    new: int
    known: int
    conflicting: int


class _Batch(NamedTuple):
    identity: object
    run_id: str
    created_at: float
    states: bytes
    rows: list[CallRow]

    @property
    def size(self) -> int:
        """Rows."""
        return len(self.states)


def merge(target: Ledger, files: Sequence[Path], progress: Progress = no_progress) -> list[Merged]:
    """Append the batches of other ledgers, with their runs and times, that a ledger doesn't have yet.

    Every attempt is kept, so that none that was paid for is lost. Where both have a key's text, the one that the
    target had first goes on to count, then that of the file that is named first: what was projected stays as it is.
    A text counts before an error.
    The files are only read. Batches are copied whole, some at a time; after a kill or a full disk, merging again goes
    on with those that are missing.

    Args:
        target: Where they come together.
        files: Ledgers of this or an older version.
        progress: Told about rows, under the file's name.

    Returns:
        For each file what came of it.

    Raises:
        LedgerError: A file is missing, damaged or the ledger itself. What was copied before stays, whole batches only.
    """
    for file in files:
        with clear_errors(file):
            if file.exists() and file.samefile(target.path):
                raise LedgerError(f"{file} is the ledger itself.", "Name the other ledgers, whose calls it lacks.")
        Ledger(file, read_only=True).close()
    return [_merge_one(target, file, progress) for file in files]


def _merge_one(target: Ledger, file: Path, progress: Progress) -> Merged:
    here = _Here(target)
    counts = [0, 0, 0]
    with Ledger(file, read_only=True) as source:
        total, done = source.count(), 0
        for batches in _some_at_a_time(source, here):
            for index, count in enumerate(_copy(target, batches, here)):
                counts[index] += count
            done += sum(batch.size for batch in batches)
            progress(str(file), done, total)
    return Merged(*counts)


class _Here:
    """The batches that the target has."""

    def __init__(self, target: Ledger) -> None:
        self._target = target
        self._last = 0
        self._known: set[object] = set()
        self.refresh()

    def refresh(self) -> None:
        """See what was appended since, by this or another process."""
        for number, run_id, created_at, _, count, keys, _ in self._target.batches(self._last):
            self._known.add(_identity(run_id, created_at, count, keys))
            self._last = number

    def __contains__(self, identity: object) -> bool:
        return identity in self._known


def _identity(run_id: str, created_at: float, count: int, keys: bytes) -> object:
    """What tells a batch from every other one, in whichever ledger it lies."""
    return run_id, created_at, count, keys[:KEY_BYTES]


def _some_at_a_time(source: Ledger, here: _Here) -> Iterator[list[_Batch]]:
    """All batches of a ledger; the rows of those that aren't here are read."""
    batches: list[_Batch] = []
    read = 0
    for _, run_id, created_at, first, count, keys, states in source.batches():
        batch = _Batch(_identity(run_id, created_at, count, keys), run_id, created_at, states, [])
        if batch.identity not in here:
            rows = source.rows(range(first, first + count))
            if b"".join([row.key for row in rows]) != keys or bytes([CODES[row.state] for row in rows]) != states:
                raise damaged(source.path, "its index doesn't fit its rows")
            batch = batch._replace(rows=rows)
            read += count
        batches.append(batch)
        if read >= _ROWS_AT_ONCE:
            yield batches
            batches, read = [], 0
    yield batches


def _copy(target: Ledger, batches: Sequence[_Batch], here: _Here) -> Merged:
    """Append those that aren't here in one transaction, and count what all of them bring."""
    with target.transaction(sum(len(batch.rows) for batch in batches)):
        here.refresh()
        missing = [batch for batch in batches if batch.identity not in here]
        final = [row for batch in missing for row in batch.rows if row.state.is_final]
        there = {
            key: (made.state, made.text)
            for key, made in target.fetch_outputs([row.key for row in final]).items()
            if made.state.is_final
        }
        new = conflicting = 0
        for row in final:
            result, held = (row.state, row.text), there.get(row.key)
            if held is None or (row.state.has_text and not held[0].has_text):  # a text counts before an error
                new += 1
                there[row.key] = result
            else:
                conflicting += held != result
        for batch in missing:
            target.write(batch.rows, batch.run_id, batch.created_at)
    results = sum(sum(batch.states.translate(IS_FINAL)) for batch in batches)
    return Merged(new, results - new - conflicting, conflicting)
