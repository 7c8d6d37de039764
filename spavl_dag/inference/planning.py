"""A model client that asks nothing: it counts what would be asked, and stands in for the answers.

What it makes up has the form of a usable answer, so that what follows can be counted too. It is never written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spavl_dag.inference.client import Classify, ModelClient
from spavl_dag.inference.request import Generation, Request
from spavl_dag.states import CallState

_SUBJECTS = ("dog", "bridge", "letter", "market", "engine", "garden", "river", "window")


@dataclass(frozen=True, slots=True)
class PlannedCalls:
    """What one client would ask at once.

    Attributes:
        role: Key path in params.yaml.
        model: Its model.
        asked: Distinct calls.
        missing: Those of them that the ledger lacks.
    """

    role: str
    model: str
    asked: int
    missing: int


class PlanningClient(ModelClient):
    """Counts calls.

    Args:
        told: Told about each asking.
        arguments: Those of `ModelClient`.
    """

    def __init__(self, told: Callable[[PlannedCalls], None], *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._told = told

    def _make(self, requests: Sequence[Request], samples: Mapping[bytes, int], classify: Classify) -> None:
        """Nothing."""

    def _results(self, keys: Sequence[bytes], made: Sequence[Request]) -> Mapping[bytes, Generation]:
        self._told(PlannedCalls(self.spec.role, self.spec.model, len(keys), len(made)))
        wanted = {request.key for request in made}
        known = self._ledger.fetch_outputs([key for key in keys if key not in wanted])
        return known | {key: self._stand_in(key) for key in wanted}

    def _stand_in(self, key: bytes) -> Generation:
        number = int.from_bytes(key[:8], "big")
        judges = self.spec.role.removeprefix("roles.") in ("judge", "second_judge")
        text = list(self.form.examples.values())[number % 2] if judges else stand_in(self.spec.role, number)
        return Generation(key, CallState.OK, text, "stop")


def stand_in(role: str, number: int) -> str:
    """A made-up text of the form that a role writes.

    Args:
        role: Key path in params.yaml.
        number: Chooses among the texts.
    """
    subject, other = _SUBJECTS[number % 8], _SUBJECTS[number // 8 % 8]
    name = role.removeprefix("roles.")
    if name.startswith("annotator_"):
        return "AB"[number % 2]
    if name in ("easy_question", "hard_question"):
        return f"Where is the {subject} beside the {other} number {number % 9973}?"
    if name == "keywords":
        return "\n".join(f"{subject} {other} {index}" for index in range(12))
    return f"The {subject} stands beside the {other} number {number % 9973}."
