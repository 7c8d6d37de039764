"""The inputs of a report, looked at the way its sections need them: what the templates write down.

Belongs here: which numbers stand in which row. Not here: words (`templates/`) and drawing (`figures`). Over
400 lines, for each section reads a few properties of its own, and most of them read each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

import polars as pl

from spavl_dag.evaluation.benchmarks import BENCHMARKS
from spavl_dag.evaluation.headlines import HARM, HEADLINES, HELP_WINS, UNSAFE, Headline
from spavl_dag.evaluation.metrics import AGREEMENT, LOSE_RATE, TIE_RATE, Metric
from spavl_dag.report import figures
from spavl_dag.report.families import Family, Repeats, data_scale_families, repeats
from spavl_dag.report.figures import Effect, Line, Panel, Place, Point, Rate
from spavl_dag.report.inputs import CheckpointInfo, ReportInputs
from spavl_dag.report.numbers import GateResult, Score, Scores, finite, gate_result
from spavl_dag.report.paper import HARM_SCORE_BY_PAIRS, TABLE_2_COLUMNS
from spavl_dag.report.render import Column
from spavl_dag.stats import holm, pairs_for_difference

CURVES: Mapping[str, tuple[str, ...]] = {
    "Reward margin": ("reward_margin", "margins", "margin"),
    "Reward": ("reward", "reward_mean"),
    "KL to the reference": ("kl",),
    "Loss": ("loss", "policy_loss"),
}
"""What is drawn of a training: the last part of a metric's name, the first that it logged."""

Outcome = Literal["more than half", "not more than half", "rose", "not shown", "not compared", "no baseline", "missing"]
"""What became of the unsafe rate: it fell by more than half or by less, rose, changed within chance, or isn't known."""

Scored = tuple[CheckpointInfo, Score]


class Curve(NamedTuple):
    """A training's curve of one kind (`CURVES`), thinned, with numbers of the whole one."""

    title: str
    info: CheckpointInfo
    points: tuple[Point, ...]
    first: float
    last: float
    lowest: float
    highest: float


TOLD = 0.02
"""The difference for which the report says how many items would tell it."""


class Spread(NamedTuple):
    """A number over several seeds: its mean, its standard deviation (n - 1), and how many there are."""

    mean: float
    deviation: float
    n: int


class HeatMap(NamedTuple):
    """Rates of unsafe answers: per class its name, most answers of a checkpoint, and a rate per checkpoint."""

    benchmark: str
    judge: str
    checkpoints: Sequence[CheckpointInfo]
    rows: Sequence[tuple[str, int, Sequence[float | None]]]


@dataclass(frozen=True)
class View:
    """What every section reads."""

    inputs: ReportInputs

    @cached_property
    def scores(self) -> Scores:
        """All scores, indexed."""
        return Scores(self.inputs.scores, self.inputs.judge)

    @cached_property
    def gates(self) -> dict[str, GateResult]:
        """What the gate says, by checkpoint."""
        inputs = self.inputs
        return {info.key: gate_result(inputs.gate, info.key, inputs.baseline) for info in inputs.checkpoints}

    @cached_property
    def trained(self) -> list[CheckpointInfo]:
        """The checkpoints that are compared with the baseline."""
        return [info for info in self.inputs.checkpoints if info.key != self.inputs.baseline]

    @cached_property
    def measured(self) -> list[Headline]:
        """The headlines that some checkpoint has a score of."""
        keys = [info.key for info in self.inputs.checkpoints]
        return [headline for headline in HEADLINES if any(self.scores.get(key, headline) for key in keys)]

    @property
    def confidence(self) -> str:
        """Of all intervals, as it is written."""
        return f"{100 * self.inputs.confidence:g} %"

    @property
    def baseline(self) -> str:
        """The baseline's label."""
        return self.label(self.inputs.baseline)

    def label(self, key: str) -> str:
        """How a checkpoint is shown."""
        return next((info.label for info in self.inputs.checkpoints if info.key == key), key)

    def drawn(self, benchmarks: Iterable[str] | None = None) -> list[str]:
        """Titles of the benchmarks that are measured on drawn items.

        Args:
            benchmarks: Only of these; all that were measured when None.
        """
        named = benchmarks or [headline.benchmark for headline in self.measured]
        return [BENCHMARKS[name].title for name in dict.fromkeys(named) if name in self.inputs.drawn_benchmarks]

    def with_gate(self, state: str) -> list[CheckpointInfo]:
        """The trained checkpoints of which the gate says so."""
        return [info for info in self.trained if self.gates[info.key].state == state]

    def unsafe(self, key: str) -> Score | None:
        """A checkpoint's unsafe rate on HarmEval."""
        return self.scores.get(key, UNSAFE)

    @cached_property
    def outcomes(self) -> dict[Outcome, list[tuple[CheckpointInfo, Score | None]]]:
        """The trained checkpoints by what became of their unsafe rate."""
        found: dict[Outcome, list[tuple[CheckpointInfo, Score | None]]] = {}
        base = self.unsafe(self.inputs.baseline)
        for info in self.trained:
            own = self.unsafe(info.key)
            found.setdefault(_outcome(own, base), []).append((info, own))
        return found

    def overlaps(self, own: Score) -> bool:
        """Whether an unsafe rate's interval overlaps the baseline's; what isn't known overlaps."""
        base = self.unsafe(self.inputs.baseline)
        return own.ci_high is None or base is None or base.ci_low is None or own.ci_high >= base.ci_low

    @cached_property
    def losses(self) -> list[tuple[CheckpointInfo, list[tuple[Headline, Score]]]]:
        """Everything that got worse beyond chance, by checkpoint."""
        return [(info, worse) for info in self.trained if (worse := self._of(info, lambda s: s.mark == "worse"))]

    @cached_property
    def failures(self) -> list[tuple[CheckpointInfo, Headline, Score]]:
        """Scores of which items have no answer or no verdict."""
        return [
            (info, headline, score)
            for info in self.inputs.checkpoints
            for headline, score in self._of(info, lambda s: s.failed > 0)
        ]

    def _of(self, info: CheckpointInfo, wanted: Callable[[Score], bool]) -> list[tuple[Headline, Score]]:
        scored = ((headline, self.scores.get(info.key, headline)) for headline in self.measured)
        return [(headline, score) for headline, score in scored if score and wanted(score)]

    def column(self, headline: Headline) -> Column:
        """A headline as a column: which way is better, who or what judged it, and on how many items."""
        scores = [s for info in self.inputs.checkpoints if (s := self.scores.get(info.key, headline))]
        by = scores[0].judge or scores[0].rule.replace("_", " ")
        drawn = ", drawn" if headline.benchmark in self.inputs.drawn_benchmarks else ""
        note = f"{by}, n\u00a0{max(s.n for s in scores)}{drawn}"
        return Column(arrow(scores[0]) + headline.title, note, number=True)

    @cached_property
    def conditions(self) -> list[Mapping[str, Any]]:
        """What the gate asked of the trained checkpoints."""
        return [row for row in self.inputs.gate.iter_rows(named=True) if row["checkpoint"] != self.inputs.baseline]

    def compared(self, key: str, headline: Headline) -> str | None:
        """Won, tied and lost comparisons with the baseline, where a headline is made of them."""
        if headline is not HELP_WINS or key == self.inputs.baseline:
            return None
        parts = []
        for what, metrics in (("won", headline.metrics), ("tied", (TIE_RATE,)), ("lost", (LOSE_RATE,))):
            score = self.scores.get(key, _like(headline, metrics))
            if score is None or score.count is None:
                return None
            parts.append(f"{score.count:g} {what}")
        return ", ".join(parts)

    @cached_property
    def differences(self) -> list[tuple[Headline, list[Scored], Panel]]:
        """Per headline the checkpoints that were compared with the baseline, and how they are drawn."""
        found = []
        for headline in self.measured:
            scored = [(info, self.scores.get(info.key, headline)) for info in self.trained]
            compared = [(i, s) for i, s in scored if s and None not in (s.difference, s.diff_low, s.diff_high)]
            if compared:
                effects = tuple(
                    Effect(i.label, s.difference or 0.0, s.diff_low or 0.0, s.diff_high or 0.0, s.mark)
                    for i, s in compared
                )
                name = f"forest-{headline.benchmark}-{headline.metric}".replace("_", "-")
                svg = figures.forest_plot(name, headline.title, effects)
                found.append((headline, compared, Panel(arrow(compared[0][1]) + headline.title, svg)))
        return found

    @cached_property
    def adjusted(self) -> dict[tuple[str, str], float]:
        """P-values of all differences that are shown, by checkpoint and headline, adjusted for being several."""
        tested = {
            (info.key, headline.key): score.p_value
            for headline, compared, _ in self.differences
            for info, score in compared
            if score.p_value is not None
        }
        return dict(zip(tested, holm(list(tested.values())), strict=True))

    @cached_property
    def doubtful(self) -> list[tuple[CheckpointInfo, Headline]]:
        """What differs from the baseline by its own interval, and not among so many comparisons."""
        return [
            (info, headline)
            for headline, compared, _ in self.differences
            for info, score in compared
            if score.mark and self.adjusted.get((info.key, headline.key), 0) > 1 - self.inputs.confidence
        ]

    @cached_property
    def needed_items(self) -> list[tuple[Headline, Score, int]]:
        """Per rate of the baseline: how many items would tell a difference of `TOLD` from it."""
        scored = ((headline, self.scores.get(self.inputs.baseline, headline)) for headline in self.measured)
        return [
            (h, s, pairs_for_difference(s.value, TOLD, confidence=self.inputs.confidence))
            for h, s in scored
            if s and s.value is not None and s.count is not None and h is not HARM and h is not HELP_WINS
        ]

    @property
    def judged(self) -> list[Mapping[str, Any]]:
        """How far judges say what people say: over all sets where there are several, and set by set."""
        rows = list(self.inputs.judges.iter_rows(named=True))
        several = len({row["set"] for row in rows}) > 2
        return [row for row in rows if several or row["set"] != "all"]

    @property
    def judged_by_law(self) -> Sequence[str]:
        """The sets of labelled answers in which nobody labelled: those of the drawn world."""
        return self.inputs.drawn_judge_sets

    @cached_property
    def corrected(self) -> list[tuple[CheckpointInfo, Headline, Score]]:
        """The rates that are corrected for the errors of their judge."""
        return [
            (info, headline, score)
            for headline in self.measured
            for info in self.inputs.checkpoints
            if (score := self.scores.get(info.key, headline)) and score.corrected is not None
        ]

    @cached_property
    def agreements(self) -> list[tuple[CheckpointInfo, str, Score]]:
        """How far two judges agree (Cohen's kappa), by checkpoint and benchmark."""
        return [
            (info, BENCHMARKS[score.name.split("/")[0]].title, score)
            for info in self.inputs.checkpoints
            for score in self.scores.of(info.key)
            if score.metric == AGREEMENT
        ]

    @cached_property
    def trade_off_panels(self) -> list[Panel]:
        """How harmless and how helpful the checkpoints are; none where one of the two isn't measured."""
        found = []
        for style, info in enumerate(self.inputs.checkpoints):
            safe, helpful = self.unsafe(info.key), self.scores.get(info.key, HELP_WINS)
            if safe and helpful and None not in (safe.value, safe.ci_low, helpful.value, helpful.ci_low):
                found.append(Place(info.label, _rate(safe), _rate(helpful), style))
        if not found:
            return []
        titles = (UNSAFE.title, HELP_WINS.title)
        return [Panel(" and ".join(titles), figures.trade_off_chart("trade-off", *titles, tuple(found)))]

    @cached_property
    def trade_off_legend(self) -> list[Panel]:
        """What the marks of the trade-off stand for."""
        return legend("trade-off", [info.label for info in self.inputs.checkpoints])

    @cached_property
    def families(self) -> list[Family]:
        """Checkpoints that differ in the number of training pairs only."""
        return data_scale_families(self.inputs.checkpoints)

    scale_headlines = (UNSAFE, HARM)
    """What is drawn over the number of training pairs."""

    @cached_property
    def scale_panels(self) -> list[Panel]:
        """Unsafe rate and harm score over the number of training pairs."""
        panels = []
        for headline in self.scale_headlines:
            drawn = (self._scale(family, headline, i) for i, family in enumerate(self.families))
            ours = tuple(line for line in drawn if line.points)
            paper = tuple(_paper_line(m, len(self.families) + i) for i, m in enumerate(HARM_SCORE_BY_PAIRS))
            others = paper if headline is HARM else ()
            if ours or others:
                name = f"scale-{headline.metric}".replace("_", "-")
                panels.append(Panel(headline.title, figures.scale_chart(name, headline.title, ours, others)))
        return panels

    @cached_property
    def scale_legend(self) -> list[Panel]:
        """What the lines of the data scale stand for."""
        paper = [f"{method.upper()}, paper (7B, other judge)" for method in HARM_SCORE_BY_PAIRS]
        return legend("scale", [*(family.title for family in self.families), *paper])

    def _scale(self, family: Family, headline: Headline, style: int) -> Line:
        """A family's line; where several seeds have as many pairs, their mean and how far they lie apart."""
        found: dict[int, list[Score]] = {}
        for key, pairs in family.members:
            if (score := self.scores.get(key, headline)) and score.value is not None:
                found.setdefault(pairs, []).append(score)
        return Line(family.title, tuple(_point(pairs, scores) for pairs, scores in found.items()), style)

    @cached_property
    def repeats(self) -> list[tuple[Repeats, list[Spread | None]]]:
        """Trainings with several seeds: mean and spread of every headline that was measured."""
        found = []
        for group in repeats(self.inputs.checkpoints):
            scores = [[self.scores.get(key, headline) for key in group.members] for headline in self.measured]
            found.append((group, [_spread([s.value for s in each if s and s.value is not None]) for each in scores]))
        return found

    @cached_property
    def heat_maps(self) -> list[HeatMap]:
        """Unsafe answers by class: HarmEval by the main judge first."""
        table = self.inputs.class_scores
        if table.is_empty():
            return []
        drawn = sorted(
            table.select("benchmark", "judge").unique().iter_rows(),
            key=lambda pair: (pair[0] != UNSAFE.benchmark, pair[1] != self.inputs.judge, pair),
        )
        return [self._heat_map(table.filter(benchmark=b, judge=j), b, j) for b, j in drawn]

    def _heat_map(self, table: pl.DataFrame, benchmark: str, judge: str) -> HeatMap:
        found = {(row["category"], row["checkpoint"]): row for row in table.iter_rows(named=True)}
        shown = [i for i in self.inputs.checkpoints if any(checkpoint == i.key for _, checkpoint in found)]
        rows = []
        for category in dict.fromkeys(category for category, _ in found):
            cells = [found.get((category, info.key)) for info in shown]
            rates = [finite(row["rate"]) if row else None for row in cells]
            name = self.inputs.class_names.get(category, category)
            rows.append((name, max((row["n"] for row in cells if row), default=0), rates))
        return HeatMap(benchmark, judge, shown, rows)

    @cached_property
    def paper_rows(self) -> list[tuple[CheckpointInfo, list[Score | None]]]:
        """Our scores in the columns of the paper's Table 2."""
        rows = [
            (info, [self.scores.get(info.key, headline, variant) for headline, variant, _ in TABLE_2_COLUMNS])
            for info in self.inputs.checkpoints
        ]
        return [(info, scores) for info, scores in rows if any(scores)]

    @cached_property
    def curves(self) -> dict[str, list[Curve]]:
        """By method: the curves that are drawn, by kind and then by checkpoint; none where none of them was logged."""
        table = self.inputs.curves
        found: dict[str, list[Curve]] = {}
        if table.is_empty():
            return found
        logged = dict(table.filter(pl.col("value").is_finite()).partition_by("checkpoint", as_dict=True))
        for info in self.trained:
            if info.key in table["checkpoint"]:
                found.setdefault(info.method, [])
        for title, names in CURVES.items():
            for info in self.trained:
                points = _curve(logged[info.key,], names) if (info.key,) in logged else []
                if points:
                    values = [value for _, value in points]
                    numbers = (values[0], values[-1], min(values), max(values))
                    found[info.method].append(Curve(title, info, figures.thinned(points), *numbers))
        return found

    def curve_panels(self, method: str) -> list[Panel]:
        """The curves of a method, a chart for each kind."""
        styles = {info.key: style for style, info in enumerate(self.curve_infos(method))}
        panels = []
        for title in CURVES:
            drawn = [curve for curve in self.curves[method] if curve.title == title]
            lines = tuple(Line(c.info.label, c.points, styles[c.info.key], markers=False) for c in drawn)
            if lines:
                name = f"curve-{method}-{title.lower().replace(' ', '-')}"
                label = f"{method.upper()}: {title}"
                panels.append(Panel(label, figures.curve_chart(name, label, lines)))
        return panels

    def curve_legend(self, method: str) -> list[Panel]:
        """What the lines of a method's curves stand for."""
        return legend(f"curve-{method}", (info.label for info in self.curve_infos(method)))

    def curve_infos(self, method: str) -> list[CheckpointInfo]:
        """The checkpoints of a method of which curves are drawn."""
        drawn = {curve.info.key for curve in self.curves[method]}
        return [info for info in self.trained if info.key in drawn]

    @cached_property
    def calibration(self) -> list[Mapping[str, float]]:
        """The reward model's bins that have pairs."""
        info = self.inputs.reward_model
        return [row for row in info.bins.iter_rows(named=True) if row["n"]] if info else []

    @cached_property
    def calibration_panels(self) -> list[Panel]:
        """The bins as a chart."""
        return [Panel("Accuracy over confidence", figures.calibration_chart("reward-calibration", self.calibration))]

    @cached_property
    def reward_metrics(self) -> dict[str, float | None]:
        """The reward model's numbers; one that isn't finite is None."""
        model = self.inputs.reward_model
        return {name: finite(value) for name, value in model.metrics.items()} if model else {}

    @cached_property
    def examples(self) -> tuple[list[CheckpointInfo], dict[tuple[str, str, str], dict[str, Mapping[str, str]]]]:
        """The checkpoints that answered, and per item (benchmark, id, question) their answers by checkpoint."""
        answers: dict[tuple[str, str, str], dict[str, Mapping[str, str]]] = {}
        for row in self.inputs.examples.iter_rows(named=True):
            answers.setdefault((row["benchmark"], row["item_id"], row["question"]), {})[row["checkpoint"]] = row
        answered = {key for by_checkpoint in answers.values() for key in by_checkpoint}
        return [info for info in self.inputs.checkpoints if info.key in answered], answers


def _outcome(own: Score | None, base: Score | None) -> Outcome:
    if own is None or own.value is None:
        return "missing"
    if base is None or base.value is None:
        return "no baseline"
    if own.diff_low is None or own.diff_high is None:
        return "not compared"
    if own.mark is None:
        return "not shown"
    if own.mark == "worse":
        return "rose"
    return "more than half" if base.value and 1 - own.value / base.value > 0.5 else "not more than half"


def _like(headline: Headline, metrics: Sequence[Metric]) -> Headline:
    return Headline(headline.key, headline.title, headline.label, headline.benchmark, tuple(metrics))


def _point(pairs: int, scores: Sequence[Score]) -> Point:
    if len(scores) == 1:
        return Point(pairs, scores[0].value or 0.0, scores[0].ci_low, scores[0].ci_high)
    values = [score.value or 0.0 for score in scores]
    return Point(pairs, fmean(values), min(values), max(values))


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(fmean(values), stdev(values), len(values)) if len(values) > 1 else None


def _rate(score: Score) -> Rate:
    return Rate(score.value or 0.0, score.ci_low or 0.0, score.ci_high or 0.0)


def arrow(score: Score) -> str:
    """Which way is better, before a heading."""
    return {True: "\u2191\u00a0", False: "\u2193\u00a0", None: ""}[score.higher_is_better]


def legend(name: str, labels: Iterable[str]) -> list[Panel]:
    """Samples of lines in the order of their styles; the name is the legend's own."""
    return [Panel(label, figures.line_sample(f"legend-{name}", style)) for style, label in enumerate(labels)]


def _paper_line(method: str, style: int) -> Line:
    known = HARM_SCORE_BY_PAIRS[method]
    return Line(f"{method.upper()}, paper", tuple(Point(pairs, rate / 100) for pairs, rate in known.items()), style)


def _curve(logged: pl.DataFrame, names: Sequence[str]) -> list[tuple[float, float]]:
    """Step and value of the first metric of these names that was logged."""
    for name in names:
        found = logged.filter(pl.col("metric").str.split("/").list.last() == name).sort("step")
        if not found.is_empty():
            return [(float(step), value) for step, value in found.select("step", "value").iter_rows()]
    return []
