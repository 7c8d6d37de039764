"""The pure steps: groups, pairs, preferences, splits."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spavl_dag.params.sections import DatasetParams, PairParams, SafetyGroupParams
from spavl_dag.schemas import Images, Pairs, Questions, Responses, SafetyGroups, SafetyLabels, frame
from spavl_dag.steps.dataset import agreement, assign_splits
from spavl_dag.steps.keywords import keywords_from_file, keywords_from_model, split_keywords
from spavl_dag.steps.pairs import draw_pairs
from spavl_dag.steps.preferences import prefer
from spavl_dag.steps.safety_groups import group_models
from spavl_dag.taxonomy import load_taxonomy
from tests.steps.scripted import client
from tests.steps.test_hostile_outputs import REFS, good_questions

ROOT = Path(__file__).resolve().parents[2]


def labels(rates: dict[str, tuple[int, int]]) -> pl.DataFrame:
    """Labels of models with so many safe ones of so many."""
    rows = [
        {
            "question_id": f"q{i}",
            "model": model,
            "label": "safe" if i < safe else "unsafe",
            "state": "ok",
            "raw": "x",
            "call_key": None,
        }
        for model, (safe, total) in rates.items()
        for i in range(total)
    ]
    return frame(SafetyLabels, rows)


def groups_of(table: pl.DataFrame) -> dict[str, int]:
    return dict(table.select("model", "safety_group").iter_rows())


def test_equal_count_groups_are_ordered_by_safe_rate():
    table = group_models(
        labels({"e": (1, 10), "d": (3, 10), "a": (9, 10), "c": (5, 10), "b": (7, 10), "f": (0, 10)}),
        SafetyGroupParams(method="equal_count", count=3),
    )
    assert groups_of(table) == {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3, "f": 3}
    first = table.row(0, named=True)
    assert first["model"] == "a"
    assert first["ci_low"] < 0.9 < first["ci_high"]


def test_twelve_models_make_five_groups():
    table = group_models(
        labels({f"m{i:02}": (i, 12) for i in range(12)}), SafetyGroupParams(method="equal_count", count=5)
    )
    sizes = table.group_by("safety_group").len().sort("safety_group")["len"].to_list()
    assert sorted(sizes) == [2, 2, 2, 3, 3]


def test_threshold_and_membership_groups():
    rates = labels({"a": (9, 10), "b": (5, 10), "c": (1, 10)})
    by_rate = group_models(rates, SafetyGroupParams(method="thresholds", count=3, thresholds=[0.8, 0.4]))
    assert groups_of(by_rate) == {"a": 1, "b": 2, "c": 3}
    named = SafetyGroupParams(method="membership", count=2, membership={"a": 2, "b": 2, "c": 1})
    assert groups_of(group_models(rates, named)) == {"a": 2, "b": 2, "c": 1}


def test_a_model_without_labels_counts_as_least_safe():
    rows = pl.concat(
        [
            labels({"a": (0, 4), "b": (4, 4)}),
            labels({"c": (1, 4)}).with_columns(label=pl.lit(None, pl.String), state=pl.lit("unparsable")),
        ]
    )
    table = group_models(rows, SafetyGroupParams(method="equal_count", count=3))
    assert groups_of(table) == {"b": 1, "a": 2, "c": 3}
    assert table.filter(pl.col("model") == "c")["safe_rate"].item() is None


def responses(models: dict[str, int], questions: int, same: bool = False) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [
        {
            "question_id": f"q{q}",
            "model": model,
            "response": "same" if same else f"{model} on {q}",
            "state": "ok",
            "reason": None,
            "finish_reason": "stop",
            "prompt_tokens": 1,
            "completion_tokens": 1,
            "call_key": "0" * 32,
        }
        for q in range(questions)
        for model in models
    ]
    grouped = [
        {"model": model, "safety_group": group, "safe": 1, "labelled": 1, "unlabelled": 0}
        | {"safe_rate": 1.0, "ci_low": 0.0, "ci_high": 1.0}
        for model, group in models.items()
    ]
    return frame(Responses, rows), frame(SafetyGroups, grouped)


MODELS = {"a": 1, "b": 1, "c": 2, "d": 3, "e": 3, "f": 3}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    wanted=st.integers(1, 20),
    strategy=st.sampled_from(["random_groups", "safest_against_least_safe"]),
)
def test_pairs_come_from_different_groups_and_are_distinct(seed: int, wanted: int, strategy: str):
    answers, groups = responses(MODELS, 3)
    tables = draw_pairs(answers, groups, PairParams(strategy=strategy, per_question=wanted), seed)
    pairs = tables["pairs"]
    Pairs.validate(pairs)
    possible = 11 if strategy == "random_groups" else 6
    assert pairs.height == 3 * min(wanted, possible)
    seen = {(row["question_id"], frozenset((row["model_a"], row["model_b"]))) for row in pairs.iter_rows(named=True)}
    assert len(seen) == pairs.height
    if strategy == "safest_against_least_safe":
        assert all({row["group_a"], row["group_b"]} == {1, 3} for row in pairs.iter_rows(named=True))


def test_a_question_s_pair_does_not_depend_on_the_other_questions():
    many, groups = responses(MODELS, 40)
    few = many.filter(pl.col("question_id").is_in(["q3", "q7"]))
    params = PairParams(strategy="random_groups", per_question=2)
    of_few = draw_pairs(few, groups, params, 42)["pairs"]
    of_many = draw_pairs(many, groups, params, 42)["pairs"]
    assert of_many.filter(pl.col("question_id").is_in(["q3", "q7"])).equals(of_few)


def test_groups_are_drawn_before_models():
    """A group of many models is not drawn more often (paper: two groups, then a model of each)."""
    models = {"lone1": 1, "lone2": 2, **{f"crowd{i}": 3 for i in range(10)}}
    answers, groups = responses(models, 600)
    pairs = draw_pairs(answers, groups, PairParams(strategy="random_groups", per_question=1), 1)["pairs"]
    lone = pairs.filter((pl.col("group_a") + pl.col("group_b")) == 3).height
    assert 150 < lone < 250, "a third of the pairs is between the two groups of one model"


def test_questions_without_two_different_answers_are_recorded():
    answers, groups = responses(MODELS, 2, same=True)
    tables = draw_pairs(answers, groups, PairParams(strategy="random_groups", per_question=1), 1)
    assert tables["pairs"].is_empty()
    assert set(tables["missing"]["reason"]) == {"no different answers of two groups"}


PAIR = {
    "model_a": "good",
    "model_b": "bad",
    "group_a": 1,
    "group_b": 2,
    "response_a": "GOOD",
    "response_b": "BAD",
}


def one_pair() -> pl.DataFrame:
    question = good_questions().row(0, named=True)
    return frame(Pairs, [PAIR | {"pair_id": "p", "question_id": question["question_id"]}])


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("verdict: A reason: x", "verdict: B reason: y", None),
        ("verdict: B reason: x", "verdict: A reason: y", None),
        ("verdict: A reason: x", "verdict: A reason: y", "position_biased"),
        ("verdict: A reason: x", "verdict: tie reason: y", "disagreed"),
        ("verdict: tie reason: x", "verdict: tie reason: y", "tie"),
        ("verdict: neither reason: x", "verdict: neither reason: y", "neither"),
        ("verdict: A reason: x", "hm", "unparsable"),
        ("I'm sorry, but I can't help with that.", "verdict: A reason: x", "refused"),
    ],
)
def test_only_agreeing_verdicts_make_a_preference(tmp_path: Path, first: str, second: str, reason: str | None):
    said = {"GOOD|BAD": first, "BAD|GOOD": second}
    annotator, _ = client(tmp_path, "{{ answer_a }}|{{ answer_b }}", lambda request: said[request.prompt])
    tables = prefer(one_pair(), good_questions(), REFS, {"joint": annotator})
    assert tables["verdicts"].height == 2
    if reason:
        assert tables["undecided"]["reason"].to_list() == [reason]
        assert tables["preferences"].is_empty()
    else:
        row = tables["preferences"].row(0, named=True)
        assert row["chosen"] == ("GOOD" if "A" in first else "BAD")
        assert (row["reason1"], row["reason2"]) == ("x", "y")


def test_asked_separately_harmlessness_decides_and_helpfulness_breaks_its_ties(tmp_path: Path):
    def judge(verdicts: dict[str, str], name: str):
        return client(tmp_path, name + ":{{ answer_a }}", lambda r: verdicts[r.prompt.split(":")[1]], name)[0]

    tie = judge({"GOOD": "verdict: tie reason: both harmless", "BAD": "verdict: tie reason: both harmless"}, "h1")
    bad = judge({"GOOD": "verdict: B reason: richer", "BAD": "verdict: A reason: richer"}, "u1")
    row = prefer(one_pair(), good_questions(), REFS, {"harmlessness": tie, "helpfulness": bad})["preferences"]
    assert row.select("chosen", "decided_by").row(0) == ("BAD", "helpfulness")
    good = judge({"GOOD": "verdict: A reason: safe", "BAD": "verdict: B reason: safe"}, "h2")
    row = prefer(one_pair(), good_questions(), REFS, {"harmlessness": good, "helpfulness": bad})["preferences"]
    assert row.select("chosen", "decided_by").row(0) == ("GOOD", "harmlessness")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    sizes=st.lists(st.integers(1, 4), min_size=8, max_size=8),
    wanted=st.integers(0, 6),
    share=st.floats(0, 0.5),
)
def test_splits_keep_near_duplicates_together(seed: int, sizes: list[int], wanted: int, share: float):
    rows, questions = [], []
    for group, size in enumerate(sizes):
        for _ in range(size):
            image_id = f"{len(rows):016x}"
            rows.append(
                {
                    "image_id": image_id,
                    "sha256": image_id * 4,
                    "phash": image_id,
                    "near_duplicate_group": group,
                }
                | {"file": f"files/{image_id}.png", "format": "PNG", "width": 1, "height": 1, "size_bytes": 1}
                | {"class_id": "ab"[group % 2], "class_ids": ["ab"[group % 2]], "source": "s"}
                | {"source_caption": None, "license": "x", "notes": ""}
            )
            questions += [
                {"question_id": f"{image_id}-{kind}", "image_id": image_id, "class_id": "ab"[group % 2]}
                | {"question_type": kind, "question": "q", "raw": "q", "changes": "", "call_key": "0" * 32}
                for kind in ("easy_question", "hard_question", "hard_statement")
            ]
    params = DatasetParams(validation_share=share, eval_questions_per_class=wanted)
    images, asked = frame(Images, rows), frame(Questions, questions)
    splits = assign_splits(images, asked, params, seed)
    assert set(splits) == set(range(len(sizes)))
    assert splits == assign_splits(images, asked, params, seed)
    if wanted == 0:
        assert not {"harm_eval", "help_eval"} & set(splits.values())
    for split in ("harm_eval", "help_eval"):
        for class_id in "ab":
            chosen = [g for g, s in splits.items() if s == split and "ab"[g % 2] == class_id]
            have = sum(3 * sizes[g] for g in chosen)
            left = [g for g, s in splits.items() if s in ("train", "validation") and "ab"[g % 2] == class_id]
            assert have >= wanted or not left


def test_agreement_is_the_share_of_verdicts_for_the_chosen_answer():
    preferences = pl.DataFrame({"pair_id": ["p", "q"], "chosen_model": ["m", "n"]})
    verdicts = pl.DataFrame(
        {"pair_id": ["p", "p", "q", "q", "q", "q"], "preferred_model": ["m", "m", None, None, "n", "n"]}
    )
    assert dict(agreement(preferences, verdicts).iter_rows()) == {"p": 1.0, "q": 0.5}


def test_keywords_of_the_file_and_of_a_model(tmp_path: Path):
    taxonomy = load_taxonomy(ROOT / "spavl_dag" / "resources" / "taxonomy.yaml")
    table = keywords_from_file(taxonomy, 6)
    assert table.height == 6 * 53
    asked, _ = client(tmp_path, "{{ class_name }}", lambda request: "1. one, two\n- three; two")
    table = keywords_from_model(taxonomy, 6, asked)
    assert table.group_by("class_id").len()["len"].unique().to_list() == [6]
    assert table.filter(pl.col("source") == "model").height == 3 * 53
    assert split_keywords("") == []
