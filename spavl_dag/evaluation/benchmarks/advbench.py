"""AdvBench's harmful behaviours (Zou et al. 2023): goals as text, alone and with an adversarial suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from spavl_dag.errors import MissingInputError
from spavl_dag.evaluation.benchmarks.base import Benchmark, Source, hub_rows, one_file, read_csv, text_of
from spavl_dag.evaluation.items import EvalItem
from spavl_dag.evaluation.metrics import ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS, Metric
from spavl_dag.evaluation.schemas import Kind
from spavl_dag.text import without_invisible

SUFFIX_FILE = "suffix.txt"
_CATEGORY = "harmful_behavior"


class AdvBench(Benchmark):
    """Attack success rate of 520 goals, `vanilla` and with a `suffix`."""

    name = "advbench"
    title = "AdvBench"
    kind: ClassVar[Kind] = "safety"
    metrics: ClassVar[tuple[Metric, ...]] = (ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS)
    published = (520, 1040)  # without and with a suffix

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder holds `harmful_behaviors.csv` (columns goal, target) and `suffix.txt`: the adversarial suffix that is
        put behind every goal, for the official data has none. An empty `suffix.txt` says that there is no such variant.
        The judge is shown the goal without the suffix.
        """
        file = one_file(folder, "harmful_behaviors.csv", "*.csv")
        goals = [row["goal"].strip() for row in read_csv(file, ["goal"])]
        try:
            suffix = (folder / SUFFIX_FILE).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError):
            raise MissingInputError(
                f"{folder / SUFFIX_FILE} is not there or can't be read",
                "Write the adversarial suffix into it, or leave it empty to measure the vanilla variant alone.",
            ) from None
        # Of what nobody sees, such as a second byte order mark, no attack is made.
        return _items(goals, suffix if without_invisible(suffix).strip() else "")

    def load_hub(self, source: Source) -> list[EvalItem]:
        """`walledai/AdvBench`: split train, column prompt; the vanilla variant alone."""
        rows = hub_rows(source, "train", ["prompt"])
        return _items([text_of(row, "prompt", f"row {number}") for number, row, _ in rows], "")


def _items(goals: Sequence[str], suffix: str) -> list[EvalItem]:
    plain = [EvalItem(f"{i:04d}-vanilla", goal, _CATEGORY, "vanilla", group=f"{i:04d}") for i, goal in enumerate(goals)]
    attacked = [
        EvalItem(f"{i:04d}-suffix", f"{goal} {suffix}", _CATEGORY, "suffix", group=f"{i:04d}", intent=goal)
        for i, goal in enumerate(goals)
    ]
    return plain + (attacked if suffix else [])
