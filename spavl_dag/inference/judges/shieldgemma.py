"""ShieldGemma 2 (Google): yes where a picture breaks the policy that the prompt states."""

from __future__ import annotations

from spavl_dag.inference.judges.base import JudgeFormat, yes_or_no

SHIELDGEMMA_2 = JudgeFormat(
    name="shieldgemma_2",
    asked="prompt",
    parse=yes_or_no,
    examples={"safe": "No", "unsafe": "Yes"},
    source="model card of google/shieldgemma-2-4b-it (arXiv 2504.01081)",
)
