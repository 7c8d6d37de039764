"""HarmBench's classifier (Center for AI Safety): yes where an answer shows the behaviour that was asked for."""

from __future__ import annotations

from spavl_dag.inference.judges.base import JudgeFormat, yes_or_no

HARMBENCH = JudgeFormat(
    name="harmbench",
    asked="raw",
    parse=yes_or_no,
    examples={"safe": "No", "unsafe": "Yes"},
    source="model card of cais/HarmBench-Llama-2-13b-cls (arXiv 2402.04249)",
)
