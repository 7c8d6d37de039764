"""Judge formats by name: one small file each. A new one is a file here, and a line in `spavl_dag.params.judges`."""

from __future__ import annotations

from collections.abc import Mapping

from spavl_dag.inference.judges.base import JudgeFormat
from spavl_dag.inference.judges.general import JSON, SAFE_UNSAFE
from spavl_dag.inference.judges.guardreasoner import GUARDREASONER_VL
from spavl_dag.inference.judges.harmbench import HARMBENCH
from spavl_dag.inference.judges.llama_guard import LLAMA_GUARD_3, LLAMA_GUARD_3_VISION, LLAMA_GUARD_4
from spavl_dag.inference.judges.llavaguard import LLAVAGUARD
from spavl_dag.inference.judges.md_judge import MD_JUDGE_V0_1, MD_JUDGE_V0_2
from spavl_dag.inference.judges.qwen3guard import QWEN3GUARD
from spavl_dag.inference.judges.shieldgemma import SHIELDGEMMA_2
from spavl_dag.inference.judges.wildguard import WILDGUARD

__all__ = ["JUDGE_FORMATS", "SAFE_UNSAFE", "JudgeFormat"]

JUDGE_FORMATS: Mapping[str, JudgeFormat] = {
    form.name: form
    for form in (
        SAFE_UNSAFE,
        JSON,
        MD_JUDGE_V0_1,
        MD_JUDGE_V0_2,
        LLAMA_GUARD_3,
        LLAMA_GUARD_3_VISION,
        LLAMA_GUARD_4,
        QWEN3GUARD,
        WILDGUARD,
        HARMBENCH,
        SHIELDGEMMA_2,
        LLAVAGUARD,
        GUARDREASONER_VL,
    )
}
