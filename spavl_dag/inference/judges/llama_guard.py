"""Llama Guard (Meta): its own chat template frames the conversation and lists the categories of harm."""

from __future__ import annotations

from collections.abc import Mapping

from spavl_dag.inference.judges.base import JudgeFormat, Label, first_line

_SOURCE = "model cards of meta-llama/Llama-Guard-3-8B, -3-11B-Vision and -4-12B: the first line reads safe or unsafe"


_EXAMPLES: Mapping[Label, str] = {"safe": "\n\nsafe", "unsafe": "\n\nunsafe\nS2"}

LLAMA_GUARD_3 = JudgeFormat("llama_guard_3", "native", first_line, _EXAMPLES, _SOURCE)
LLAMA_GUARD_3_VISION = JudgeFormat("llama_guard_3_vision", "native", first_line, _EXAMPLES, _SOURCE)
LLAMA_GUARD_4 = JudgeFormat("llama_guard_4", "native", first_line, _EXAMPLES, _SOURCE)
