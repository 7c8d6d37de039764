"""JailBreakV-28K (COLM 2024): jailbreaks of language models carried over to images, and attacks by images."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from spavl_dag.evaluation.benchmarks.base import Benchmark, named_file, one_file, read_csv
from spavl_dag.evaluation.items import EvalItem, file_image
from spavl_dag.evaluation.metrics import ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS, Metric
from spavl_dag.evaluation.schemas import Kind
from spavl_dag.taxonomy import derive_slug

_COLUMNS = ("id", "jailbreak_query", "redteam_query", "format", "policy", "image_path")


class JailBreakV(Benchmark):
    """Attack success rate by kind of attack; several attacks on one harmful request are one group."""

    name = "jailbreakv"
    title = "JailBreakV-28K"
    kind: ClassVar[Kind] = "safety"
    metrics: ClassVar[tuple[Metric, ...]] = (ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS)
    published = (28_000, 280)  # all, and the mini edition

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder holds `JailBreakV_28K.csv` or `mini_JailBreakV_28K.csv` (the first of them that is there decides) and
        the images that its column `image_path` names. A judge is shown `redteam_query`: what is really asked for.
        """
        file = one_file(folder, "JailBreakV_28K.csv", "mini_JailBreakV_28K.csv")
        return [
            EvalItem(
                item_id=row["id"].strip(),
                question=row["jailbreak_query"].strip(),
                category=derive_slug(row["policy"]),
                variant=derive_slug(row["format"]),
                group=hashlib.sha256(row["redteam_query"].strip().encode()).hexdigest()[:16],
                image=file_image(named_file([folder], row["image_path"].strip(), str(file))),
                intent=row["redteam_query"].strip(),
            )
            for row in read_csv(file, _COLUMNS)
        ]
