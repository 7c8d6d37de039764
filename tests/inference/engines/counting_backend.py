"""A backend for worker processes that computes next to nothing, and fails where it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from spavl_dag.inference.engines.vllm.messages import Ask, Outcome, Row

REFUSED, FATAL, KILLED, UNREADABLE = 900, 901, 902, 903
"""Tokens that stand for what is wrong with a row."""


class CountingBackend:
    """Says a row's tokens backwards, one step for each of them.

    Args:
        settings: `pid_file` to note the process in, `child_file` to start another and note it, `load` to spend seconds
            loading, `fail` to fail with these words, `step` to spend seconds on each step.
    """

    context = 100

    def __init__(self, settings: dict[str, str]) -> None:
        if "pid_file" in settings:
            Path(settings["pid_file"]).write_text(str(os.getpid()))
        if "child_file" in settings:
            child = subprocess.Popen(["sleep", "600"])
            Path(settings["child_file"]).write_text(str(child.pid))
        time.sleep(float(settings.get("load", 0)))
        if "fail" in settings:
            raise ValueError(settings["fail"])
        self._pause = float(settings.get("step", 0))
        self._running: dict[int, tuple[Row, int]] = {}

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    def prepare(self, row: Row, ask: Ask) -> Row | Outcome:
        if UNREADABLE in row.tokens:
            return Outcome(row.number, error="no picture")
        if len(row.tokens) + ask.decoding.max_new_tokens > self.context:
            return Outcome(row.number, error="too long")
        return row

    def add(self, row: Row) -> Outcome | None:
        if REFUSED in row.tokens:
            return Outcome(row.number, error="refused")
        self._running[row.number] = (row, 0)
        return None

    def step(self) -> list[Outcome]:
        time.sleep(self._pause)
        ended = []
        for number, (row, steps) in list(self._running.items()):
            if FATAL in row.tokens:
                raise RuntimeError("the device is lost")
            if KILLED in row.tokens:
                os.kill(os.getpid(), signal.SIGKILL)
            self._running[number] = (row, steps + 1)
            if steps + 1 >= len(row.tokens):
                del self._running[number]
                ended.append(Outcome(number, row.tokens[::-1], "stop", len(row.tokens)))
        return ended

    def abort(self) -> None:
        self._running.clear()
