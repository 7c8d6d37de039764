"""The worker process: `python -m spavl_dag.inference.engines.vllm.worker <read fd> <write fd>`.

It lives as long as the pipe that it reads from: when the engine closes it, or dies in whatever way, the system closes
the other end and this process ends at once, in the middle of whatever it computes. So nothing is left behind.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from spavl_dag.inference.engines.vllm.messages import Abort, Ask, Failed, Outcome, Ready, Row, Start

_SWITCH = 2e-4
"""Seconds. With Python's 5 ms, whoever computes waits that long, after each operation, for who prepares rows."""


class Backend(Protocol):
    """What computes. `prepare` is called from another thread than the rest."""

    context: int
    """Most tokens of prompt and text together."""

    @property
    def is_busy(self) -> bool:
        """Whether rows were added that haven't come out yet."""
        ...

    def prepare(self, row: Row, ask: Ask) -> Any:
        """What doesn't need the model: an `Outcome` where the row is refused, else what `add` takes."""
        ...

    def add(self, prepared: Any) -> Outcome | None:
        """Take in a row; what is wrong with it, if anything is."""
        ...

    def step(self) -> list[Outcome]:
        """Compute a token of every row that is running; the rows that ended."""
        ...

    def abort(self) -> None:
        """Forget all rows."""
        ...


class Worker:
    """Takes rows in while others are computed, so that the device never waits for pictures to be decoded.

    Args:
        inbox: From the engine.
        outbox: To the engine.
    """

    def __init__(self, inbox: Connection, outbox: Connection) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._prepared: SimpleQueue[Any] = SimpleQueue()
        self._backend: Backend | None = None

    def run(self) -> int:
        """Work until the engine closes its end; the exit status where the backend fails."""
        try:
            start: Start = self._inbox.recv()
            # From here on, so that loading, which takes minutes, ends with the engine as well.
            Thread(target=self._receive, daemon=True).start()
            module, _, name = start.backend.partition(":")
            backend: Backend = getattr(import_module(module), name)(start.settings)
            self._backend = backend
            self._outbox.send(Ready(backend.context))
            while True:
                outcomes = self._take_in(backend)
                outcomes += backend.step() if backend.is_busy else []
                if outcomes:
                    self._outbox.send(outcomes)
        except (EOFError, BrokenPipeError):
            return 0
        except BaseException as error:
            self._outbox.send(Failed(words(error)))
            raise

    def _take_in(self, backend: Backend) -> list[Outcome]:
        """Add what is prepared; wait for it where there is nothing else to do."""
        refused: list[Outcome] = []
        while not self._prepared.empty() or not (backend.is_busy or refused):
            item = self._prepared.get()
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Abort):
                backend.abort()
                refused.clear()
                continue
            outcome = item if isinstance(item, Outcome) else backend.add(item)
            if outcome is not None:
                refused.append(outcome)
        return refused

    def _receive(self) -> None:
        try:
            while True:
                message = self._inbox.recv()
                if isinstance(message, Ask):
                    assert self._backend is not None, "asked before it was ready"
                    for row in message.rows:
                        self._prepared.put(self._backend.prepare(row, message))
                else:
                    self._prepared.put(message)
        except (EOFError, OSError):
            if os.getpgrp() == os.getpid():  # with whatever vLLM started
                os.killpg(0, signal.SIGTERM)
            os._exit(0)
        except Exception as error:
            self._prepared.put(error)


def words(error: BaseException) -> str:
    """An exception's class and text."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def main() -> int:
    """Serve the engine at the other ends of two pipes."""
    sys.setswitchinterval(_SWITCH)
    inbox, outbox = map(int, sys.argv[1:3])
    return Worker(Connection(inbox, writable=False), Connection(outbox, readable=False)).run()


if __name__ == "__main__":
    sys.exit(main())
