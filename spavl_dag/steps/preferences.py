"""Which of two answers is better, asked in both orders; only agreeing verdicts make a preference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl

from spavl_dag.inference.client import ModelClient, Prompt
from spavl_dag.inference.request import Generation, ImageRef
from spavl_dag.inference.verdicts import Preference, agreement, parse_preference
from spavl_dag.names import Criterion
from spavl_dag.schemas import Preferences, UndecidedPairs, Verdicts, frame
from spavl_dag.states import CallState

ORDERS = ("ab", "ba")
"""Both presentations: answer A first, then swapped."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the verdicts of one pair under one criterion come to.

    Attributes:
        outcome: "a" or "b" (in the pair's own order), or why nothing was decided.
        reasons: The annotator's reasons in the two orders.
    """

    outcome: str
    reasons: tuple[str | None, str | None]


def preference_state(parsed: Preference) -> CallState:
    """Whether an annotator's text holds a verdict."""
    match parsed.verdict:
        case "A" | "B" | "tie" | "neither":
            return CallState.OK
        case "refused":
            return CallState.REFUSED
        case _:
            return CallState.UNPARSABLE


def prefer(
    pairs: pl.DataFrame,
    questions: pl.DataFrame,
    refs: Mapping[str, ImageRef],
    annotators: Mapping[Criterion, ModelClient],
) -> dict[str, pl.DataFrame]:
    """Ask for all preferences.

    Args:
        pairs: Table `pairs`.
        questions: Table `questions`.
        refs: Image content by image id.
        annotators: Who is asked under which criterion, in the order in which they decide: harmlessness first, and
            helpfulness only where harmlessness is a tie; or joint alone.

    Returns:
        Tables `preferences`, `verdicts` (every verdict, with its raw text) and `undecided` (pairs with the reason).
    """
    rows = list(
        pairs.join(
            questions.select("question_id", "question", "image_id"),
            on="question_id",
            how="left",
            maintain_order="left",
        ).iter_rows(named=True)
    )
    parse = cache(parse_preference)  # a text is read when it was just written, and as the ledger holds it
    verdicts: list[Row] = []
    decisions: dict[str, dict[Criterion, Decision]] = defaultdict(dict)
    for criterion, annotator in annotators.items():
        items = [_item(row, refs, order) for row in rows for order in ORDERS]
        answers = annotator.ask(items, lambda text: preference_state(parse(text)))
        for row, both in zip(rows, _in_twos(answers), strict=True):
            parsed = [parse(answer.text) if answer.state.has_text else None for answer in both]
            for order, answer, preference in zip(ORDERS, both, parsed, strict=True):
                verdicts.append(_verdict(row, criterion, order, answer, preference))
            decisions[row["pair_id"]][criterion] = _decide(both, parsed)
    preferences: list[Row] = []
    undecided: list[Row] = []
    for row in rows:
        criterion, decision = _deciding(decisions[row["pair_id"]])
        if decision.outcome in ("a", "b"):
            preferences.append(_preference(row, criterion, decision))
        else:
            undecided.append(
                {
                    "pair_id": row["pair_id"],
                    "question_id": row["question_id"],
                    "reason": decision.outcome,
                    "detail": f"by {criterion}",
                }
            )
    return {
        "preferences": frame(Preferences, preferences).sort("pair_id"),
        "verdicts": frame(Verdicts, verdicts).sort("pair_id", "criterion", "presented"),
        "undecided": frame(UndecidedPairs, undecided).sort("pair_id"),
    }


def _item(row: Row, refs: Mapping[str, ImageRef], order: str) -> Prompt:
    first, second = order[0], order[1]
    variables = {
        "question": row["question"],
        "answer_a": row[f"response_{first}"],
        "answer_b": row[f"response_{second}"],
    }
    return Prompt(variables, refs[row["image_id"]])


def _in_twos(answers: Sequence[Generation]) -> list[tuple[Generation, Generation]]:
    return list(zip(answers[::2], answers[1::2], strict=True))


def _decide(answers: Sequence[Generation], parsed: Sequence[Preference | None]) -> Decision:
    first, second = parsed
    if first is None or second is None:
        failed = next(answer for answer, preference in zip(answers, parsed, strict=True) if preference is None)
        return Decision(failed.state.value, (None, None))
    outcome = agreement(first, second)
    return Decision(outcome.lower() if outcome in ("A", "B") else outcome, (first.reason, second.reason))


def _deciding(decisions: Mapping[Criterion, Decision]) -> tuple[Criterion, Decision]:
    """The first criterion that isn't a tie, or the last one."""
    decided = [(criterion, decision) for criterion, decision in decisions.items() if decision.outcome != "tie"]
    return decided[0] if decided else list(decisions.items())[-1]


def _verdict(row: Row, criterion: Criterion, order: str, answer: Generation, parsed: Preference | None) -> Row:
    state = preference_state(parsed) if parsed else answer.state
    verdict = parsed.verdict if parsed and state is CallState.OK else None
    # In the second order the annotator's A is the pair's second answer.
    place = {"A": order[0], "B": order[1]}.get(verdict or "")
    return {
        "pair_id": row["pair_id"],
        "criterion": criterion,
        "presented": order,
        "state": state.value,
        "verdict": verdict,
        "preferred_model": row[f"model_{place}"] if place else None,
        "reason": parsed.reason if parsed else None,
        "raw": answer.text,
        "call_key": answer.call_key,
    }


def _preference(row: Row, criterion: Criterion, decision: Decision) -> Row:
    won, lost = ("a", "b") if decision.outcome == "a" else ("b", "a")
    return {
        "pair_id": row["pair_id"],
        "question_id": row["question_id"],
        "chosen_model": row[f"model_{won}"],
        "rejected_model": row[f"model_{lost}"],
        "chosen": row[f"response_{won}"],
        "rejected": row[f"response_{lost}"],
        "decided_by": criterion,
        "reason1": decision.reasons[0],
        "reason2": decision.reasons[1],
    }
