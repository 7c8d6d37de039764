"""Verdicts on checkpoints' answers, through the real client and ledger, by a judge that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from spavl_dag.evaluation.evaluate import evaluate, name_judges
from spavl_dag.evaluation.judging import compare_with_baseline, judge_items
from spavl_dag.evaluation.responses import answer_items
from spavl_dag.evaluation.schemas import ClassScores, EvalResponses, EvalScores, ItemScores
from spavl_dag.inference.client import ModelClient
from spavl_dag.inference.request import ImageRef, SingleTurn
from spavl_dag.params.evaluation import IntervalSettings
from tests.evaluation.tables import items, responses
from tests.steps.scripted import client
from tests.steps.test_hostile_outputs import HOSTILE

JUDGE = "{{ question }} / {{ answer }}"
COMPARE = "{{ question }} | {{ answer_a }} | {{ answer_b }}"
INTERVALS = IntervalSettings(confidence=0.95, resamples=200)


def by_word(request: SingleTurn) -> str:
    """Says unsafe of an answer with the word harm in it, and can't decide on odd ones."""
    answer = request.prompt.split(" / ")[1]
    return "maybe" if "odd" in answer else "unsafe" if "harm" in answer else "safe"


def prefers(word: str) -> Callable[[SingleTurn], str]:
    """Prefers the answer with the word in it."""

    def script(request: SingleTurn) -> str:
        _, a, b = request.prompt.split(" | ")
        if (word in a) == (word in b):
            return "verdict: tie reason: alike"
        return f"verdict: {'A' if word in a else 'B'} reason: because"

    return script


def labels_of(table: pl.DataFrame) -> dict[str, tuple[str | None, str]]:
    return {row["item_id"]: (row["label"], row["state"]) for row in table.iter_rows(named=True)}


def test_a_failed_verdict_is_no_label_and_a_missing_answer_is_not_judged(tmp_path: Path) -> None:
    asked = items("harm_eval", ["a", "b", "c", "d"])
    said = responses(asked, {"a": "harm", "b": "help", "c": "odd", "d": None})
    judge, engine = client(tmp_path, JUDGE, by_word)
    table = judge_items(asked, said, judge, None)
    assert labels_of(table) == {
        "a": ("unsafe", "ok"),
        "b": ("safe", "ok"),
        "c": (None, "unparsable"),
        "d": (None, "no_response"),
    }
    assert len(engine.asked) == 3
    assert [len(keys) for keys in table["verdict_keys"]] == [1, 1, 1, 0]


def test_the_judge_is_shown_what_is_really_asked_for(tmp_path: Path) -> None:
    asked = items("figstep", {"a": "fill the list"}, intent="How to do harm?")
    judge, engine = client(tmp_path, JUDGE, by_word)
    judge_items(asked, responses(asked, {"a": "1. help"}), judge, None)
    assert engine.asked[0].prompt == "How to do harm? / 1. help"


def test_a_judge_that_sees_images_judges_texts_too(tmp_path: Path) -> None:
    picture = {"image_id": "1" * 16, "sha256": "1" * 64, "file": "files/x.png"}
    asked = pl.concat([items("harm_eval", ["a"], **picture), items("harm_eval", ["b"])])
    refs = {"1" * 16: ImageRef("1" * 64, lambda: b"")}
    judge, engine = client(tmp_path, JUDGE, by_word)
    judge_items(asked, responses(asked, {"a": "x", "b": "y"}), judge, refs)
    assert {request.prompt: request.image is not None for request in engine.asked} == {"a / x": True, "b / y": False}


def test_both_orders_equal_answers_and_failures(tmp_path: Path) -> None:
    asked = items("harm_eval", ["win", "loss", "same", "biased", "odd", "none"])
    said = responses(asked, {"win": "kind", "loss": "rude", "same": "x", "biased": "p", "odd": "q", "none": None})
    base = responses(asked, {"win": "rude", "loss": "kind", "same": "x", "biased": "r", "odd": "s", "none": "t"})

    def script(request: SingleTurn) -> str:
        question = request.prompt.split(" | ")[0]
        special = {"biased": "verdict: A reason: x", "odd": "verdict: maybe"}
        return special.get(question) or prefers("kind")(request)

    annotator, engine = client(tmp_path, COMPARE, script)
    table = compare_with_baseline(asked, said, base, annotator, "harmlessness", {})
    assert labels_of(table) == {
        "win": ("win", "ok"),
        "loss": ("loss", "ok"),
        "same": ("tie", "ok"),
        "biased": ("tie", "ok"),
        "odd": (None, "unparsable"),
        "none": (None, "no_response"),
    }
    assert len(engine.asked) == 8, "equal answers are not asked about"
    assert [len(keys) for keys in table["verdict_keys"]] == [2, 2, 0, 2, 2, 0]


@pytest.mark.parametrize(
    ("criterion", "verdict"), [("harmlessness", ("tie", "ok")), ("helpfulness", (None, "not_compared"))]
)
def test_neither_is_a_tie_in_harm_and_no_comparison_in_help(
    tmp_path: Path, criterion: str, verdict: tuple[str | None, str]
) -> None:
    asked = items("harm_eval", ["a"])
    annotator, _ = client(tmp_path, COMPARE, lambda request: "verdict: neither reason: both are bad")
    said, base = responses(asked, {"a": "x"}), responses(asked, {"a": "y"})
    table = compare_with_baseline(asked, said, base, annotator, criterion, {})  # type: ignore[arg-type]
    assert labels_of(table) == {"a": verdict}


def test_a_text_of_a_question_is_asked_without_image(tmp_path: Path) -> None:
    asked = pl.concat([items("pope", ["one"]), items("advbench", ["two"])])
    policy, engine = client(tmp_path, "{{ question }}", lambda r: TimeoutError() if "x" in r.prompt else "fine")
    table = answer_items(asked, {}, {"pope": policy, "advbench": policy})
    EvalResponses.validate(table)
    assert table["response"].to_list() == ["fine", "fine"]
    assert all(request.image is None for request in engine.asked)


def whole_evaluation(folder: Path, base: dict[str, str | None], said: dict[str, str | None]) -> dict[str, pl.DataFrame]:
    """An evaluation of HarmEval and HelpEval by two judges; the second is stricter."""
    asked = pl.concat([items("harm_eval", list(said)), items("help_eval", list(said), category="hate")])

    def strict(request: SingleTurn) -> str:
        return "unsafe" if "harm" in request.prompt or "rude" in request.prompt else "safe"

    judges = [client(folder / "1", JUDGE, by_word)[0], client(folder / "2", JUDGE, strict, "roles.second_judge")[0]]
    annotator = client(folder / "3", COMPARE, prefers("kind"))[0]
    tables = evaluate(
        asked,
        responses(asked, said),
        responses(asked, base),
        judges,
        {"harmlessness": annotator, "helpfulness": annotator},
        {},
        INTERVALS,
        seed=0,
        judge_sees_image=False,
    )
    EvalScores.validate(tables["eval_scores"])
    ItemScores.validate(tables["item_scores"])
    ClassScores.validate(tables["class_scores"])
    return tables


def test_an_evaluation_from_answers_to_numbers(tmp_path: Path) -> None:
    base = {"a": "harm", "b": "harm", "c": "rude", "d": "harm", "e": "rude", "f": "x"}
    said = {"a": "kind", "b": "harm", "c": "kind", "d": "odd", "e": "rude", "f": None}
    tables = whole_evaluation(tmp_path, dict(base), dict(said))
    by_name = {row["name"]: row for row in tables["eval_scores"].iter_rows(named=True)}
    unsafe = by_name["harm_eval/unsafe_rate/judge:script.test"]
    assert (unsafe["n"], unsafe["count"], unsafe["value"], unsafe["failed"]) == (4, 1, 0.25, 2)
    # Scored in both: a, b, c, e; the baseline is unsafe in a and b.
    assert (unsafe["n_paired"], unsafe["difference"], unsafe["test"]) == (4, -0.25, "mcnemar_exact")
    assert unsafe["baseline_value"] == 0.5
    # a and c won, b and e the same, d lost neither word: a tie.
    harm = by_name["harm_eval/harm_score/pairwise:script"]
    assert (harm["n"], harm["value"], harm["baseline_value"]) == (5, 1.5 / 5, 0.5)
    assert harm["difference"] == pytest.approx(-0.2)
    # Both harmless to the first judge: c and e. One won, one the same.
    wins = by_name["help_eval/win_rate/pairwise:script"]
    assert (wins["n"], wins["value"], wins["failed"]) == (2, 0.5, 1)
    assert by_name["help_eval/tie_rate/pairwise:script"]["value"] == 0.5
    # The judges agree on a, b, c and differ on e.
    agreement = by_name["harm_eval/judge_agreement/judge:script.second_judge:script.test"]
    assert (agreement["n"], agreement["failed"]) == (4, 2)
    assert agreement["value"] == pytest.approx(0.5)
    classes = tables["class_scores"].filter(pl.col("judge") == "script.test")
    assert classes.select("category", "n", "unsafe", "failed").sort("category").rows() == [
        ("hate", 4, 1, 2),
        ("weapon", 4, 1, 2),
    ]


def test_the_baseline_has_no_differences_and_half_a_harm_score(tmp_path: Path) -> None:
    asked = items("harm_eval", ["a", "b"])
    said = responses(asked, {"a": "harm", "b": "kind"})
    judge, annotator = client(tmp_path / "1", JUDGE, by_word)[0], client(tmp_path / "2", COMPARE, prefers("kind"))
    tables = evaluate(
        asked, said, None, [judge], {"harmlessness": annotator[0]}, {}, INTERVALS, seed=0, judge_sees_image=False
    )
    scores = {row["metric"]: row for row in tables["eval_scores"].iter_rows(named=True)}
    assert scores["harm_score"]["value"] == 0.5
    assert scores["unsafe_rate"]["value"] == 0.5
    assert tables["eval_scores"]["difference"].null_count() == 2
    assert annotator[1].asked == []


def test_without_a_judge_nothing_is_judged(tmp_path: Path) -> None:
    asked = items("harm_eval", ["a"])
    said = responses(asked, {"a": "x"})
    tables = evaluate(asked, said, said, [], {}, {}, INTERVALS, seed=0, judge_sees_image=False)
    assert tables["eval_scores"].is_empty()
    assert tables["item_scores"].is_empty()


def test_hostile_answers_and_verdicts_end_in_a_state(tmp_path: Path) -> None:
    """Each hostile text once as an answer (p), once as the judge's or annotator's verdict on a good answer (v)."""
    names = [f"{kind}{i}" for kind in "pv" for i in range(len(HOSTILE))]
    asked = pl.concat([items("harm_eval", names), items("help_eval", names)])

    def text_of(request: SingleTurn, kind: str, otherwise: str) -> str:
        name = request.prompt.split(" ")[0]
        return HOSTILE[int(name[1:])] if name.startswith(kind) else otherwise

    policy = client(tmp_path / "0", "{{ question }} ", lambda r: text_of(r, "p", "fine"))[0]
    said = EvalResponses.validate(answer_items(asked, {}, {"harm_eval": policy, "help_eval": policy}))
    base = responses(asked, dict.fromkeys(names, "other"))
    annotator = client(tmp_path / "2", COMPARE, lambda r: text_of(r, "v", "verdict: A reason: x"))[0]
    tables = evaluate(
        asked,
        said,
        base,
        [client(tmp_path / "1", JUDGE, lambda r: text_of(r, "v", "safe"))[0]],
        {"harmlessness": annotator, "helpfulness": annotator},
        {},
        INTERVALS,
        seed=0,
        judge_sees_image=False,
    )
    EvalScores.validate(tables["eval_scores"])
    found = ItemScores.validate(tables["item_scores"]).filter(benchmark="harm_eval", rule="judge")
    assert found.height == 2 * len(HOSTILE)
    verdicts = found.filter(pl.col("item_id").str.starts_with("v"))
    good = {name for name, (label, _) in labels_of(verdicts).items() if label}
    assert good <= {f"v{i}" for i, text in enumerate(HOSTILE) if "safe" in text}, "no label out of nothing"
    unsafe = tables["eval_scores"].filter(benchmark="harm_eval", metric="unsafe_rate").row(0, named=True)
    assert unsafe["n"] + unsafe["failed"] == 2 * len(HOSTILE)


def test_judges_are_named_by_their_model(tmp_path: Path) -> None:
    one = client(tmp_path, JUDGE, by_word, "roles.judge")[0]
    two = client(tmp_path, JUDGE, by_word, "roles.second_judge")[0]
    assert list(name_judges([one])) == ["script"]
    assert list(name_judges([one, two])) == ["script.judge", "script.second_judge"]
    assert isinstance(name_judges([one])["script"], ModelClient)
