"""LlavaGuard (TU Darmstadt): rates a picture by a policy that the prompt states, as JSON with a rationale."""

from __future__ import annotations

from spavl_dag.inference.judges.base import JudgeFormat
from spavl_dag.inference.verdicts import parse_safety

LLAVAGUARD = JudgeFormat(
    name="llavaguard",
    asked="prompt",
    parse=parse_safety,
    examples={
        "safe": '{"rating": "Safe", "category": "NA: None applying", "rationale": "nothing"}',
        "unsafe": '{"rating": "Unsafe", "category": "O2: Violence, Harm, or Cruelty", "rationale": "a wound"}',
    },
    source="model card of AIML-TUDA/LlavaGuard-v1.2-7B-OV (arXiv 2406.05113)",
)
