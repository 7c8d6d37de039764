"""The worker process as the engine sees it: started, spoken to, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import spavl_dag
from spavl_dag.inference.engines.vllm.messages import FOLDER, Abort, Ask, Failed, Outcome, Ready, Start

_PATIENCE = 20.0
"""Seconds that a worker has to end by itself."""

_LOG_LEVEL = "VLLM_LOGGING_LEVEL"


class WorkerDiedError(Exception):
    """The worker ended, or says that it can't go on; in words."""


class WorkerProcess:
    """A process that runs a backend.

    Args:
        start: What it is to run.
        environment: Variables that it is given besides this process's own.
    """

    def __init__(self, start: Start, environment: Mapping[str, str]) -> None:
        """Start it; it isn't ready yet."""
        self._folder = tempfile.TemporaryDirectory(prefix="spavl-worker-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "log"
        its_read, self_write = os.pipe()
        self_read, its_write = os.pipe()
        # Whoever sets vLLM's own switch wants to see its log; else it is read only when the worker fails.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.worker", str(its_read), str(its_write)],
                env={
                    **os.environ,
                    _LOG_LEVEL: "ERROR",
                    FOLDER: self._folder.name,
                    "PYTHONPATH": os.pathsep.join([_code(), *filter(None, [os.environ.get("PYTHONPATH")])]),
                    **({_LOG_LEVEL: os.environ[_LOG_LEVEL]} if _LOG_LEVEL in os.environ else {}),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=None if _LOG_LEVEL in os.environ else log,
                stderr=None if _LOG_LEVEL in os.environ else log,
                pass_fds=(its_read, its_write),
                start_new_session=True,  # so that it can be ended with all that it started
            )
        os.close(its_read)
        os.close(its_write)
        self.connection = Connection(self_read, writable=False)
        self._outbox = Connection(self_write, readable=False)
        with suppress(OSError):  # a worker that died already says so where it is waited for
            self._outbox.send(start)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self.connection.closed

    def wait_until_ready(self) -> Ready:
        """Wait until its model is loaded.

        Raises:
            WorkerDiedError: It can't be.
        """
        ready = self._receive()
        assert isinstance(ready, Ready)
        return ready

    def send(self, message: Ask | Abort) -> None:
        """Give it something to do; a worker that died says so where its answer is received."""
        with suppress(OSError):
            self._outbox.send(message)

    def receive(self) -> list[Outcome]:
        """Wait for rows that ended.

        Raises:
            WorkerDiedError: There will be none any more.
        """
        outcomes: list[Outcome] = self._receive()
        return outcomes

    def close(self) -> None:
        """End it, whatever it is doing; its memory is free when this returns."""
        if self.is_closed:
            return
        self._outbox.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._ends_by(number):
                break
        self._process.wait()
        self.connection.close()
        self._folder.cleanup()

    def _ends_by(self, number: signal.Signals) -> bool:
        """Send a signal to the process and all that it started; whether they end, in time.

        With tensor parallelism vLLM has processes of its own in there, which hold the memory of the GPUs and would take
        ten seconds to notice.
        """
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            self._process.poll()
            if not _is_alive(self.pid):
                return True
            time.sleep(0.02)
        return False

    def _receive(self) -> Any:
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            raise WorkerDiedError(self._last_words()) from None
        if isinstance(message, Failed):
            raise WorkerDiedError(message.message)
        return message

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        code = self._process.returncode
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        logged = self._log.read_text(errors="replace").strip().splitlines()
        return f"its process ended with {code}" + (f": {logged[-1][:300]}" if logged else "")


def _is_alive(group: int) -> bool:
    """Whether a process of a group is still more than an entry that nobody has asked for."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, _, its_group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                return True
    return False


def _code() -> str:
    return str(Path(spavl_dag.__file__).resolve().parent.parent)
