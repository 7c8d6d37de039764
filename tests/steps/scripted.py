"""A model that says what a test wants, behind the real client and the real ledger.

Real models can't be made to say every hostile thing; everything after the model's words is the production code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spavl_dag.inference.client import CallCounts, ModelClient
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.request import Decoding, Generation, ModelSpec, Request, as_single_turn
from spavl_dag.progress import Progress, no_progress
from spavl_dag.states import CallState

Script = Callable[[Any], str | Exception]
"""Given a `SingleTurn`, or the request where the conversation is of another shape."""


class ScriptedEngine:
    """Answers each request with what the script says; an exception becomes a failed call."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Any] = []

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[Generation]]:
        self.stopped = False
        for start in range(0, len(requests), 8):
            if self.stopped:
                return
            yield [self._generation(request) for request in requests[start : start + 8]]

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        pass

    def _generation(self, request: Request) -> Generation:
        turn = as_single_turn(request.messages) or request
        self.asked.append(turn)
        said = self.script(turn)
        if isinstance(said, TimeoutError):
            return Generation(request.key, CallState.TRANSIENT_ERROR, "", "error", error=str(said))
        if isinstance(said, Exception):
            return Generation(request.key, CallState.PERMANENT_ERROR, "", "error", error=str(said))
        return Generation(request.key, CallState.OK, said, "stop", 5, 7, cost_usd=0.25)


def client(
    folder: Path,
    template: str,
    script: Script,
    role: str = "roles.test",
    progress: Progress = no_progress,
    **options: Any,
) -> tuple[ModelClient, ScriptedEngine]:
    """A client with a ledger in the folder."""
    engine = ScriptedEngine(script)
    made = ModelClient(
        ModelSpec(role, "scripted", "script", "1", None, template, Decoding(max_new_tokens=8)),
        ledger=Ledger(folder / "ledger.db"),
        engine=lambda: engine,
        artifact="test",
        partition=None,
        seed=42,
        counts=CallCounts(),
        progress=progress,
        **options,
    )
    return made, engine
