"""Checkpoints that tell how much data does: alike in all but the number of training pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spavl_dag.report.inputs import CheckpointInfo


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
