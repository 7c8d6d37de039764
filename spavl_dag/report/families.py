"""Checkpoints that belong together: alike in all but the number of training pairs, or in all but the seed."""

from __future__ import annotations

from collections.abc import Iterable, Set
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


@dataclass(frozen=True, slots=True)
class Repeats:
    """Checkpoints that differ in the seed of their training only.

    Attributes:
        title: How they are shown: the label of the first.
        members: Their keys.
    """

    title: str
    members: tuple[str, ...]


def data_scale_families(checkpoints: Iterable[CheckpointInfo]) -> list[Family]:
    """Group the checkpoints that are alike in all but `data.pairs`; two numbers of pairs or more make a family.

    Those that differ in the seed too are of one family, in which a number of pairs stands several times.
    """
    grouped: dict[str, list[tuple[int, str, str]]] = {}
    for info in checkpoints:
        if info.rows:
            grouped.setdefault(_kin(info, {"data.pairs", "seed"}), []).append((info.rows, info.key, info.method))
    families = [sorted(kin) for kin in grouped.values() if len({rows for rows, _, _ in kin}) > 1]
    methods = [family[0][2] for family in families]
    found = []
    for family in families:
        _, largest, method = family[-1]
        title = method.upper() if methods.count(method) == 1 else f"{method.upper()} up to {largest}"
        found.append(Family(method, title, tuple((key, rows) for rows, key, _ in family)))
    return found


def repeats(checkpoints: Iterable[CheckpointInfo]) -> list[Repeats]:
    """Group the trained checkpoints that are alike in all but `seed`; two seeds or more make a group."""
    grouped: dict[str, list[CheckpointInfo]] = {}
    for info in checkpoints:
        if info.rows:
            grouped.setdefault(_kin(info, {"seed"}), []).append(info)
    return [Repeats(kin[0].label, tuple(info.key for info in kin)) for kin in grouped.values() if len(kin) > 1]


def _kin(info: CheckpointInfo, but: Set[str]) -> str:
    """What checkpoints have in common that differ in some choices and their label only."""
    # What isn't stated, and what is stated to be nothing, are the same choice.
    alike = {k: v for k, v in info.params.items() if k not in but and k != "label" and v is not None}
    return repr((info.method, sorted(alike.items())))
