"""The data card: every loss is counted once and named, and nothing is claimed that was not tested."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from markdown_it import MarkdownIt
from PIL import Image, ImageDraw, ImageOps

from spavl_dag.media.duplicates import near_duplicate_groups, perceptual_hash
from spavl_dag.names import QUESTION_TYPES
from spavl_dag.params.sections import DatasetParams, PairParams, SafetyGroupParams
from spavl_dag.report.data_card import CardFacts, data_card
from spavl_dag.report.statistics import CardTables, dataset_statistics, flat_metrics, reason_kind
from spavl_dag.schemas import (
    Images,
    MissingQuestions,
    Preferences,
    Questions,
    SafetyLabels,
    UndecidedPairs,
    Verdicts,
    frame,
)
from spavl_dag.steps.dataset import build_dataset, left_out
from spavl_dag.steps.pairs import draw_pairs
from spavl_dag.steps.safety_groups import group_models
from spavl_dag.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
CLASSES = ("weapon", "hate")
PARAMS = DatasetParams(validation_share=0.2, eval_questions_per_class=2)
FACTS = CardFacts(
    image_source="pictograms",
    models={"m0": "model [0]", "m1": "model *1*", "m2": "m2"},
    simulated={"m0", "m1", "m2"},
    judge="org/a_judge",
    judge_sees_image=False,
    criteria=("joint",),
    near_duplicate_distance=2,
)
KEY = {"call_key": "0" * 32}


def tables(seed: int = 1) -> CardTables:
    """A small dataset made by the real steps of answers, labels and verdicts that are drawn."""
    draw = random.Random(seed)
    images, questions, missing = [], [], []
    for number in range(24):
        image_id, class_id = f"{number:016x}", CLASSES[number % 2]
        images.append(
            {"image_id": image_id, "sha256": image_id * 4, "phash": image_id, "near_duplicate_group": number // 3}
            | {"file": f"files/{image_id}.png", "format": "PNG", "width": 1, "height": 1, "size_bytes": 1}
            | {"class_id": class_id, "class_ids": [class_id], "source": "s", "source_caption": None}
            | {"license": "x", "notes": ""}
        )
        for kind in QUESTION_TYPES:
            row = {"image_id": image_id, "class_id": class_id, "question_type": kind, "raw": "", **KEY}
            if draw.random() < 0.15:
                missing.append(row | {"reason": f"unparsable: too long ({draw.randrange(2000, 9000)} characters)"})
            else:
                text = f"why {draw.randrange(20)} ?"
                questions.append(
                    row | {"question_id": f"{image_id}-{kind}", "question": text, "raw": text, "changes": ""}
                )
    asked = frame(Questions, questions)
    responses, labels = [], []
    for question_id in asked["question_id"]:
        for model in FACTS.models:
            text = None if draw.random() < 0.3 else f"answer {draw.randrange(3)}"
            responses.append({"question_id": question_id, "model": model, "response": text})
            state = "no_response" if text is None else draw.choice(["ok", "ok", "ok", "refused", "unparsable"])
            label = draw.choice(["safe", "unsafe"]) if state == "ok" else None
            labels.append({"question_id": question_id, "model": model, "label": label, "state": state, "raw": None})
    labelled = frame(SafetyLabels, labels)
    groups = group_models(labelled, SafetyGroupParams(method="equal_count", count=3))
    pairs = draw_pairs(pl.DataFrame(responses), groups, PairParams(strategy="random_groups", per_question=2), seed)
    preferences, undecided, verdicts = [], [], []
    for pair in pairs["pairs"].iter_rows(named=True):
        ids = {"pair_id": pair["pair_id"], "question_id": pair["question_id"]}
        reason = draw.choice([None, None, "tie", "disagreed", "position_biased"])
        if reason:
            undecided.append(ids | {"reason": reason, "detail": ""})
            continue
        models = {"chosen_model": pair["model_a"], "rejected_model": pair["model_b"]}
        texts = {"chosen": pair["response_a"], "rejected": pair["response_b"]}
        preferences.append(ids | models | texts | {"decided_by": "joint", "reason1": None, "reason2": None})
        verdicts.append(
            {"pair_id": pair["pair_id"], "criterion": "joint", "presented": "ab", "state": "ok", "verdict": "A"}
            | {"preferred_model": pair["model_a"], "reason": None, "raw": "", **KEY}
        )
    known = {"images": frame(Images, images), "questions": asked, "labels": labelled, "groups": groups}
    known |= {"preferences": frame(Preferences, preferences), "verdicts": frame(Verdicts, verdicts)}
    rows = build_dataset(**known, taxonomy=TAXONOMY, params=PARAMS, seed=seed)
    return CardTables(
        **known,
        dataset=rows,
        missing_questions=frame(MissingQuestions, missing),
        missing_pairs=pairs["missing"],
        undecided=frame(UndecidedPairs, undecided),
        left_out=left_out(asked, known["images"], rows, PARAMS, seed),
    )


@pytest.fixture(scope="module")
def statistics() -> dict[str, Any]:
    return dataset_statistics(tables())


@pytest.mark.parametrize("seed", range(8))
def test_every_loss_is_counted_once(seed: int) -> None:
    counted = tables(seed)
    steps = {step["step"].split(": ")[1]: step for step in dataset_statistics(counted)["funnel"]}
    for step in steps.values():
        assert step["entered"] - step["kept"] == sum(step["lost"].values())
        assert all(count > 0 for count in step["lost"].values())
    rows = counted.dataset
    assert steps["questions"]["entered"] == 24 * 3
    assert steps["answers"]["entered"] == counted.questions.height * 3
    assert steps["labels of the judge"]["entered"] == steps["answers"]["kept"]
    assert steps["questions with pairs of answers"]["entered"] == steps["questions"]["kept"]
    pairs = {*counted.preferences["question_id"], *counted.undecided["question_id"]}
    assert steps["questions with pairs of answers"]["kept"] == len(pairs)
    assert steps["training and validation rows"]["entered"] == steps["preferences"]["kept"]
    assert steps["training and validation rows"]["kept"] == rows["chosen"].count()
    assert steps["evaluation rows"]["kept"] == rows.filter(pl.col("split").str.ends_with("_eval")).height


def test_losses_have_their_reasons(statistics: Mapping[str, Any]) -> None:
    lost = [set(step["lost"]) for step in statistics["funnel"]]
    assert lost[0] == {"unparsable: too long"}, "not a reason for each length"
    assert lost[1] == {"no answer"}
    assert lost[2] == {"refused", "unparsable"}
    assert lost[3] <= {"fewer than two answers", "no different answers of two groups"}
    assert lost[4] == {"tie", "disagreed", "position_biased"}
    assert lost[5] == {"held out for evaluation", "same wording as an evaluation question"}
    assert lost[6] == {"more than dataset.eval_questions_per_class"}


def test_left_out_is_what_the_dataset_lacks() -> None:
    counted = tables()
    reasons = dict(counted.left_out.iter_rows())
    trained = counted.dataset.filter(pl.col("chosen").is_not_null())
    assert not set(trained["question_id"]) & reasons.keys()
    unused = counted.preferences.join(trained, on="question_id", how="anti")
    assert set(unused["question_id"]) <= reasons.keys()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("refused", "refused"),
        ("unparsable: too long (2345 characters)", "unparsable: too long"),
        ("unparsable: repeats itself", "unparsable: repeats itself"),
        ("permanent_error: 400 <b>: what a server wrote", "permanent_error"),
        ("no caption: refused", "no caption: refused"),
    ],
)
def test_reasons_without_what_differs(reason: str, kind: str) -> None:
    assert reason_kind(reason) == kind


def test_card_shows_the_funnel(statistics: Mapping[str, Any]) -> None:
    card = data_card(statistics, TAXONOMY, FACTS)
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in card.splitlines() if "|" in line]
    rows = {row[0].split(": ")[-1]: row[1:] for row in cells if len(row) == 5}
    for step in statistics["funnel"]:
        entered, kept, lost = step["entered"], step["kept"], step["entered"] - step["kept"]
        shown = rows[step["step"].split(": ")[1]]
        assert shown[:3] == [f"{entered:,}", f"{kept:,}", f"{lost:,}"]
        assert all(str(count) in shown[3] for count in step["lost"].values())


def test_card_is_valid_markdown_without_markup_of_others(statistics: Mapping[str, Any]) -> None:
    page = MarkdownIt("commonmark").enable("table").render(data_card(statistics, TAXONOMY, FACTS))
    assert "<td>model [0]</td>" in page
    assert "<td>model *1*</td>" in page
    assert "<li>Safety labels: org/a_judge, which does not see the image.</li>" in page.replace("\u2060", "")
    assert page.count("<table>") == 5
    assert page.count("<h2>") == 6
    assert "| " not in page, "every table is one"


@pytest.mark.parametrize(
    ("changes", "said", "not_said"),
    [
        ({}, "3 answering models, all of them simulated respondents", "photo-like"),
        ({"simulated": {"m0"}}, "3 answering models, 1 of them simulated respondents", "all of them"),
        ({"simulated": set()}, "3 answering models.", "simulated"),
        ({}, "source `pictograms`: cards drawn by a program, no photographs.", "folder"),
        ({"image_source": "folder"}, "source `folder`.", "drawn"),
        (
            {"criteria": ("harmlessness", "helpfulness")},
            "`roles.annotator_harmlessness`, `roles.annotator_help",
            "joint",
        ),
        ({"near_duplicate_distance": 4}, "differ in at most 4 bits", "No image, and no near duplicate"),
    ],
)
def test_card_says_what_it_is_given(
    statistics: Mapping[str, Any], changes: Mapping[str, Any], said: str, not_said: str
) -> None:
    facts = {name: getattr(FACTS, name) for name in CardFacts.__slots__} | dict(changes)
    card = " ".join(data_card(statistics, TAXONOMY, CardFacts(**facts)).split())
    assert said in card
    assert not_said not in card


def test_card_names_the_copies_that_are_found_and_those_that_are_not() -> None:
    draw = random.Random(4)
    found = dict.fromkeys(("resized", "mirrored", "cut", "framed"), 0)
    for _ in range(10):
        picture = Image.new("RGB", (320, 240), tuple(draw.choices(range(256), k=3)))
        pen = ImageDraw.Draw(picture)
        for _ in range(30):
            x, y, r = draw.randrange(320), draw.randrange(240), draw.randrange(6, 60)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(draw.choices(range(256), k=3)))
        copies = {
            "resized": picture.resize((160, 120)),
            "mirrored": ImageOps.mirror(picture),
            "cut": picture.crop((16, 12, 304, 228)),
            "framed": ImageOps.expand(picture, 10, "black"),
        }
        for name, copy in copies.items():
            found[name] += len(set(near_duplicate_groups([perceptual_hash(picture), perceptual_hash(copy)], 2))) == 1
    assert found.pop("resized") >= 9
    assert max(found.values()) <= 3
    card = " ".join(data_card(dataset_statistics(tables()), TAXONOMY, FACTS).split())
    assert (
        "This finds copies that were encoded anew or resized; copies that were cut, framed or mirrored may not" in card
    )


def test_a_dataset_of_nothing_has_a_card() -> None:
    full = tables()
    empty = CardTables(
        **{name: getattr(full, name).clear() for name in CardTables.__slots__ if name != "converted_images"}
    )
    counted = dataset_statistics(empty)
    assert flat_metrics(counted) == {"images": 0, "questions": 0, "pairs": 0}
    card = data_card(counted, TAXONOMY, FACTS)
    assert "| train | 0 | 0 |" in card
    assert "nan" not in card
