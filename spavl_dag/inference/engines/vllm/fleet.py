"""Worker processes that share rows: kept full, and started again where one dies."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.vllm.messages import Abort, Ask, Outcome, Row, Start
from spavl_dag.inference.engines.vllm.process import WorkerDiedError, WorkerProcess
from spavl_dag.inference.request import Decoding

_AT_ONCE = 16
"""Rows in one message, at most."""

_SECONDS = 1.0
"""How long rows that ended are waited for before the caller is given the word."""

_LOG_HINT = "Its log, shown with VLLM_LOGGING_LEVEL=INFO in the environment, says more."

_LESS_CONTEXT = "Lower engines.<name>.max_model_len, or raise runtime.engines.<name>.gpu_memory_utilization."
_LESS_MEMORY = "Free the GPU, lower gpu_memory_utilization in runtime.engines.<name>, or spread it over more GPUs."
_HINTS = {
    "KV cache": _LESS_CONTEXT,
    "max_model_len": _LESS_CONTEXT,
    "ut of memory": _LESS_MEMORY,
    "Free memory": _LESS_MEMORY,
    "ompute capability": "Use another engines.<name>.dtype, such as float16, or another GPU.",
}
"""By words of vLLM's."""


class _Member:
    """A worker and the numbers of the rows that it has."""

    def __init__(self, start: Start, environment: Mapping[str, str]) -> None:
        self._start = start
        self._environment = environment
        self.rows: set[int] = set()
        self.context: int | None = None
        self.process = WorkerProcess(start, environment)

    def ended(self) -> list[Outcome]:
        """Wait for rows that ended; those of a run that was given up are left out."""
        outcomes = [outcome for outcome in self.process.receive() if outcome.number in self.rows]
        self.rows.difference_update(outcome.number for outcome in outcomes)
        return outcomes

    def abort(self) -> None:
        """Have it forget its rows."""
        if self.rows:
            self.process.send(Abort())
            self.rows.clear()

    def wait_until_ready(self) -> int:
        """Wait until the model is loaded, by a new process where the last one died."""
        if self.context is None:
            if self.process.is_closed:
                self.process = WorkerProcess(self._start, self._environment)
            self.context = self.process.wait_until_ready().context
        return self.context

    def bury(self) -> list[int]:
        """End a process that died; the rows that it had."""
        self.process.close()
        self.context = None
        lost = sorted(self.rows)
        self.rows.clear()
        return lost


class Fleet:
    """Worker processes with the same model.

    Args:
        name: The model's, for messages.
        start: What each of them runs.
        environments: Variables of each.
        window: How many rows one of them is given at a time: more than it computes at once, so that it never waits.
    """

    def __init__(self, name: str, start: Start, environments: Sequence[Mapping[str, str]], window: int) -> None:
        """Start them; none is ready yet."""
        self._name = name
        self._window = window
        self._members = [_Member(start, environment) for environment in environments]

    @property
    def pids(self) -> list[int]:
        """Ids of the processes."""
        return [member.process.pid for member in self._members]

    def wait_until_ready(self) -> int:
        """Wait until all have loaded the model, again where one died.

        Returns:
            How many tokens prompt and text may have together.

        Raises:
            EngineError: One of them can't load it.
        """
        return min(self._wait_for(member) for member in self._members)

    def run(self, rows: Iterable[Row], decoding: Decoding) -> Generator[list[Outcome]]:
        """Yield what came of rows as they end; an empty list where nothing ended for a second.

        A worker that dies takes with it only the rows that it had: they end in an error that another run may mend. It
        is started again once.

        Args:
            rows: What to compute; read no further than the workers have room.
            decoding: Decoding parameters.

        Raises:
            EngineError: A worker died for the second time, or could not be started again.
        """
        self.wait_until_ready()
        left = iter(rows)
        has_died = False
        try:
            while True:
                self._feed(left, decoding)
                busy = {member.process.connection: member for member in self._members if member.rows}
                if not busy:
                    return
                ended = wait(list(busy), _SECONDS)
                if not ended:
                    yield []
                for member in [busy[connection] for connection in ended]:  # type: ignore[index]
                    try:
                        yield member.ended()
                        continue
                    except WorkerDiedError as error:
                        problem = f"the vLLM process of {self._name} failed: {error}"
                    yield [Outcome(number, error=problem, is_permanent=False) for number in member.bury()]
                    if has_died:
                        raise EngineError(f"{problem}, for the second time", f"All other answers are kept. {_LOG_HINT}")
                    has_died = True
                    self._wait_for(member)
        finally:
            for member in self._members:
                member.abort()

    def close(self) -> None:
        """End all processes; their memory is free when this returns."""
        for member in self._members:
            member.process.close()

    def _wait_for(self, member: _Member) -> int:
        try:
            return member.wait_until_ready()
        except WorkerDiedError as error:
            member.bury()
            raise EngineError(f"vLLM can't run {self._name}: {error}", _mend(str(error))) from error

    def _feed(self, rows: Iterator[Row], decoding: Decoding) -> None:
        """Give rows to whoever has the fewest, until all have enough or there are no more."""
        while True:
            member = min(self._members, key=lambda one: len(one.rows))
            some = tuple(itertools.islice(rows, min(_AT_ONCE, self._window - len(member.rows))))
            if not some:
                return
            member.rows.update(row.number for row in some)
            member.process.send(Ask(some, decoding))


def _mend(problem: str) -> str:
    """What may help, by what vLLM says."""
    return next((hint for word, hint in _HINTS.items() if word in problem), _LOG_HINT)
