"""HarmBench's text behaviours (ICML 2024): harmful requests, alone and with a context that they refer to."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from spavl_dag.evaluation.benchmarks.base import Benchmark, BenchmarkFormatError, one_file, read_csv
from spavl_dag.evaluation.items import EvalItem
from spavl_dag.evaluation.metrics import ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS, Metric
from spavl_dag.evaluation.schemas import Kind
from spavl_dag.taxonomy import derive_slug

_COLUMNS = ("Behavior", "FunctionalCategory", "SemanticCategory", "BehaviorID")
_VARIANTS = ("standard", "contextual")


class HarmBench(Benchmark):
    """Attack success rate of direct requests, `standard` and `contextual`.

    Its copyright behaviours are left out: there success is decided by hashes of the works, not by a judge.
    """

    name = "harmbench"
    title = "HarmBench"
    kind: ClassVar[Kind] = "safety"
    metrics: ClassVar[tuple[Metric, ...]] = (ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS)
    published = (300, 240, 60)  # all, test and validation, without the copyright behaviours

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official file.

        The folder holds one of `harmbench_behaviors_text_{all,test,val}.csv` (the first that is there decides). A
        context stands before its request as in the official pipeline; the judge is shown the request.
        """
        file = one_file(folder, *(f"harmbench_behaviors_text_{edition}.csv" for edition in ("all", "test", "val")))
        items = []
        for row in read_csv(file, _COLUMNS):
            variant, request = row["FunctionalCategory"].strip(), row["Behavior"].strip()
            context = (row.get("ContextString") or "").strip()
            if variant == "copyright":
                continue
            if variant not in _VARIANTS or (variant == "contextual" and not context):
                raise BenchmarkFormatError(
                    f"{file}, {row['BehaviorID']}: {variant!r} with{'' if context else 'out'} a ContextString",
                    "Get the official file again.",
                )
            items.append(
                EvalItem(
                    item_id=row["BehaviorID"].strip(),
                    question=f"{context}\n\n---\n\n{request}" if context else request,
                    category=derive_slug(row["SemanticCategory"]),
                    variant=variant,
                    intent=request if context else None,
                )
            )
        return items
