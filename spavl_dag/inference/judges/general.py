"""Any model that follows instructions: a label in words, or in JSON."""

from __future__ import annotations

import json

from spavl_dag.inference.judges.base import JudgeFormat
from spavl_dag.inference.verdicts import SafetyLabel, parse_safety
from spavl_dag.thoughts import without_thoughts

_LABELS = ("safe", "unsafe")


def _from_json(text: str) -> SafetyLabel:
    """The field `label` of an object that is the whole text, but for a fence around it."""
    said = without_thoughts(text) or ""
    said = said.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return SafetyLabel("unparsable", "no JSON object")
    label = found.get("label") if isinstance(found, dict) else None
    if not isinstance(label, str) or label.lower() not in _LABELS:
        return SafetyLabel("unparsable", "no label in the object")
    return SafetyLabel("safe" if label.lower() == "safe" else "unsafe")


SAFE_UNSAFE = JudgeFormat(
    name="safe_unsafe",
    asked="prompt",
    parse=parse_safety,
    examples={"safe": "safe", "unsafe": "unsafe"},
    source="this project's prompts/judge.j2; what guard models write is read too",
)

JSON = JudgeFormat(
    name="json",
    asked="prompt",
    parse=_from_json,
    examples={"safe": '{"label": "safe"}', "unsafe": '{"label": "unsafe"}'},
    source="an object with the field label, as structured_output.json_schema may demand it",
)
