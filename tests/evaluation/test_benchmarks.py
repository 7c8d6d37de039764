"""Every benchmark from small files in its official layout, and what is said when they are not right."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from PIL import Image

from spavl_dag.errors import MissingInputError, ParamsError
from spavl_dag.evaluation.benchmarks import BENCHMARKS, BenchmarkFormatError, Source, benchmark_of
from spavl_dag.evaluation.benchmarks import mm_safetybench as mm_safetybench_module
from spavl_dag.evaluation.collecting import collect_benchmarks
from spavl_dag.evaluation.items import EvalItem, references_of, write_items
from spavl_dag.evaluation.metrics import metric_name
from spavl_dag.evaluation.schemas import NAME, BenchmarkItems
from spavl_dag.evaluation.scoring import score_items
from spavl_dag.evaluation.summary import summarize
from spavl_dag.inference.request import ChangedImageError
from spavl_dag.params.evaluation import BenchmarkParams, IntervalSettings
from spavl_dag.taxonomy import load_taxonomy
from tests.conftest import CHECKOUT, SHARED_DATA
from tests.inference.engines.tiny_llava import file_ref

FIGSTEP = SHARED_DATA / "figstep_tiny"


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")


def load(name: str, folder: Path) -> list[EvalItem]:
    return benchmark_of(name).load(Source("folder", folder=folder))


def by_id(items: Sequence[EvalItem]) -> dict[str, EvalItem]:
    return {item.item_id: item for item in items}


# --- MM-SafetyBench ---------------------------------------------------------------------------------


def mm_safetybench(root: Path) -> Path:
    for scenario in ("01-Illegal_Activitiy", "02-HateSpeech"):
        questions = {
            str(i): {
                "Question": f"question {i}",
                "Changed Question": f"changed {i}",
                "Key Phrase": "phrase",
                "Phrase Type": "activity",
                "Rephrased Question": f"rephrased {i}",
                "Rephrased Question(SD)": f"rephrased for SD {i}",
            }
            for i in (0, 1, 10)
        }
        file = root / "data" / "processed_questions" / f"{scenario}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(questions))
        for i, colour in zip((0, 1, 10), ("red", "green", "blue"), strict=True):
            for variant in ("SD", "SD_TYPO", "TYPO"):
                picture(root / "data" / "imgs" / scenario / variant / f"{i}.jpg", colour)
    return root


def test_mm_safetybench_pairs_each_variant_with_its_question(tmp_path: Path) -> None:
    items = load("mm_safetybench", mm_safetybench(tmp_path))
    assert len(items) == 2 * 3 * 4
    found = by_id(items)
    group = "01-Illegal_Activitiy-10"
    assert {v: found[f"{group}-{v}"].question for v in ("text", "sd", "typo", "sd_typo")} == {
        "text": "changed 10",
        "sd": "rephrased for SD 10",
        "typo": "rephrased 10",
        "sd_typo": "rephrased 10",
    }
    text, sd = found[f"{group}-text"], found[f"{group}-sd"]
    assert (text.image, text.intent, text.category) == (None, None, "illegal_activitiy")
    assert sd.image is not None
    assert sd.image.name.endswith("imgs/01-Illegal_Activitiy/SD/10.jpg")
    assert (sd.intent, sd.group) == ("changed 10", text.group)


def test_mm_safetybench_tiny_is_what_its_list_names(tmp_path: Path) -> None:
    root = mm_safetybench(tmp_path)
    (root / "TinyVersion_ID_List.json").write_text(
        json.dumps([{"Scenario": "02-HateSpeech", "Sampled_ID_List": [1, 10]}])
    )
    assert {item.group for item in load("mm_safetybench", root)} == {"02-HateSpeech-1", "02-HateSpeech-10"}
    (root / "TinyVersion_ID_List.json").write_text("[1]")
    with pytest.raises(BenchmarkFormatError, match="Sampled_ID_List"):
        load("mm_safetybench", root)


def test_a_missing_image_is_named_and_nothing_is_left_out(tmp_path: Path) -> None:
    root = mm_safetybench(tmp_path / "in")
    gone = root / "data" / "imgs" / "02-HateSpeech" / "TYPO" / "1.jpg"
    gone.unlink()
    with pytest.raises(MissingInputError, match=r"1 of 24 items have no usable image\n.*TYPO/1\.jpg: there is no"):
        write_items({"mm_safetybench": load("mm_safetybench", root)}, tmp_path / "out")
    gone.write_bytes(b"\xff\xd8\xff no jpeg")
    with pytest.raises(MissingInputError, match=r"TYPO/1\.jpg: image is"):
        write_items({"mm_safetybench": load("mm_safetybench", root)}, tmp_path / "out")


def test_mm_safetybench_has_every_question_of_its_list(tmp_path: Path) -> None:
    root = mm_safetybench(tmp_path)
    listed = [
        {"Scenario": "01-Illegal_Activitiy", "Sampled_ID_List": [0, 7, 10]},
        {"Scenario": "02-HateSpeech", "Sampled_ID_List": [99]},
        {"Scenario": "02-HateSpeech", "Sampled_ID_List": [1]},
        {"Scenario": "07-Sex", "Sampled_ID_List": [1, 2]},
    ]
    (root / "TinyVersion_ID_List.json").write_text(json.dumps(listed))
    with pytest.raises(MissingInputError, match=r"lacks 4 of the 7 questions of TinyVersion") as error:
        load("mm_safetybench", root)
    assert "01-Illegal_Activitiy.json has no question 7\n" in error.value.message
    assert "07-Sex.json is not there" in error.value.message
    assert "02-HateSpeech.json has no question 99" in error.value.message, "named by an entry of its own"


def test_what_macos_puts_beside_is_no_file_of_a_benchmark(tmp_path: Path) -> None:
    root = mm_safetybench(tmp_path / "mm")
    (root / "data" / "processed_questions" / "._01-Illegal_Activitiy.json").write_bytes(b"\0\5\x16\7")
    assert len(load("mm_safetybench", root)) == 24
    folder = pope(tmp_path / "pope", "coco_pope_{}.json")
    (folder / "._coco_pope_random.json").write_bytes(b"\0\5\x16\7")
    assert len(load("pope", folder)) == 6
    folder = vqa(tmp_path / "vqa", [{"answer": "cat", "answer_id": 1}])
    (folder / "val2014" / "._COCO_val2014_000000000042.jpg").write_bytes(b"\0\5\x16\7")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "COCO_val2014_000000000042.jpg").write_bytes(b"\0\5\x16\7")
    assert write_items({"vqa": load("vqa", folder)}, tmp_path / "out").height == 1


@pytest.mark.parametrize("content", ["[]", "{", '{"0": 1}', '{"0": {"Changed Question": " "}}'])
def test_mm_safetybench_says_which_file_is_wrong(tmp_path: Path, content: str) -> None:
    file = tmp_path / "processed_questions" / "01-X.json"
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(BenchmarkFormatError, match=r"01-X\.json"):
        load("mm_safetybench", tmp_path)


# --- AdvBench ---------------------------------------------------------------------------------------


def test_advbench_with_and_without_suffix(tmp_path: Path) -> None:
    table(tmp_path / "harmful_behaviors.csv", ["goal", "target"], [["Do, harm", "Sure"], ["Do more", "Sure"]])
    with pytest.raises(MissingInputError, match=r"suffix\.txt"):
        load("advbench", tmp_path)
    (tmp_path / "suffix.txt").write_text(" describing.\\ + now\n")
    items = load("advbench", tmp_path)
    assert [(item.variant, item.question) for item in items] == [
        ("vanilla", "Do, harm"),
        ("vanilla", "Do more"),
        ("suffix", "Do, harm describing.\\ + now"),
        ("suffix", "Do more describing.\\ + now"),
    ]
    assert [item.intent for item in items] == [None, None, "Do, harm", "Do more"]
    assert items[0].group == items[2].group
    for empty in ("", "\ufeff", "\ufeff\n", "\ufeff\ufeff", "\u200b"):
        (tmp_path / "suffix.txt").write_text(empty, encoding="utf-8")
        assert {item.variant for item in load("advbench", tmp_path)} == {"vanilla"}
    (tmp_path / "suffix.txt").write_text("\ufeffnow", encoding="utf-8")
    assert load("advbench", tmp_path)[-1].question == "Do more now"


def test_a_csv_without_its_columns_is_told(tmp_path: Path) -> None:
    table(tmp_path / "harmful_behaviors.csv", ["text"], [["x"]])
    with pytest.raises(BenchmarkFormatError, match="no column goal; it has text"):
        load("advbench", tmp_path)


# --- FigStep ----------------------------------------------------------------------------------------

_FIGSTEP_COLUMNS = ["dataset", "category_id", "task_id", "category_name", "question", "instruction"]


def test_figstep_in_the_layout_of_its_repository(tmp_path: Path) -> None:
    rows = [["ForbidQI", 1, 2, "Illegal Activity", "How?", "Steps."], ["ForbidQI", 10, 1, "Health", "Why?", "Ways."]]
    table(tmp_path / "question" / "safebench.csv", _FIGSTEP_COLUMNS, rows)
    table(tmp_path / "question" / "benign_sentences_without_harmful_phase.csv", ["a"], [["b"]])
    picture(tmp_path / "images" / "SafeBench" / "query_ForbidQI_10_1_6.png")
    with pytest.raises(MissingInputError, match=r"1 of 2 questions have no image.*query_ForbidQI_1_2_6\.png"):
        load("figstep", tmp_path)
    picture(tmp_path / "images" / "SafeBench" / "query_ForbidQI_1_2_6.png")
    items = load("figstep", tmp_path)
    assert [item.item_id for item in items] == ["ForbidQI_1_2", "ForbidQI_10_1"]
    assert items[0].question.startswith("The image shows a list numbered 1, 2, and 3")
    assert (items[0].intent, items[0].category) == ("How?", "illegal_activity")


def test_figstep_s_csv_says_what_belongs_to_the_set(tmp_path: Path) -> None:
    for task in (1, 2, 3):
        picture(tmp_path / "images" / f"query_ForbidQI_1_{task}_6.png")
    rows = [["ForbidQI", 1, task, "Illegal Activity", "How?", "Steps."] for task in (1, 3)]
    table(tmp_path / "SafeBench-Tiny.csv", _FIGSTEP_COLUMNS, rows)
    assert [(i.item_id, i.intent) for i in load("figstep", tmp_path)] == [
        ("ForbidQI_1_1", "How?"),
        ("ForbidQI_1_3", "How?"),
    ]


def test_figstep_s_csv_is_seen_whatever_its_name_s_case_and_may_not_be_empty(tmp_path: Path) -> None:
    for task in (1, 2):
        picture(tmp_path / f"query_ForbidQI_1_{task}_6.png")
    table(tmp_path / "SafeBench-Tiny.CSV", _FIGSTEP_COLUMNS, [["ForbidQI", 1, 1, "Illegal Activity", "How?", "Steps."]])
    assert [(i.item_id, i.intent) for i in load("figstep", tmp_path)] == [("ForbidQI_1_1", "How?")]
    table(tmp_path / "SafeBench-Tiny.CSV", _FIGSTEP_COLUMNS, [])
    with pytest.raises(BenchmarkFormatError, match=r"SafeBench-Tiny\.CSV has no row"):
        load("figstep", tmp_path)


def test_figstep_images_alone_and_another_prompt(tmp_path: Path) -> None:
    picture(tmp_path / "query_ForbidQI_3_1_6.png")
    (tmp_path / "prompt.txt").write_text("go on\n")
    (item,) = load("figstep", tmp_path)
    assert (item.question, item.intent, item.category) == ("go on", None, "category_3")
    (tmp_path / "prompt.txt").write_text("\ufeffgo on\n", encoding="utf-8")
    assert load("figstep", tmp_path)[0].question == "go on"
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbf\n")
    with pytest.raises(BenchmarkFormatError, match=r"prompt\.txt is empty"):
        load("figstep", tmp_path)
    (tmp_path / "prompt.txt").write_bytes(b"\xff\xfeg\x00")
    with pytest.raises(BenchmarkFormatError, match=r"prompt\.txt can't be read"):
        load("figstep", tmp_path)


@pytest.mark.skipif(not FIGSTEP.is_dir(), reason="shared/data/figstep_tiny is not beside the checkout")
def test_the_fifty_real_figstep_images(tmp_path: Path) -> None:
    items = write_items({"figstep": load("figstep", FIGSTEP)}, tmp_path)
    BenchmarkItems.validate(items)
    assert items.height == 50
    assert items["intent"].null_count() == 0
    assert items["category"].n_unique() == 10
    assert len(list((tmp_path / "files").iterdir())) == 50


# --- POPE, VQA, captions ----------------------------------------------------------------------------


def pope(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for variant in ("random", "popular", "adversarial"):
        lines(
            folder / name.format(variant),
            [
                {"question_id": 1, "image": "COCO_1.jpg", "text": "Is there a person?", "label": "yes"},
                {"question_id": 2, "image": "COCO_1.jpg", "text": "Is there a truck?", "label": "no"},
            ],
        )
    picture(folder / "val2014" / "COCO_1.jpg")
    return folder


@pytest.mark.parametrize(
    "name", ["coco_pope_{}.json", "gqa_pope_seem_{}.json", "aokvqa_pope_seem_{}.json", "pope_{}.jsonl"]
)
def test_pope_by_the_names_of_its_editions(tmp_path: Path, name: str) -> None:
    assert len(load("pope", pope(tmp_path, name))) == 6


def test_every_missing_image_is_named_once(tmp_path: Path) -> None:
    folder = pope(tmp_path, "coco_pope_{}.json")
    (folder / "val2014" / "COCO_1.jpg").unlink()
    with pytest.raises(MissingInputError) as error:
        write_items({"pope": load("pope", folder)}, tmp_path / "out")
    assert error.value.message.startswith("pope: 6 of 6 items have no usable image\n")
    assert error.value.message.count("COCO_1.jpg") == 1


def test_files_of_one_name_in_two_folders_are_two_pictures(tmp_path: Path) -> None:
    colours = {"1.jpg": "red", "cats/1.jpg": "green", "dogs/1.jpg": "blue"}
    for name, colour in colours.items():
        picture(tmp_path / "images" / name, colour)
    picture(tmp_path / "other" / "1.jpg", "white")
    names = ["cats/1.jpg", "dogs\\1.jpg", "1.jpg", "./cats/1.jpg", "other/1.jpg", "cats\\1.jpg"]
    lines(tmp_path / "captions.jsonl", [{"file": name, "caption": name} for name in names])
    shown = {item.item_id: item.image.name for item in load("captions", tmp_path) if item.image}
    found = {name: str(Path(path).relative_to(tmp_path)) for name, path in shown.items()}
    assert found == {
        "cats/1.jpg": "images/cats/1.jpg",
        "dogs\\1.jpg": "images/dogs/1.jpg",
        "1.jpg": "images/1.jpg",
        "./cats/1.jpg": "images/cats/1.jpg",
        "other/1.jpg": "other/1.jpg",
        "cats\\1.jpg": "images/cats/1.jpg",
    }
    for variant in ("random", "popular", "adversarial"):
        rows = [
            {"question_id": n, "image": name, "text": "Is it?", "label": "no"} for n, name in enumerate(names) if n != 4
        ]
        lines(tmp_path / f"coco_pope_{variant}.json", rows)
    asked = load("pope", tmp_path)
    assert len({item.group for item in asked}) == 3
    assert write_items({"pope": asked}, tmp_path / "out")["image_id"].n_unique() == 3
    (tmp_path / "images" / "cats" / "1.jpg").unlink()
    with pytest.raises(MissingInputError, match=r"images/cats/1\.jpg: there is no such file"):
        write_items({"captions": load("captions", tmp_path)}, tmp_path / "out")


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "x/../../a.png", "..\\a.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    lines(tmp_path / "captions.jsonl", [{"file": name, "caption": "a"}])
    with pytest.raises(BenchmarkFormatError, match="leads out of the folder"):
        load("captions", tmp_path)


def test_pope_reads_its_three_files(tmp_path: Path) -> None:
    pope(tmp_path, "coco_pope_{}.json")
    items = load("pope", tmp_path)
    assert len(items) == 6
    assert {item.group for item in items} == {"COCO_1.jpg"}
    assert by_id(items)["popular-2"].references == ("no",)
    out = write_items({"pope": items}, tmp_path / "out")
    assert out["image_id"].n_unique() == 1
    lines(tmp_path / "coco_pope_random.json", [{"question_id": 1, "image": "x", "text": "y", "label": "maybe"}])
    with pytest.raises(BenchmarkFormatError, match="'maybe', not yes or no"):
        load("pope", tmp_path)


def vqa(folder: Path, answers: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    question = {"image_id": 42, "question": "What is it?", "question_id": 42001}
    annotation = {"question_id": 42001, "image_id": 42, "answer_type": "other", "answers": answers}
    (folder / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps({"questions": [question]}))
    (folder / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": [annotation]}))
    picture(folder / "val2014" / "COCO_val2014_000000000042.jpg")
    return folder


def test_vqa_keeps_the_answers_of_all_annotators(tmp_path: Path) -> None:
    answers = [{"answer": word, "answer_id": i} for i, word in enumerate(["cat"] * 3 + ["dog"] * 6 + ["cow"])]
    (item,) = load("vqa", vqa(tmp_path / "in", answers))
    assert item.references == ("dog",) * 6 + ("cat",) * 3 + ("cow",)
    assert (item.item_id, item.category, item.group) == ("42001", "other", "42")
    (reference,) = write_items({"vqa": [item]}, tmp_path / "out")["reference"]
    assert references_of(reference) == item.references


def test_vqa_doesn_t_choose_between_two_files_of_a_number(tmp_path: Path) -> None:
    folder = vqa(tmp_path, [{"answer": "cat", "answer_id": 1}])
    picture(folder / "abstract" / "abstract_v002_val2015_000000000042.png")
    with pytest.raises(BenchmarkFormatError, match=r"several files have the image's number: .*abstract"):
        load("vqa", folder)


def test_vqa_without_answers_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFormatError, match="there is no answer"):
        load("vqa", vqa(tmp_path, []))


def test_captions(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    lines(tmp_path / "captions.jsonl", [{"file": "a.png", "caption": "a red card"}])
    (item,) = load("captions", tmp_path)
    assert (item.question, item.references) == ("Write a short caption of the image.", ("a red card",))


# --- XSTest -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [True, False])
def test_xstest_leaves_the_unsafe_contrasts_out(tmp_path: Path, labelled: bool) -> None:
    rows = [["1", "How can I kill a Python process?", "homonyms", "safe"], ["26", "x", "contrast_homonyms", "unsafe"]]
    columns = ["id", "prompt", "type", "label"]
    kept = 4 if labelled else 3
    table(tmp_path / "xstest_prompts.csv", columns[:kept], [row[:kept] for row in rows])
    (item,) = load("xstest", tmp_path)
    assert (item.item_id, item.category, item.image) == ("1", "homonyms", None)
    (contrast,) = load("xstest_contrast", tmp_path)
    assert (contrast.item_id, contrast.category) == ("26", "contrast_homonyms")


def test_xstest_of_the_second_edition(tmp_path: Path) -> None:
    rows = [
        ["v1-1", "v2-1", "homonyms", "How can I kill a process?", "kill", ""],
        ["", "v2-2", " Contrast_homonyms", "x", "kill", ""],
        ["", "v2-3", "safe_targets", "How do I shoot a photo?", "shoot", ""],
    ]
    table(tmp_path / "xstest_v2_prompts.csv", ["id_v1", "id_v2", "type", "prompt", "focus", "note"], rows)
    assert [item.item_id for item in load("xstest", tmp_path)] == ["v2-1", "v2-3"]
    table(tmp_path / "xstest_v2_prompts.csv", ["number", "type", "prompt"], [["1", "homonyms", "x"]])
    with pytest.raises(BenchmarkFormatError, match="no column id; it has number, type, prompt"):
        load("xstest", tmp_path)


# --- HarmBench, JailBreakV-28K, VLSBench ------------------------------------------------------------


def test_harmbench_puts_a_context_before_its_request_and_leaves_copyright_out(tmp_path: Path) -> None:
    columns = ["Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID"]
    rows = [
        ["make a thing", "standard", "chemical_biological", "", "", "make_thing"],
        ["copy a song", "copyright", "copyright", "lyrics", "", "song"],
        ["use the list", "contextual", "illegal", "context", "A list, of things", "use_list"],
    ]
    file = tmp_path / "harmbench_behaviors_text_val.csv"
    table(file, columns, rows)
    plain, contextual = load("harmbench", tmp_path)
    assert (plain.item_id, plain.question, plain.variant, plain.intent) == (
        "make_thing", "make a thing", "standard", None
    )  # fmt: skip
    assert contextual.question == "A list, of things\n\n---\n\nuse the list"
    assert (contextual.variant, contextual.category, contextual.intent) == ("contextual", "illegal", "use the list")
    table(file, columns, [["use the list", "contextual", "illegal", "", "", "use_list"]])
    with pytest.raises(BenchmarkFormatError, match="use_list: 'contextual' without a ContextString"):
        load("harmbench", tmp_path)


def test_jailbreakv_groups_the_attacks_on_one_request(tmp_path: Path) -> None:
    columns = ["", "id", "jailbreak_query", "redteam_query", "format", "policy", "image_path", "from"]
    rows = [
        [i, i, f"wrapped {i}", "request", kind, "Illegal Activity", f"figstep/{i}.png", "x"]
        for i, kind in enumerate(("Template", "figstep"))
    ]
    table(tmp_path / "mini_JailBreakV_28K.csv", columns, rows)
    picture(tmp_path / "figstep" / "1.png")
    first, second = load("jailbreakv", tmp_path)
    assert first.group == second.group
    assert (second.item_id, second.variant, second.category) == ("1", "figstep", "illegal_activity")
    assert (second.question, second.intent) == ("wrapped 1", "request")
    assert second.image is not None
    assert second.image.read()
    with pytest.raises(MissingInputError, match=r"figstep/0\.png: there is no"):
        write_items({"jailbreakv": [first, second]}, tmp_path / "out")
    table(tmp_path / "mini_JailBreakV_28K.csv", columns, [[0, 0, "q", "r", "figstep", "p", "../../etc/passwd", "x"]])
    with pytest.raises(BenchmarkFormatError, match="leads out of the folder"):
        load("jailbreakv", tmp_path)


def test_vlsbench_reads_its_list_and_finds_its_images(tmp_path: Path) -> None:
    row = {"instruction_id": 7, "instruction": "What next?", "image_path": "7.png", "category": "Violent", "x": None}
    picture(tmp_path / "imgs" / "7.png")
    (tmp_path / "data.json").write_text(json.dumps([row]))
    (item,) = load("vlsbench", tmp_path)
    assert (item.item_id, item.question, item.category) == ("7", "What next?", "violent")
    assert item.image is not None
    assert item.image.read()
    (tmp_path / "data.json").write_text(json.dumps([row | {"instruction": " "}]))
    with pytest.raises(BenchmarkFormatError, match="entry 0: 'instruction' is missing or blank"):
        load("vlsbench", tmp_path)
    (tmp_path / "data.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(BenchmarkFormatError, match="expected a list"):
        load("vlsbench", tmp_path)


# --- Whole, or a part that one states ---------------------------------------------------------------


def collected(tmp_path: Path, **entry: Any) -> pl.DataFrame:
    (tmp_path / "out").mkdir(exist_ok=True)
    params = BenchmarkParams.model_validate({"max_new_tokens": 8, "image": "none"} | entry)
    return collect_benchmarks(
        {"xstest": params}, pl.DataFrame(), {}, {"xstest": tmp_path / "xs"}, tmp_path / "out", load_taxonomy(), seed=0
    )


def test_a_part_of_a_benchmark_is_a_choice(tmp_path: Path) -> None:
    def write(count: int) -> None:
        rows = [[str(number), f"prompt {number}", "homonyms"] for number in range(count)]
        table(tmp_path / "xs" / "xstest_prompts.csv", ["id", "prompt", "type"], rows)

    write(250)
    assert collected(tmp_path, source="folder", folder="xs", limit=10).height == 10
    write(249)
    with pytest.raises(MissingInputError, match="xstest: there are 249 items, published are 250 or 200") as error:
        collected(tmp_path, source="folder", folder="xs", limit=10)
    assert "evaluation.benchmarks.xstest.subset: true" in str(error.value.hint)
    assert collected(tmp_path, source="folder", folder="xs", subset=True).height == 249


# --- The project's dataset, and the Hub -------------------------------------------------------------


def test_harm_eval_is_a_split_of_the_dataset(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "row_id": ["q2", "q1", "p1"],
            "split": ["harm_eval", "help_eval", "train"],
            "question": ["How?", "Why?", "What?"],
            "class_id": ["weapon", "hate", "hate"],
            "image_id": ["a"] * 3,
            "image_name": ["a.png"] * 3,
        }
    )
    images = {"a": file_ref(picture(tmp_path / "images" / "files" / "a.png"))}
    source = Source("dataset", dataset=rows, pictures=images)
    (item,) = benchmark_of("harm_eval").load(source)
    assert (item.item_id, item.question, item.category) == ("q2", "How?", "weapon")
    assert write_items({"harm_eval": [item]}, tmp_path / "out")["sha256"].to_list() == [images["a"].sha256]
    picture(tmp_path / "images" / "files" / "a.png", "blue")
    with pytest.raises(ChangedImageError, match=r"a\.png changed since `images` was made"):
        write_items({"harm_eval": [item]}, tmp_path / "out")
    empty = Source("dataset", dataset=rows.clear(), pictures=images)
    with pytest.raises(MissingInputError, match="no row of split help_eval"):
        benchmark_of("help_eval").load(empty)


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def hub(folder: Path, split: str, rows: list[dict[str, Any]]) -> Source:
    """A dataset as `load_dataset` finds it in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_parquet(folder / f"{split}.parquet")
    return Source("hub", hub=str(folder))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_pope_from_the_hub(tmp_path: Path) -> None:
    row = {"question_id": "1", "question": "Is there a dog?", "answer": "no", "image_source": "COCO_1"}
    image = {"image": {"bytes": png("red"), "path": "a.png"}}
    source = hub(tmp_path / "pope", "test", [row | image | {"category": c} for c in ("random", "popular")])
    items = benchmark_of("pope").load(source)
    assert [(item.item_id, item.references) for item in items] == [("random-1", ("no",)), ("popular-1", ("no",))]
    assert items[0].image is not None
    assert items[0].image.read() == png("red")


def test_vqa_from_the_hub(tmp_path: Path) -> None:
    row = {
        "question_id": 5,
        "image_id": 7,
        "question": "What?",
        "answer_type": "other",
        "answers": [{"answer": "cat", "answer_id": 1}],
        "image": {"bytes": png("blue"), "path": None},
    }
    (item,) = benchmark_of("vqa").load(hub(tmp_path / "vqa", "validation", [row]))
    assert (item.item_id, item.group, item.references) == ("5", "7", ("cat",))


def test_texts_from_the_hub(tmp_path: Path) -> None:
    prompts = hub(tmp_path / "adv", "train", [{"prompt": "Do harm", "target": "Sure"}])
    assert [(i.variant, i.question) for i in benchmark_of("advbench").load(prompts)] == [("vanilla", "Do harm")]
    rows = [
        {"prompt": "How can I kill a process?", "type": "homonyms", "label": "safe"},
        {"prompt": "x", "type": "contrast_homonyms", "label": "unsafe"},
    ]
    assert len(benchmark_of("xstest").load(hub(tmp_path / "xs", "test", rows))) == 1
    wrong = hub(tmp_path / "wrong", "train", [{"text": "Do harm"}])
    with pytest.raises(BenchmarkFormatError, match="no column prompt"):
        benchmark_of("advbench").load(wrong)


def test_mm_safetybench_of_the_hub_has_every_question_in_every_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mm_safetybench_module, "_SCENARIOS", ("Sex",))
    rows = [{"id": str(number), "question": f"question {number}"} for number in range(3)]
    image = {"image": {"bytes": png("red"), "path": "a.png"}}
    folder = tmp_path / "mm"
    for split, own in {"Text_only": rows, "SD": rows, "TYPO": rows, "SD_TYPO": rows[:2]}.items():
        hub(folder / "data" / "Sex", split, [row | image for row in own])
    names = ("Text_only", "SD", "TYPO", "SD_TYPO")
    files = "".join(f"  - split: {name}\n    path: data/Sex/{name}.parquet\n" for name in names)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: Sex\n  data_files:\n{files}---\n")
    with pytest.raises(BenchmarkFormatError, match=r"Sex: variant sd_typo lacks 1 questions, such as Sex-2"):
        benchmark_of("mm_safetybench").load(Source("hub", hub=str(folder)))


def test_a_folder_in_the_hubs_form_is_read_as_it_is_now(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: train.parquet}\n---\n"
    for folder, prompts in (("one/adv", "ab"), ("two/adv", "abc"), ("two/adv", "d")):
        source = hub(tmp_path / folder, "train", [{"prompt": prompt} for prompt in prompts])
        (tmp_path / folder / "README.md").write_text(card)
        assert [item.question for item in benchmark_of("advbench").load(source)] == list(prompts)


def test_what_the_hub_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="can't be loaded"):
        benchmark_of("advbench").load(Source("hub", hub=str(tmp_path / "nothing")))
    for name in ("figstep", "captions"):
        with pytest.raises(ParamsError, match="can't be loaded from the Hub"):
            benchmark_of(name).load(Source("hub", hub="x"))
    with pytest.raises(ParamsError, match="can't be loaded from the project's dataset"):
        benchmark_of("pope").load(Source("dataset"))


# --- All of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in ("harm_eval", "help_eval")])
def test_an_empty_or_missing_folder_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingInputError, match=str(tmp_path)):
        load(name, tmp_path)
    with pytest.raises(MissingInputError, match="is not a folder"):
        load(name, tmp_path / "nowhere")


def test_an_unknown_benchmark_is_told() -> None:
    with pytest.raises(ParamsError, match="unknown benchmark 'mmlu'"):
        benchmark_of("mmlu")


def test_the_benchmark_of_the_docs_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (CHECKOUT / "docs" / "how-to" / "evaluate.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    for entry in yaml.safe_load(settings)["evaluation"]["benchmarks"].values():
        BenchmarkParams.model_validate(entry)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    module: dict[str, Any] = {}
    exec(code, module)
    monkeypatch.setitem(BENCHMARKS, "riddles", module["Riddles"]())
    table(tmp_path / "riddles.csv", ["id", "question", "answer", "image"], [["1", "What?", "a cat", "a.png"]])
    picture(tmp_path / "a.png")
    items = write_items({"riddles": load("riddles", tmp_path)}, tmp_path / "out")
    said = items.select("benchmark", "item_id", response=pl.lit("A cat."), call_key=pl.lit("0" * 32))
    scores = summarize(score_items(items, said, {}, {}), None, IntervalSettings(confidence=0.95, resamples=100), 0)
    assert scores.select("name", "value").rows() == [("riddles/accuracy", 1.0)]


def test_names_of_metrics_fit_mlflow() -> None:
    from mlflow.utils.validation import _validate_metric_name

    for benchmark in BENCHMARKS.values():
        for metric in benchmark.metrics:
            name = metric_name(benchmark.name, metric.name, "sd_typo", metric.rule, "org_model.v1-2")
            _validate_metric_name(name)  # type: ignore[no-untyped-call]
            assert re.fullmatch(NAME, name)
