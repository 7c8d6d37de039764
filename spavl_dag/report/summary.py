"""The report's first section: what was found, in sentences computed from the numbers.

It says what did not hold as plainly as what did.
"""

from __future__ import annotations

from spavl_dag.report.blocks import Block, Bullets, Section, Text
from spavl_dag.report.inputs import CheckpointInfo
from spavl_dag.report.numbers import UNSAFE_RATE, Score, percent, points, points_span, span
from spavl_dag.report.view import View


def summary(view: View) -> Section:
    """Who passes the gate, how the unsafe rate changed, and what got worse."""
    blocks: list[Block] = [Text(_gate_sentence(view))]
    if view.trained:
        blocks.append(Bullets(tuple(_checkpoint_sentence(view, info) for info in view.trained)))
        blocks += _losses(view)
    blocks += [*_failures(view), Text(_reading_guide(view))]
    return Section("summary", "Summary", tuple(blocks))


def _gate_sentence(view: View) -> str:
    if not view.trained:
        return "No checkpoint was trained, so there is nothing to compare with the baseline."
    states = {state: [i.label for i in view.trained if view.gates[i.key].state == state] for state in _GATE_WORDS}
    passed = states["passed"]
    first = f"{len(passed)} of {len(view.trained)} trained checkpoints pass the gate."
    others = [f"{words}: {'; '.join(states[state])}." for state, words in _GATE_WORDS.items() if states[state]]
    return " ".join([first, *others])


_GATE_WORDS = {
    "passed": "Passed",
    "failed": "Failed",
    "incomplete": "Broke nothing that was measured, but some conditions could not be measured",
    "unchecked": "Not checked",
}


def _checkpoint_sentence(view: View, info: CheckpointInfo) -> str:
    own = view.scores.get(info.key, UNSAFE_RATE)
    base = view.scores.get(view.inputs.baseline, UNSAFE_RATE)
    said = f"{info.label}: {_change(own, base)}"
    gate = view.gates[info.key]
    if gate.failed:
        said += f" It fails the gate ({'; '.join(gate.failed)})."
    elif gate.state == "passed":
        said += " It passes the gate."
    return said


def _change(own: Score | None, base: Score | None) -> str:
    """What happened to the unsafe rate, and whether chance could explain it."""
    if own is None or own.value is None:
        return "there is no HarmEval unsafe rate."
    now = _with_interval(own)
    if base is None or base.value is None:
        return f"the HarmEval unsafe rate is {now}; the baseline has none to compare with."
    way = f"from {_with_interval(base)} to {now}"
    if own.diff_low is None or own.diff_high is None:
        return f"the HarmEval unsafe rate went {way}; the two were not compared item by item."
    difference = points_span(own.diff_low, own.diff_high)
    if own.mark is None:
        return (
            f"the HarmEval unsafe rate went {way}, but the interval of the paired difference "
            f"({difference} points) includes zero: a change is not shown."
        )
    if own.mark == "worse":
        return f"the HarmEval unsafe rate ROSE {way}."
    share = 1 - own.value / base.value if base.value else 0.0
    overlap = own.ci_high is None or base.ci_low is None or own.ci_high >= base.ci_low
    return (
        f"the HarmEval unsafe rate fell {way}, {'more' if share > 0.5 else 'not more'} than half; "
        f"the intervals {'overlap' if overlap else 'do not overlap'}."
    )


def _with_interval(score: Score) -> str:
    interval = span(score.ci_low, score.ci_high)
    return percent(score.value) + (f" ({interval})" if interval else "")


def _losses(view: View) -> list[Block]:
    """Everything that got worse beyond chance."""
    lost = []
    for info in view.trained:
        scores = ((measure, view.scores.get(info.key, measure)) for measure in view.measured)
        worse = [
            f"{measure.title} {points(score.difference)} points ({points_span(score.diff_low, score.diff_high)})"
            for measure, score in scores
            if score and score.mark == "worse"
        ]
        if worse:
            lost.append(f"{info.label}: {'; '.join(worse)}")
    if not view.measured:
        return [Text("Nothing was measured yet.")]
    if not lost:
        return [Text("Nothing that was measured got worse beyond the interval of its paired difference.")]
    return [Text("What got worse, beyond the interval of its paired difference:"), Bullets(tuple(lost))]


def _reading_guide(view: View) -> str:
    score = view.scores.get(view.inputs.baseline, UNSAFE_RATE)
    judged = f" HarmEval is judged by {score.judge} on {score.n} answers of the baseline." if score else ""
    return (
        f"Numbers in brackets are {view.confidence} intervals; differences from the baseline are paired by item."
        f"{judged} Every number holds for the judge, the rule and the questions it was made with."
    )


def _failures(view: View) -> list[Block]:
    """Items without an answer or a verdict."""
    scores = [(i, m, view.scores.get(i.key, m)) for i in view.inputs.checkpoints for m in view.measured]
    failed = [f"{info.label}, {m.title}: {s.failed} of {s.n + s.failed}" for info, m, s in scores if s and s.failed]
    if not failed:
        return []
    return [Text("Items without an answer or a verdict are counted here and scored nowhere:"), Bullets(tuple(failed))]
