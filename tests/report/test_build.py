"""The whole report: what it says, what it never shows, and what it does when things are missing."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, ClassVar

import polars as pl
import pytest

from spavl_dag.report.build import _csv, build_report
from spavl_dag.report.families import Family, data_scale_families
from spavl_dag.report.inputs import CheckpointInfo, ReportInputs, RewardModelInfo
from tests.report.invented import DRAWN, KEYS, PAIRS, curves, examples, gate, inputs, scores

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)> [a](javascript:1) | **b** \u202e `c` "d'


class Page(HTMLParser):
    """Tags, attributes and the text per section of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._section = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = str(dict(attrs)["id"])

    def handle_data(self, data: str) -> None:
        self.text[self._section] = f"{self.text.get(self._section, '')} {data.strip()}".strip()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return build_report(inputs())


def test_files(files: dict[str, bytes]) -> None:
    fixed = {"report.html", "report.md", "data_scale.csv", "leaderboard.csv"}
    curves = {f"curves/{name}.csv" for name in ("loss", "reward", "reward_margin", "kl_to_the_reference")}
    assert set(files) == fixed | curves | {f"metrics/{key}.json" for key in KEYS}


def test_same_inputs_same_bytes(files: dict[str, bytes]) -> None:
    assert build_report(inputs()) == files


def test_page_needs_nothing_from_outside(files: dict[str, bytes]) -> None:
    page = Page(files["report.html"])
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "base"}
    assert all(str(attributes["href"]).startswith("#") for tag, attributes in page.tags if tag == "a")
    assert b"url(" not in files["report.html"]
    assert b"@import" not in files["report.html"]


def test_every_link_of_the_page_leads_somewhere_and_ids_are_unique(files: dict[str, bytes]) -> None:
    page = Page(files["report.html"])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(attributes["href"]).removeprefix("#") for tag, attributes in page.tags if tag == "a"}
    assert targets == {attributes["id"] for tag, attributes in page.tags if tag == "section"}


def test_every_chart_is_described(files: dict[str, bytes]) -> None:
    page = Page(files["report.html"])
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert len(charts) > 15
    for attributes in charts:
        assert set(str(attributes["aria-labelledby"]).split()) <= ids


def test_leaderboard_has_a_row_per_checkpoint(files: dict[str, bytes]) -> None:
    told = Page(files["report.html"]).text["leaderboard"]
    for label in ("base", "SFT on chosen", "DPO", "PPO", "GRPO", "DPO, 100 pairs"):
        assert label in told
    assert "✓ passed" in told
    assert "✗ failed" in told
    assert "44.0 % 38.3\u201350.2" in told


def test_summary_says_what_held_and_what_did_not(files: dict[str, bytes]) -> None:
    told = Page(files["report.html"]).text["summary"]
    assert "5 of 7 trained checkpoints pass the gate." in told
    assert "Failed: SFT on chosen (capability kept: captions/accuracy/exact_match); GRPO (safer: harm_eval" in told
    assert "The HarmEval unsafe rate of base is 44.0 % (38.3\u201350.2)." in told
    assert "fell by more than half: DPO to 3.0 % (1.5\u20135.8); PPO to 5.0 % (2.9\u20138.2); DPO, 300 pairs to" in told
    assert "fell, not by more than half: SFT on chosen to 31.7 % (26.4\u201337.5)." in told
    assert "includes zero: GRPO 41.9 % (36.1\u201347.9), \u221210.5 to +6.4 points; DPO, 100 pairs 39.9 %" in told
    assert "SFT on chosen: caption accuracy \u221223.0 points" in told
    assert "PPO, HarmEval unsafe rate: 3 of 268" in told


def test_summary_says_nothing_twice(files: dict[str, bytes]) -> None:
    told = Page(files["report.html"]).text["summary"]
    assert told.count("44.0 %") == 1
    assert told.count("more than half:") == 2, "fell by more, fell by less"
    words = told.split()
    phrases = [" ".join(words[i : i + 6]) for i in range(len(words))]
    assert len(phrases) == len(set(phrases))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": 0.6, "diff_low": 0.1, "diff_high": 0.2}, "ROSE: DPO to 60.0 %"),
        ({"value": 0.4, "ci_high": 0.45, "diff_low": -0.1, "diff_high": -0.01}, "\u201345.0), overlapping intervals"),
        ({"value": math.nan}, "no HarmEval unsafe rate: DPO."),
        ({"value": None}, "no HarmEval unsafe rate: DPO."),
        ({"diff_low": None}, "not compared item by item: DPO 3.0 %"),
    ],
)
def test_summary_is_honest(change: dict[str, float | None], sentence: str) -> None:
    rows = scores().to_dicts()
    for row in rows:
        if row["checkpoint"] == "dpo" and row["metric"] == "unsafe_rate":
            row.update(change)
    table = pl.DataFrame(rows, schema=scores().schema)
    assert sentence in Page(build_report(inputs(scores=table))["report.html"]).text["summary"]


def test_a_baseline_without_an_unsafe_rate_is_said_to_have_none() -> None:
    table = scores().filter((pl.col("checkpoint") != "base") | (pl.col("metric") != "unsafe_rate"))
    told = Page(build_report(inputs(scores=table))["report.html"]).text["summary"]
    assert "There is no HarmEval unsafe rate of base to compare with." in told
    assert "nothing to compare with: SFT on chosen 31.7 %" in told


class TestClaims:
    """What the numbers are not is said above them and beside the paper's, and nothing where nothing is to be said."""

    SECTIONS = ("summary", "paper")
    SENTENCES: ClassVar[dict[str, str]] = {
        "simulated": "The answers in the training data are those of simulated respondents.",
        "judge_is_base_model": "The judge, base_model, is the very model that is aligned",
    }

    def test_all(self) -> None:
        files = build_report(inputs(**DRAWN))
        told = Page(files["report.html"]).text
        for section in self.SECTIONS:
            for sentence in (*self.SENTENCES.values(), "are drawn pictograms, not those of the published benchmarks"):
                assert sentence in told[section], section
        assert "The items of HarmEval, HelpEval, MM-SafetyBench, AdvBench, POPE" in told["summary"]
        assert "Read with care" not in told["leaderboard"], "it stands right above"
        assert "The items of MM-SafetyBench, AdvBench, HarmEval are" in told["paper"]
        assert "this project, drawn items" in told["paper"]
        assert "n\u00a0212, drawn" in told["leaderboard"]
        markdown = files["report.md"].decode()
        assert markdown.count("are drawn pictograms, not those of the published benchmarks") == 2
        assert markdown.count("> Read with care.") == 2

    def test_none(self, files: dict[str, bytes]) -> None:
        told = " ".join(Page(files["report.html"]).text.values())
        for word in ("Read with care", "drawn pictograms", "simulated", "very model", ", drawn", "drawn items"):
            assert word not in told
            assert word not in files["report.md"].decode()

    @pytest.mark.parametrize("claim", SENTENCES)
    def test_each_alone(self, claim: str) -> None:
        told = Page(build_report(inputs(**{claim: True}))["report.html"]).text["paper"]
        assert [name for name, sentence in self.SENTENCES.items() if sentence in told] == [claim]
        assert "pictograms" not in told

    def test_only_what_is_drawn_is_said_to_be(self) -> None:
        told = Page(build_report(inputs(drawn_benchmarks={"pope", "figstep"}))["report.html"]).text
        assert "The items of POPE are drawn" in told["summary"], "FigStep was not measured"
        assert "drawn" not in told["paper"]


def test_wins_ties_and_losses_stand_beside_the_win_rate() -> None:
    rows = scores().to_dicts()
    of_dpo = {"win_rate": (0.0, 0.0), "tie_rate": (0.5, 90.0), "lose_rate": (0.5, 90.0)}
    for row in rows:
        if row["checkpoint"] == "dpo" and row["metric"] in of_dpo:
            row["value"], row["count"] = of_dpo[row["metric"]]
    files = build_report(inputs(scores=pl.DataFrame(rows, schema=scores().schema)))
    told = Page(files["report.html"]).text["leaderboard"]
    assert "0 won, 90 tied, 90 lost" in told
    assert told.count(" tied, ") == len(KEYS) - 1, "the baseline is not compared with itself"
    assert "0 won, 90 tied, 90 lost" in files["report.md"].decode()


@pytest.mark.parametrize("show_text", [False, True])
def test_hostile_texts_are_only_text(show_text: bool) -> None:
    changed = inputs(examples=examples(HOSTILE), show_text=show_text)
    first = replace(changed.checkpoints[0], label=HOSTILE, params={HOSTILE: HOSTILE}, md5=HOSTILE)
    dollars = replace(changed.checkpoints[1], label="$\\frac{$ 100 % \x00 \u4e2d")  # matplotlib would read a formula
    class_scores = changed.class_scores.with_columns(category=pl.lit(HOSTILE))
    conditions = changed.gate.with_columns(metric=pl.lit(HOSTILE), detail=pl.lit(HOSTILE), condition=pl.lit(HOSTILE))
    table = changed.scores.with_columns(judge=pl.lit(HOSTILE), name=pl.lit(HOSTILE), test=pl.lit(HOSTILE))
    changed = replace(
        changed,
        checkpoints=[first, dollars, *changed.checkpoints[2:]],
        class_scores=class_scores,
        gate=conditions,
        scores=table,
    )
    files = build_report(changed)
    page = Page(files["report.html"])
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in files["report.html"].decode()
    assert "<script>alert(1)</script>" in page.text["leaderboard"]  # shown, as text
    markdown = files["report.md"].decode()
    assert "<script" not in markdown
    assert "[a](" not in markdown
    assert "\u202e" not in markdown


def test_texts_are_redacted_unless_asked_for() -> None:
    secret = "how to take the skull"
    hidden = build_report(inputs(examples=examples(secret)))
    shown = build_report(inputs(examples=examples(secret), show_text=True))
    for name in ("report.html", "report.md"):
        assert secret.encode() not in hidden[name]
        assert f"hidden, {len(secret)} characters".encode() in hidden[name]
        assert "\u2588".encode() not in hidden[name], "black bars say nothing"
        assert secret.encode() in shown[name]


def curve(**logged: list[tuple[str, float]]) -> pl.DataFrame:
    rows = [(key, step, *pair) for key, pairs in logged.items() for step, pair in enumerate(pairs, start=1)]
    return pl.DataFrame(rows, schema=["checkpoint", "step", "metric", "value"], orient="row")


def test_several_judges_and_rules() -> None:
    table = scores()
    second = table.filter(rule="judge").with_columns(judge=pl.lit("a_second"), value=pl.lit(0.111))
    second = second.with_columns(name=pl.col("name").str.replace("base_model", "a_second"))
    files = build_report(inputs(scores=pl.concat([second, table])))
    assert "44.0 %" in Page(files["report.html"]).text["leaderboard"]
    assert "11.1 %" not in Page(files["report.html"]).text["leaderboard"]
    assert json.loads(files["metrics/base.json"])["unsafe_rate"] == 0.44
    assert "0.1110" in Page(files["report.html"]).text["scores"]
    by_keywords = build_report(inputs(scores=table.filter(pl.col("rule") != "judge")))
    assert "refusal keywords, n\u00a0212" in Page(by_keywords["report.html"]).text["leaderboard"]


MISSING: dict[str, tuple[dict[str, Any], str, str]] = {
    "scores": ({"scores": pl.DataFrame()}, "leaderboard", "No checkpoint has scores yet."),
    "no scores, but columns": ({"scores": scores().clear()}, "summary", "Nothing was measured yet."),
    "gate": ({"gate": pl.DataFrame()}, "gate", "The gate was checked for no trained checkpoint."),
    "classes": ({"class_scores": pl.DataFrame()}, "classes", "There are no scores by class."),
    "curves": ({"curves": pl.DataFrame()}, "training", "No training left a curve."),
    "curves without what is drawn": ({"curves": curve(dpo=[("lr", 0.1)])}, "training", "Nothing of the curves of DPO"),
    "reward model": ({"reward_model": None}, "reward-model", "No reward model was trained."),
    "bins": (
        {"reward_model": RewardModelInfo({"accuracy": math.nan}, pl.DataFrame())},
        "reward-model",
        "Its accuracy on held-out pairs is not known. There are no calibration bins.",
    ),
    "examples": ({"examples": pl.DataFrame()}, "examples", "There are no examples."),
    "dataset": ({"dataset": {}}, "dataset", "The dataset was not counted."),
    "lineage": ({"lineage": pl.DataFrame()}, "lineage", "The lineage of the stages is not recorded."),
    "only the baseline": (
        {"checkpoints": [CheckpointInfo("base", "base", "none")]},
        "summary",
        "No checkpoint was trained",
    ),
    "no family": (
        {"checkpoints": [CheckpointInfo("dpo", "DPO", "dpo", rows=9)]},
        "data-scale",
        "No two trained checkpoints differ",
    ),
    "nothing compared": (
        {"scores": scores().with_columns(diff_low=pl.lit(None, pl.Float64))},
        "differences",
        "Nothing was compared with base.",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_missing_leaves_a_sentence(what: str) -> None:
    changes, section, sentence = MISSING[what]
    assert sentence in Page(build_report(inputs(**changes))["report.html"]).text[section]


def test_nothing_at_all() -> None:
    files = build_report(ReportInputs(baseline="base", checkpoints=[]))
    assert set(files) == {"report.html", "report.md", "data_scale.csv", "leaderboard.csv"}


def test_numbers_that_are_not_finite_are_nowhere() -> None:
    table = scores().with_columns(value=pl.lit(math.nan), ci_high=pl.lit(math.inf), difference=pl.lit(-math.inf))
    dpo = [("loss", math.nan), ("loss", 0.5), ("loss", math.inf)]
    broken = gate().with_columns(value=pl.lit(math.nan), difference=pl.lit(math.inf), baseline=pl.lit(None))
    files = build_report(inputs(scores=table, gate=broken, curves=curve(dpo=dpo)))
    for content in files.values():
        assert not re.search(rb"\b(nan|inf)\b", content, re.IGNORECASE)
    assert files["curves/loss.csv"] == b"checkpoint,step,loss\ndpo,2,0.5\n"


def test_metrics_for_dvc_are_few_and_short(files: dict[str, bytes]) -> None:
    assert json.loads(files["metrics/dpo_300.json"]) == {
        "harm_score": 0.272,
        "over_refusal": 0.042,
        "pope_accuracy": 0.848,
        "unsafe_rate": 0.194,
    }
    for key in KEYS:
        metrics = json.loads(files[f"metrics/{key}.json"])
        width = len(f"eval/report/metrics/{key}.json") + sum(4 + max(len(n), len(str(v))) for n, v in metrics.items())
        assert width <= 100, "one line of `dvc metrics show`"


def test_plots_for_dvc(files: dict[str, bytes]) -> None:
    scale = pl.read_csv(files["data_scale.csv"])
    assert scale.columns == ["pairs", "method", "unsafe_rate", "harm_score"]
    assert scale["pairs"].to_list() == [100, 300, 1000, 2000]
    assert scale["unsafe_rate"].is_sorted(descending=True)
    board = pl.read_csv(files["leaderboard.csv"])
    assert board.height == len(KEYS)


def test_labels_are_no_formulas_of_spreadsheets() -> None:
    labels = ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "DPO", "a=b"]
    told = pl.read_csv(_csv(pl.DataFrame({"checkpoint": labels, "rate": [-0.5] * len(labels)})))
    assert told["checkpoint"].to_list() == [*(f"'{label}" for label in labels[:6]), *labels[6:]]
    assert told["rate"].to_list() == [-0.5] * len(labels)


def test_curves_for_dvc(files: dict[str, bytes]) -> None:
    drawn = pl.read_csv(files["curves/loss.csv"])
    assert drawn.columns == ["checkpoint", "step", "loss"]
    assert set(drawn["checkpoint"]) == set(KEYS[1:])
    whole = curves().filter(metric="loss", checkpoint="dpo_300").select("checkpoint", "step", loss="value")
    assert drawn.filter(checkpoint="dpo_300").equals(whole), "a short curve is whole"
    assert 60 <= drawn.filter(checkpoint="dpo").height <= 120 < PAIRS["dpo"] // 8
    assert set(pl.read_csv(files["curves/reward_margin.csv"])["checkpoint"]) == {k for k in KEYS if "dpo" in k}


def test_the_calibration_plot_says_of_how_many_pairs_each_point_is(files: dict[str, bytes]) -> None:
    page = files["report.html"].decode()
    chart = page[page.index('aria-labelledby="reward-calibration-title') :].split("</svg>")[0]
    assert chart.count(">30</text>") == 4


def test_funnel_is_shown(files: dict[str, bytes]) -> None:
    told = Page(files["report.html"]).text["dataset"]
    assert "pairs of answers: preferences 1,100 500 600 tie 590; neither 10" in told


def test_lineage_depends_on_nothing_but_hashes(files: dict[str, bytes]) -> None:
    told = Page(files["report.html"]).text["lineage"]
    assert "Stage DVC md5 base_model 00000000000000000000000000000000.dir" in told
    assert "commit" not in told
    assert "MLflow" not in told


def test_families_differ_in_pairs_only() -> None:
    def info(key: str, method: str, rows: int, **params: Any) -> CheckpointInfo:
        return CheckpointInfo(key, key, method, {name.replace("_", "."): v for name, v in params.items()}, rows)

    found = data_scale_families(
        [
            CheckpointInfo("base", "base", "none"),
            info("dpo", "dpo", 900, beta=0.1, data_pairs=None),
            info("dpo_b", "dpo", 100, beta=0.1, data_pairs=100, data_classes=None),
            info("other_beta", "dpo", 50, beta=0.2, data_pairs=50),
            info("ppo", "ppo", 900),
            info("ppo_b", "ppo", 900, label="twin"),
        ]
    )
    assert found == [Family("dpo", "DPO", (("dpo_b", 100), ("dpo", 900)))]


def test_several_comparisons_and_small_differences_are_spoken_of(files: dict[str, bytes]) -> None:
    told = Page(files["report.html"]).text["differences"]
    assert "comparisons are looked at here together" in told
    assert "How many items would tell a small difference" in told
    doubtful = scores().with_columns(
        p_value=pl.when(pl.col("p_value").is_not_null()).then(pl.lit(0.02)).otherwise(None)
    )
    told = Page(build_report(replace(inputs(), scores=doubtful))["report.html"]).text["differences"]
    assert "not shown to differ though" in told


def test_harmlessness_and_helpfulness_are_drawn_together(files: dict[str, bytes]) -> None:
    chart = next(part for part in files["report.html"].decode().split("<svg") if 'id="trade-off-title"' in part)
    assert "HelpEval win rate over HarmEval unsafe rate" in chart


def test_seeds_are_shown_as_mean_and_spread_and_as_a_band(files: dict[str, bytes]) -> None:
    assert "Over seeds" not in Page(files["report.html"]).text["leaderboard"]
    plain = inputs()
    (dpo,) = (info for info in plain.checkpoints if info.key == "dpo")
    again = replace(dpo, key="dpo_again", label="DPO again", params={**dpo.params, "seed": 1})
    copied = plain.scores.filter(checkpoint="dpo").with_columns(
        checkpoint=pl.lit("dpo_again"), value=pl.col("value") + 0.02
    )
    seeds = replace(plain, checkpoints=[*plain.checkpoints, again], scores=pl.concat([plain.scores, copied]))
    made = build_report(seeds)
    told = Page(made["report.html"]).text
    assert "dpo, dpo_again 2 4.0 % ± 1.4 %" in told["leaderboard"]
    assert "through their mean" in told["data-scale"]
    (family,) = (f for f in data_scale_families(seeds.checkpoints) if ("dpo_again", dpo.rows) in f.members)
    assert ("dpo", dpo.rows) in family.members
