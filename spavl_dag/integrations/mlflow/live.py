"""A training's curve in MLflow while it runs: the same record as when it is done, only earlier and with less in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from spavl_dag.integrations.mlflow.checkpoints import CheckpointRecord
from spavl_dag.integrations.mlflow.numbers import CurveRow

_SHARE = 20  # logging takes at most a twentieth of the time


class LiveCurve:
    """Logs what is new on a curve, now and then.

    An aid to watch a training by: what isn't logged once isn't tried again, for the record of the finished checkpoint
    holds the whole curve.

    Args:
        record: The checkpoint, as far as it is known while it is trained.
        deliver: Logs a record; gives None where it could not.
        longest: Seconds to wait at most for the next time, however long the last one took.
    """

    def __init__(
        self, record: CheckpointRecord, deliver: Callable[[CheckpointRecord], str | None], longest: float = 60.0
    ) -> None:
        self._record, self._deliver, self._longest = record, deliver, longest
        self._waiting: list[CurveRow] = []
        self._next = 0.0
        self._given_up = False

    def add(self, rows: Sequence[CurveRow]) -> None:
        """Take rows that came since the last call."""
        started = time.monotonic()
        self._waiting += rows
        if self._given_up or not self._waiting or started < self._next:
            return
        self._given_up = self._deliver(replace(self._record, curves=tuple(self._waiting))) is None
        self._waiting.clear()
        self._next = time.monotonic() + min(self._longest, _SHARE * (time.monotonic() - started))
