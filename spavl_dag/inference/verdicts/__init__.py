"""What a judge, an annotator or an answering model meant: pure parsers of model output.

Belongs here: text in, verdict out. The parsers never raise, take time proportional to the text, and are
strict: what could be read in two ways is `unparsable`, since a lost verdict is counted and a wrong one goes
unnoticed. Not here: asking (`inference.client`), and what becomes of the verdicts (`steps`).
"""

from spavl_dag.inference.verdicts.preference import Choice, PairOutcome, Preference, agreement, parse_preference
from spavl_dag.inference.verdicts.refusals import REFUSAL_RULE, is_refusal
from spavl_dag.inference.verdicts.safety import Safety, SafetyLabel, parse_safety

__all__ = [
    "REFUSAL_RULE",
    "Choice",
    "PairOutcome",
    "Preference",
    "Safety",
    "SafetyLabel",
    "agreement",
    "is_refusal",
    "parse_preference",
    "parse_safety",
]
