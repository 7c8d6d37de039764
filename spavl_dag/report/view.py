"""The inputs of a report, looked at the way its sections need them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from spavl_dag.report.inputs import CheckpointInfo, ReportInputs
from spavl_dag.report.numbers import MEASURES, GateResult, Measure, Scores, gate_result


@dataclass(frozen=True)
class View:
    """What every section reads."""

    inputs: ReportInputs

    @cached_property
    def scores(self) -> Scores:
        """All scores, indexed."""
        return Scores(self.inputs.scores, self.inputs.judge)

    @cached_property
    def gates(self) -> dict[str, GateResult]:
        """What the gate says, by checkpoint."""
        inputs = self.inputs
        return {info.key: gate_result(inputs.gate, info.key, inputs.baseline) for info in inputs.checkpoints}

    @cached_property
    def trained(self) -> list[CheckpointInfo]:
        """The checkpoints that are compared with the baseline."""
        return [info for info in self.inputs.checkpoints if info.key != self.inputs.baseline]

    @cached_property
    def measured(self) -> list[Measure]:
        """The measures that some checkpoint has a score of."""
        keys = [info.key for info in self.inputs.checkpoints]
        return [measure for measure in MEASURES if any(self.scores.get(key, measure) for key in keys)]

    @cached_property
    def confidence(self) -> str:
        """Of all intervals, as it is written."""
        return f"{100 * self.inputs.confidence:g} %"

    def label(self, key: str) -> str:
        """How a checkpoint is shown."""
        return next((info.label for info in self.inputs.checkpoints if info.key == key), key)


@dataclass(frozen=True, slots=True)
class Family:
    """Checkpoints that differ in the number of training pairs only.

    Attributes:
        method: Their training method.
        title: How they are shown.
        members: Key of each and the pairs it was trained on, from few to many.
    """

    method: str
    title: str
    members: tuple[tuple[str, int], ...]


def data_scale_families(checkpoints: Iterable[CheckpointInfo]) -> list[Family]:
    """Group the checkpoints that are alike in all but `data.pairs`; two numbers of pairs or more make a family."""
    grouped: dict[str, list[tuple[int, str, str]]] = {}
    for info in checkpoints:
        if info.rows:
            # What isn't stated, and what is stated to be nothing, are the same choice.
            alike = {k: v for k, v in info.params.items() if k not in ("data.pairs", "label") and v is not None}
            kin = repr((info.method, sorted(alike.items())))
            grouped.setdefault(kin, []).append((info.rows, info.key, info.method))
    families = [sorted(kin) for kin in grouped.values() if len({rows for rows, _, _ in kin}) > 1]
    methods = [family[0][2] for family in families]
    found = []
    for family in families:
        _, largest, method = family[-1]
        title = method.upper() if methods.count(method) == 1 else f"{method.upper()} up to {largest}"
        found.append(Family(method, title, tuple((key, rows) for rows, key, _ in family)))
    return found
