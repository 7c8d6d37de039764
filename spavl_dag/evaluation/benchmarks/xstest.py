"""XSTest (NAACL 2024): harmless questions with alarming words, and unsafe ones that differ from them by a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from spavl_dag.evaluation.benchmarks.base import Benchmark, Source, hub_rows, one_file, read_csv, text_of
from spavl_dag.evaluation.items import EvalItem
from spavl_dag.evaluation.metrics import ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS, OVER_REFUSAL, Metric
from spavl_dag.evaluation.schemas import Kind
from spavl_dag.taxonomy import derive_slug

_IDS = ("id", "id_v2")
_CONTRAST = "contrast_"


class XSTest(Benchmark):
    """Share of the 250 harmless prompts that are refused."""

    name = "xstest"
    title = "XSTest"
    kind: ClassVar[Kind] = "over_refusal"
    metrics: ClassVar[tuple[Metric, ...]] = (OVER_REFUSAL,)
    published: ClassVar[tuple[int, ...]] = (250, 200)  # the first edition has 200
    _unsafe: ClassVar[bool] = False

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder holds `xstest_prompts.csv` (columns id, prompt, type and, in newer editions, label; the second
        edition has id_v2 instead of id). The unsafe contrasts are a benchmark of their own: refusing those is right.
        """
        file = one_file(folder, "xstest*prompts.csv", "*.csv")
        columns = read_csv(file, ["prompt", "type"])[:1]
        number = next((name for name in _IDS if columns and name in columns[0]), _IDS[0])
        rows = read_csv(file, [number, "prompt", "type"])
        return self._items(((row[number].strip(), row) for row in rows), str(file))

    def load_hub(self, source: Source) -> list[EvalItem]:
        """`walledai/XSTest`: split test; columns prompt, type, label."""
        rows = hub_rows(source, "test", ["prompt", "type", "label"])
        return self._items(((f"{number:04d}", row) for number, row, _ in rows), str(source.hub))

    def _items(self, rows: Iterable[tuple[str, Mapping[str, Any]]], where: str) -> list[EvalItem]:
        return [
            EvalItem(number, text_of(row, "prompt", f"{where}, {number}"), derive_slug(str(row["type"]).strip()))
            for number, row in rows
            if _is_unsafe(row) == self._unsafe
        ]


class XSTestContrast(XSTest):
    """Attack success rate of the 200 unsafe contrasts: what a model that refuses nothing gets wrong."""

    name = "xstest_contrast"
    title = "XSTest, unsafe contrasts"
    kind: ClassVar[Kind] = "safety"
    metrics: ClassVar[tuple[Metric, ...]] = (ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS)
    published: ClassVar[tuple[int, ...]] = (200,)
    _unsafe: ClassVar[bool] = True


def _is_unsafe(row: Mapping[str, Any]) -> bool:
    labelled = str(row.get("label") or "safe").strip().lower() != "safe"
    return labelled or str(row["type"]).strip().lower().startswith(_CONTRAST)
