"""Two answers per question, from models of different safety groups."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import polars as pl

from spavl_dag.params.sections import PairParams
from spavl_dag.schemas import MissingPairs, Pairs, frame

Answered = dict[str, Any]


def draw_pairs(responses: pl.DataFrame, groups: pl.DataFrame, params: PairParams, seed: int) -> dict[str, pl.DataFrame]:
    """Draw the pairs of every question, each question from its own seed.

    Args:
        responses: Table `responses` of all models.
        groups: Table `safety_groups`.
        params: Strategy and number of pairs per question. `random_groups`: two groups, then a model of each, at random
            (paper). `safest_against_least_safe`: the outermost groups that answered.
        seed: The project's seed.

    Returns:
        Tables `pairs` and `missing`. Which answer stands first is drawn too. A question gets fewer pairs than asked
        for when it hasn't that many distinct ones, and none when no two groups gave different answers.
    """
    group_of = dict(groups.select("model", "safety_group").iter_rows())
    # One question after the other: the answers of all models to all questions are half a gigabyte as they are.
    answered = responses.select("question_id", "model", "response").sort("question_id", "model").iter_rows()
    pairs: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    for question_id, rows in groupby(answered, key=itemgetter(0)):
        answers = [
            {"model": model, "group": group_of[model], "response": response}
            for _, model, response in rows
            if response is not None
        ]
        # A string seeds Random through its hash digest, the same in every process.
        rng = random.Random(f"{seed}/{question_id}")
        drawn = list(_draw(answers, params, rng))
        if not drawn:
            reason = "fewer than two answers" if len(answers) < 2 else "no different answers of two groups"
            missing.append({"question_id": question_id, "reason": reason})
        for number, (a, b) in enumerate(drawn):
            pairs.append(
                {
                    "pair_id": f"{question_id}-pair{number}",
                    "question_id": question_id,
                    "model_a": a["model"],
                    "model_b": b["model"],
                    "group_a": a["group"],
                    "group_b": b["group"],
                    "response_a": a["response"],
                    "response_b": b["response"],
                }
            )
    return {
        "pairs": frame(Pairs, pairs).sort("pair_id"),
        "missing": frame(MissingPairs, missing).sort("question_id"),
    }


def _draw(answers: Sequence[Answered], params: PairParams, rng: random.Random) -> Iterator[tuple[Answered, Answered]]:
    groups = sorted({answer["group"] for answer in answers})
    if len(groups) < 2:
        return
    combinations = [
        (one, other)
        for i, one in enumerate(answers)
        for other in answers[i + 1 :]
        if one["group"] != other["group"] and one["response"] != other["response"]
    ]
    if params.strategy == "safest_against_least_safe":
        extremes = {groups[0], groups[-1]}
        combinations = [pair for pair in combinations if {p["group"] for p in pair} == extremes]
    # Groups first, then models: otherwise a group with many models would be drawn more often (paper).
    by_groups: dict[tuple[int, ...], list[tuple[Answered, Answered]]] = defaultdict(list)
    for pair in combinations:
        by_groups[tuple(sorted(p["group"] for p in pair))].append(pair)
    for _ in range(params.per_question):
        if not by_groups:
            return
        chosen = rng.choice(sorted(by_groups))
        pair = by_groups[chosen].pop(rng.randrange(len(by_groups[chosen])))
        if not by_groups[chosen]:
            del by_groups[chosen]
        yield pair if rng.random() < 0.5 else (pair[1], pair[0])
