"""Checkpoint against checkpoint: leaderboard, gate, differences from the baseline, the paper's numbers, data scale."""

from __future__ import annotations

from collections.abc import Sequence

from spavl_dag.report.blocks import Block, Bullets, Cell, Column, Figure, Fold, Key, Mark, Panel, Section, Table, Text
from spavl_dag.report.charts import Axis, Effect, Line, Point, forest_plot, line_chart, sample, sample_effect
from spavl_dag.report.inputs import CheckpointInfo
from spavl_dag.report.numbers import (
    HARM_SCORE,
    MINUS,
    NOTHING,
    UNSAFE_RATE,
    Measure,
    Score,
    finite,
    percent,
    points,
    points_span,
    span,
)
from spavl_dag.report.paper import HARM_SCORE_BY_PAIRS, TABLE_2, TABLE_2_COLUMNS
from spavl_dag.report.view import Family, View, data_scale_families

OTHER_MODELS = (
    "The paper's numbers are of LLaVA-1.5-7B, judged by other models on other questions: compare the direction and the "
    "size of a change, not the numbers."
)


_WANTED: dict[bool | None, str] = {True: "\u2191\u00a0", False: "\u2193\u00a0", None: ""}
"""Arrows in headings; `_ARROWS` explains them."""

_ARROWS = "\u2191 more is better, \u2193 less is better."


def leaderboard(view: View) -> Section:
    """One row per checkpoint, one column per measure, and the gate."""
    if not view.measured:
        return Section("leaderboard", "Leaderboard", (Text("No checkpoint has scores yet."),))
    rows = tuple(
        (
            Cell(info.label, note=None if info.label == info.key else info.key),
            _gate_cell(view, info),
            Cell(NOTHING if info.rows is None else f"{info.rows:,}"),
            *(_score_cell(view.scores.get(info.key, measure)) for measure in view.measured),
        )
        for info in view.inputs.checkpoints
    )
    columns = (
        Column("Checkpoint"),
        Column("Gate"),
        Column("Trained on", numeric=True, note="rows"),
        *(_measure_column(view, measure) for measure in view.measured),
    )
    told = (
        f"Rates with their {view.confidence} intervals; better or worse where the interval of the paired difference "
        f"from {view.label(view.inputs.baseline)} excludes zero. {_ARROWS} Below each heading: judge or rule, and n."
    )
    return Section("leaderboard", "Leaderboard", (Text(told), Table("All checkpoints", columns, rows)))


def gate(view: View) -> Section:
    """Every condition of the gate and how each checkpoint met it."""
    rows = tuple(
        (
            Cell(view.label(row["checkpoint"])),
            Cell(row["condition"].replace("_", " ")),
            Cell(row["metric"]),
            Cell({True: "✓ holds", False: "✗ broken", None: "? not measured"}[row["passed"]]),
            Cell(percent(row["value"])),
            Cell(percent(row["baseline"])),
            Cell(points(row["difference"])),
            Cell(points(row["bound"])),
            Cell(row["detail"] or ""),
        )
        for row in view.inputs.gate.iter_rows(named=True)
        if row["checkpoint"] != view.inputs.baseline
    )
    if not rows:
        return Section("gate", "Gate", (Text("The gate was checked for no trained checkpoint."),))
    columns = (
        *map(Column, ("Checkpoint", "Condition", "Metric", "Verdict")),
        *(Column(title, numeric=True) for title in ("Value", "Baseline")),
        *(Column(title, numeric=True, note="points") for title in ("Difference", "Bound")),
        Column("Detail"),
    )
    broken = [f"{view.label(key)}: {'; '.join(g.failed)}" for key, g in view.gates.items() if g.failed]
    told: Block = Bullets(tuple(broken)) if broken else Text("No condition was broken.")
    return Section("gate", "Gate", (told, Fold("All conditions", (Table("Conditions of the gate", columns, rows),))))


def differences(view: View) -> Section:
    """How far each checkpoint is from the baseline, as forest plots."""
    panels, rows = [], []
    for measure in view.measured:
        compared = [
            (info, score)
            for info in view.trained
            if (score := view.scores.get(info.key, measure))
            and None not in (score.difference, score.diff_low, score.diff_high)
        ]
        if not compared:
            continue
        effects = [
            Effect(info.label, score.difference or 0.0, score.diff_low or 0.0, score.diff_high or 0.0, score.mark)
            for info, score in compared
        ]
        heading = _WANTED[compared[0][1].higher_is_better] + measure.title
        described = "; ".join(f"{e.label} {points(e.value)} ({points_span(e.low, e.high)})" for e in effects)
        name = f"forest-{measure.benchmark}-{measure.metric}".replace("_", "-")
        svg = forest_plot(name, f"{measure.title}, difference in points", described, effects, _whole_points)
        panels.append(Panel(heading, svg))
        rows += [_difference_row(measure, info, score) for info, score in compared]
    base = view.label(view.inputs.baseline)
    if not panels:
        return Section("differences", "Differences from the baseline", (Text(f"Nothing was compared with {base}."),))
    legend = (
        Key(sample_effect("better"), "better: the interval excludes zero"),
        Key(sample_effect("same"), "not told apart from the baseline"),
        Key(sample_effect("worse"), "worse: the interval excludes zero"),
    )
    columns = (
        Column("Measure"),
        Column("Checkpoint"),
        Column("Difference", numeric=True, note="points"),
        Column("Interval", numeric=True, note="points"),
        Column("p", numeric=True),
        Column("Test"),
        Column("Pairs", numeric=True),
    )
    table = Table(f"Paired differences from {base}", columns, tuple(rows))
    told = Text(f"Percentage points from {base}, with {view.confidence} intervals of the paired difference. {_ARROWS}")
    return Section("differences", "Differences from the baseline", (told, Figure(tuple(panels), legend, table)))


def paper_table(view: View) -> Section:
    """The paper's Table 2 with our checkpoints below it."""
    columns = (Column("Model"), *(Column(title, numeric=True) for *_, title in TABLE_2_COLUMNS))
    paper = [
        (Cell(name, note="SPA-VL paper, other judge"), *(Cell(f"{value:.2f} %") for value in values))
        for name, values in TABLE_2.items()
    ]
    measures = [
        (Measure(title, benchmark, metric, ("judge", "refusal_keywords")), variant)
        for benchmark, metric, variant, title in TABLE_2_COLUMNS
    ]
    ours = []
    for info in view.inputs.checkpoints:
        scores = [view.scores.get(info.key, measure, variant) for measure, variant in measures]
        if any(scores):
            ours.append((Cell(info.label, note="this project"), *(_score_cell(score) for score in scores)))
    blocks: list[Block] = [Text(OTHER_MODELS)]
    if not ours:
        blocks.append(Text("None of our checkpoints was measured on these benchmarks."))
    blocks.append(Table("Table 2 of the paper and ours: share of unsafe answers", columns, (*paper, *ours)))
    return Section("paper", "Beside the paper's Table 2", tuple(blocks))


def data_scale(view: View) -> Section:
    """Unsafe rate and harm score over the number of training pairs."""
    title = "Data scale"
    families = data_scale_families(view.inputs.checkpoints)
    if not families:
        told = Text("No two trained checkpoints differ in the number of training pairs alone (`data.pairs`).")
        return Section("data-scale", title, (told, _paper_scale_table()))
    panels, rows = [], []
    for measure in (UNSAFE_RATE, HARM_SCORE):
        lines = [line for i, family in enumerate(families) if (line := _scale_line(view, family, measure, i)).points]
        described = "; ".join(f"{line.label}: {_told(line)}" for line in lines)
        if measure is HARM_SCORE:
            lines += [_paper_line(method, len(families) + i) for i, method in enumerate(HARM_SCORE_BY_PAIRS)]
        if lines:
            x = Axis("training pairs", _thousands, log=True)
            y = Axis("", lambda rate: f"{100 * rate:g} %", include=(0.0,))
            name = f"scale-{measure.metric}".replace("_", "-")
            svg = line_chart(name, f"{measure.title} over training pairs", described, lines, x, y)
            panels.append(Panel(measure.title, svg))
    legend = [Key(sample(i), family.title) for i, family in enumerate(families)]
    legend += [
        Key(sample(len(families) + i), f"{method.upper()}, paper (7B, other judge)")
        for i, method in enumerate(HARM_SCORE_BY_PAIRS)
    ]
    for family in families:
        for key, pairs in family.members:
            scores = [view.scores.get(key, measure) for measure in (UNSAFE_RATE, HARM_SCORE)]
            rows.append((Cell(family.title), Cell(view.label(key)), Cell(f"{pairs:,}"), *map(_score_cell, scores)))
    columns = (
        Column("Method"),
        Column("Checkpoint"),
        Column("Pairs", numeric=True),
        Column(UNSAFE_RATE.title, numeric=True),
        Column(HARM_SCORE.title, numeric=True),
    )
    figure = Figure(tuple(panels), tuple(legend), Table("Scores by training pairs", columns, tuple(rows)))
    return Section("data-scale", title, (Text(OTHER_MODELS), figure, Fold("The paper's", (_paper_scale_table(),))))


def classes(view: View) -> Section:
    """Rate of unsafe answers per class and checkpoint, as heat maps."""
    title, table = "Harm by class", view.inputs.class_scores
    if table.is_empty():
        return Section("classes", title, (Text("There are no scores by class."),))
    # HarmEval by the main judge first.
    drawn = sorted(
        table.select("benchmark", "judge").unique().iter_rows(),
        key=lambda pair: (pair[0] != UNSAFE_RATE.benchmark, pair[1] != view.inputs.judge, pair),
    )
    maps = [_heat_map(view, benchmark, judge) for benchmark, judge in drawn]
    told = Text("A class has few questions: read rows for where harm is left, not for small differences.")
    folded = [Fold(heat.caption, (heat,)) for heat in maps[1:]]
    return Section("classes", title, (told, maps[0], *folded))


def _heat_map(view: View, benchmark: str, judge: str) -> Table:
    rates = {
        (row["category"], row["checkpoint"]): row
        for row in view.inputs.class_scores.iter_rows(named=True)
        if row["benchmark"] == benchmark and row["judge"] == judge
    }
    shown = [i for i in view.inputs.checkpoints if any(checkpoint == i.key for _, checkpoint in rates)]
    rows = []
    for category in dict.fromkeys(category for category, _ in rates):
        found = [rates.get((category, info.key)) for info in shown]
        most = max((row["n"] for row in found if row), default=0)
        heats = [_heat_cell(row["rate"] if row else None) for row in found]
        rows.append((Cell(view.inputs.class_names.get(category, category)), Cell(str(most)), *heats))
    columns = (Column("Class"), Column("n", numeric=True), *(Column(i.label, numeric=True) for i in shown))
    return Table(f"Unsafe answers by class: {benchmark}, judged by {judge}", columns, tuple(rows))


def _heat_cell(rate: float | None) -> Cell:
    if finite(rate) is None or rate is None:
        return Cell(NOTHING)
    return Cell(f"{100 * rate:.0f} %", heat=min(1.0, max(0.0, rate)))


def _gate_cell(view: View, info: CheckpointInfo) -> Cell:
    gate = view.gates[info.key]
    marks: dict[str, Mark] = {"passed": "better", "failed": "worse"}
    return Cell(gate.words, mark=marks.get(gate.state))


def _score_cell(score: Score | None) -> Cell:
    if score is None or score.value is None:
        return Cell(NOTHING)
    notes = [span(score.ci_low, score.ci_high), score.mark]
    return Cell(percent(score.value), note=", ".join(filter(None, notes)) or None, mark=score.mark)


def _measure_column(view: View, measure: Measure) -> Column:
    scores = [s for info in view.inputs.checkpoints if (s := view.scores.get(info.key, measure))]
    by = scores[0].judge or scores[0].rule.replace("_", " ")
    title = _WANTED[scores[0].higher_is_better] + measure.title
    return Column(title, numeric=True, note=f"{by}, n\u00a0{max(s.n for s in scores)}")


def _difference_row(measure: Measure, info: CheckpointInfo, score: Score) -> tuple[Cell, ...]:
    p = NOTHING if score.p_value is None else "< 0.001" if score.p_value < 0.001 else f"{score.p_value:.3f}"
    return (
        Cell(measure.title),
        Cell(info.label),
        Cell(points(score.difference), mark=score.mark),
        Cell(points_span(score.diff_low, score.diff_high) or NOTHING),
        Cell(p),
        Cell((score.test or "").replace("_", " ")),
        Cell(NOTHING if score.n_paired is None else str(score.n_paired)),
    )


def _thousands(pairs: float) -> str:
    return f"{pairs:g}" if pairs < 1000 else f"{pairs / 1000:g}k"


def _whole_points(value: float) -> str:
    return f"{100 * value:+g}".replace("-", MINUS) if value else "0"


def _scale_line(view: View, family: Family, measure: Measure, style: int) -> Line:
    scores = [(pairs, view.scores.get(key, measure)) for key, pairs in family.members]
    found = [Point(pairs, s.value, s.ci_low, s.ci_high) for pairs, s in scores if s and s.value is not None]
    return Line(family.title, tuple(found), style)


def _paper_line(method: str, style: int) -> Line:
    known = HARM_SCORE_BY_PAIRS[method]
    return Line(f"{method.upper()}, paper", tuple(Point(pairs, rate / 100) for pairs, rate in known.items()), style)


def _told(line: Line) -> str:
    return ", ".join(f"{percent(p.y)} with {p.x:,.0f} pairs" for p in line.points)


def _paper_scale_table() -> Table:
    sizes: Sequence[int] = list(HARM_SCORE_BY_PAIRS["dpo"])
    rows = tuple(
        (Cell(method.upper()), *(Cell(f"{known[pairs]:.1f} %") for pairs in sizes))
        for method, known in HARM_SCORE_BY_PAIRS.items()
    )
    columns = (Column("Method"), *(Column(f"{pairs:,}", numeric=True) for pairs in sizes))
    return Table("The paper: harm score on HarmEval by training pairs (read off its figure)", columns, rows)
