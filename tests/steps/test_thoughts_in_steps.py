"""What reasoning models write goes through every step without its thoughts, and a question is judged by itself."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from spavl_dag.evaluation.responses import answer_items
from spavl_dag.steps.captions import caption_images
from spavl_dag.steps.keywords import keywords_from_model
from spavl_dag.steps.questions import ask_questions
from spavl_dag.steps.responses import answer_questions
from tests.evaluation.tables import items
from tests.steps.scripted import client
from tests.steps.test_hostile_outputs import IMAGE_IDS, REFS, TAXONOMY, check, good_questions, images

TAUGHT = "Is it sharp? I can't help with that, no: it is only a picture.\n</think>\n\n"
CUT = "<think>\nIs it sharp? I would say"


def thinks(said: str, cut_for: str = ""):
    """Says the same behind a thought, but comes to no end for one image."""

    def script(request) -> str:
        cut = request.image is not None and request.image.sha256.startswith(cut_for or "-")
        return CUT if cut else TAUGHT + said

    return script


def test_captions(tmp_path: Path):
    captioner, _ = client(tmp_path, "caption", thinks("A knife.", IMAGE_IDS[0]))
    describer, _ = client(tmp_path, "describe", thinks("A knife on a table."))
    captions = caption_images(images(), REFS, captioner, describer)
    assert captions["caption"].to_list() == [None] + ["A knife."] * (len(IMAGE_IDS) - 1)
    assert captions["caption_state"].to_list()[:2] == ["unparsable", "ok"]
    assert set(captions["description"]) == {"A knife on a table."}


def test_questions_and_what_was_wrong_with_the_missing_ones(tmp_path: Path):
    captioner, _ = client(tmp_path, "caption", thinks("A knife."))
    captions = caption_images(images(), REFS, captioner, captioner)
    behind = "Q: How is it used?\nA: I am sorry, I am not supposed to answer this."
    kinds = ("easy_question", "hard_question", "hard_statement")
    said = dict(zip(kinds, (behind, "Who would use it?", "I'm sorry, but I can't write that."), strict=True))
    asking = {
        kind: client(tmp_path, f"{kind} {{{{ class_name }}}}", thinks(said[kind], IMAGE_IDS[0]))[0] for kind in kinds
    }
    tables = ask_questions(images(), captions, REFS, TAXONOMY, asking, 800)
    check("questions", tables, {"images": images()})
    easy = tables["questions"].filter(pl.col("question_type") == "easy_question")
    assert set(easy["question"]) == {"How is it used?"}
    assert set(easy["changes"]) == {"thought, outer white space, leading marker, answer after the question"}
    reasons = dict(tables["missing"].select("question_type", "reason").unique().sort("reason").iter_rows())
    assert reasons["hard_statement"] == "refused"
    lost = tables["missing"].filter((pl.col("image_id") == IMAGE_IDS[0]) & (pl.col("question_type") == "easy_question"))
    assert lost["reason"].to_list() == ["unparsable: reasoning without an end"]


def test_answers_of_the_dataset_and_of_the_evaluation(tmp_path: Path):
    questions = good_questions()
    answering, _ = client(tmp_path, "{{ question }}", thinks("It cuts bread.", IMAGE_IDS[0]))
    table = answer_questions(questions, REFS, "m1", answering)
    check("responses", {"responses": table}, {"questions": questions})
    first = table.row(0, named=True)
    assert (first["response"], first["state"], first["reason"]) == (None, "unparsable", "reasoning without an end")
    assert set(table["response"].drop_nulls()) == {"It cuts bread."}
    asked = items("advbench", ["a"])
    assert answer_items(asked, {}, {"advbench": answering})["response"].to_list() == ["It cuts bread."]


def test_keywords(tmp_path: Path):
    asked, _ = client(tmp_path, "{{ class_name }}", thinks("knives, forks"))
    words = keywords_from_model(TAXONOMY, 2, asked)
    assert set(words["keyword"]) == {"knives", "forks"}
