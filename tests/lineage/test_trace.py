"""`spavl trace`: which ids it takes, what it finds, what it hides, and how it prints; through the command itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.cells import cell_len

from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.states import CallState
from tests.conftest import MODELS, Project

pytestmark = pytest.mark.slow

# Red, a window's title, a cleared screen, C1's CSI, backspaces, right to left, a NUL, half a surrogate pair, DEL.
HOSTILE = (
    "so \x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J \x9b31m \x08\x08 \r over \u202ertl \x00 \ud800 \x7f [bold]x[/]"
)


class Tables:
    """The tables of a made project."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> pl.DataFrame:
        return pl.read_parquet(self.root / f"{path}.parquet")

    @property
    def dataset(self) -> pl.DataFrame:
        return self.read("data/dataset/dataset")

    @property
    def pair(self) -> str:
        """A pair that became a training row."""
        return str(self.dataset.filter(split="train")["row_id"][0])

    @property
    def question(self) -> str:
        """Its question."""
        return str(self.read("data/pairs/pairs").filter(pair_id=self.pair)["question_id"][0])

    @property
    def image(self) -> str:
        """Its image."""
        return str(self.read("data/questions/questions").filter(question_id=self.question)["image_id"][0])


@pytest.fixture
def made(made_once: Path) -> Project:
    """The made project itself: tracing writes nothing."""
    return Project(made_once)


@pytest.fixture
def tables(made_once: Path) -> Tables:
    return Tables(made_once)


def found(project: Project, name: str, *options: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(project.spavl("trace", name, "--json", *options).stdout)
    return rows


def places(rows: list[dict[str, Any]]) -> list[str]:
    """Where the rows stand: artifact, partition, table."""
    return [f"{row['artifact']}@{row['partition']}.{row['table']}".replace("@None", "") for row in rows]


# ---- ids ---------------------------------------------------------------------------------------------------


def test_a_pair_leads_back_to_its_image(made: Project, tables: Tables):
    rows = found(made, tables.pair)
    both = tables.read("data/pairs/pairs").filter(pair_id=tables.pair).select("model_a", "model_b").row(0)
    models = [model for model in MODELS if model in both]
    assert places(rows) == [
        "dataset.dataset",
        "preferences.preferences",
        "preferences.verdicts",
        "preferences.verdicts",
        "pairs.pairs",
        *(f"safety_labels@{model}.safety_labels" for model in models),
        *(f"responses@{model}.responses" for model in models),
        "questions.questions",
        "captions.captions",
        "images.images",
    ]
    recorded = made.md5s()
    assert all(row["data_version"] in recorded.values() for row in rows)
    calls = [(row["table"], column) for row in rows for column in row["calls"]]
    assert calls == [
        *[("verdicts", "call_key")] * 2,
        *[("safety_labels", "call_key")] * 2,
        *[("responses", "call_key")] * 2,
        ("questions", "call_key"),
        ("captions", "caption_key"),
        ("captions", "description_key"),
    ]


def test_a_pair_without_a_preference_says_why(made: Project, tables: Tables):
    pair = tables.read("data/preferences/undecided")["pair_id"][0]
    assert places(found(made, pair))[0] == "preferences.verdicts"
    assert "preferences.undecided" in places(found(made, pair))


def test_an_image_and_a_question_are_what_they_are_and_not_the_pairs_that_begin_so(made: Project, tables: Tables):
    assert places(found(made, tables.image)) == ["captions.captions", "images.images"]
    rows = found(made, tables.question)
    assert {row["row"].get("model") for row in rows if row["artifact"] == "responses"} == set(MODELS)
    assert places(rows)[-3:] == ["questions.questions", "captions.captions", "images.images"]
    assert "pairs.pairs" not in places(rows)


def test_an_evaluation_row_is_traced_through_question_and_item(made: Project, tables: Tables):
    row_id = tables.read("data/benchmarks/benchmarks").filter(benchmark="harm_eval")["item_id"][0]
    shown = places(found(made, row_id))
    assert {"dataset.dataset", "questions.questions", "benchmarks.benchmarks", "images.images"} <= set(shown)
    assert {f"responses@{model}.responses" for model in MODELS} <= set(shown)
    assert {"eval_responses@base.eval_responses", "eval_scores@dpo.item_scores"} <= set(shown)


def test_an_item_of_a_benchmark_leads_to_every_checkpoints_answer(made: Project, tables: Tables):
    item = tables.read("data/benchmarks/benchmarks").filter(benchmark="advbench")["item_id"][0]
    rows = found(made, item)
    shown = places(rows)
    assert [place for place in shown if place.startswith("eval_responses")] == [
        f"eval_responses@{name}.eval_responses" for name in ("base", "dpo", "ppo")
    ]
    assert shown[-1] == "benchmarks.benchmarks"
    judged = [row for row in rows if row["table"] == "item_scores" and row["row"]["rule"] == "judge"]
    assert judged
    assert all("verdict_keys[0]" in row["calls"] and "response_key" in row["calls"] for row in judged)


def test_the_same_id_in_two_benchmarks_is_told_apart(made: Project):
    done = made.spavl("trace", "1", check=False)
    assert done.returncode == 1
    assert "'1' stands for 2 items" in done.stderr
    assert "vqa/1, xstest/1" in done.stderr
    assert {row["row"]["benchmark"] for row in found(made, "vqa/1") if "benchmark" in row["row"]} == {"vqa"}


def test_a_call_is_found_by_the_beginning_of_its_id(made: Project, tables: Tables):
    key = tables.read("data/captions/captions")["caption_key"][0]
    for name in (key, key[:14], key[:14].upper()):
        (call,) = found(made, name)
        assert call["calls"]["call_key"]["key"] == key
        assert call["row"]["role"] == "roles.captioner"
    assert f"key: {key}" in made.spavl("trace", key[:14]).stdout


def test_the_beginning_of_an_id_is_enough_where_it_is_that_of_one_thing(made: Project, tables: Tables):
    assert found(made, tables.image[:12]) == found(made, tables.image)  # its questions and pairs begin so too
    assert found(made, tables.question[:-1]) == found(made, tables.question)


def test_an_ambiguous_beginning_says_what_it_may_be(made: Project, tables: Tables):
    image = tables.image
    done = made.spavl("trace", f"{image}-hard", check=False)
    assert done.returncode == 1
    pairs = tables.read("data/pairs/pairs")["pair_id"].str.starts_with(f"{image}-hard").sum()
    assert f"'{image}-hard' stands for 2 questions, {pairs} pairs" in done.stderr
    assert f"such as: {image}-hard_question, {image}-hard_statement" in done.stderr
    everything = made.spavl("trace", "", check=False).stderr
    for count in ("20 images", "60 questions", f"{tables.dataset.height} rows", " items", " calls"):
        assert count in everything


@pytest.mark.parametrize("name", ["00" * 17, "\udcff", "\x1b[2J\n"])
def test_what_is_no_id_is_told(made: Project, name: str):
    done = made.spavl("trace", name, check=False)
    assert done.returncode == 1
    assert "nothing has the id '" in done.stderr
    assert "question_id" in done.stderr
    assert "Traceback" not in done.stderr
    assert all(char.isprintable() or char == "\n" for char in done.stderr)


# ---- redaction ---------------------------------------------------------------------------------------------


def texts_of(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What models wrote and were asked, of rows that were traced with their texts."""
    columns = ("question", "chosen", "rejected", "reason", "reason1", "raw", "response", "response_a", "caption")
    for row in rows:
        yield from (row["row"][column] for column in columns if row["row"].get(column))
        for call in row["calls"].values():
            yield from (call["text"], call["prompt"], call["profile"]["system"] or "")


def test_no_text_is_shown_unasked(made: Project, tables: Tables):
    shown = found(made, tables.pair, "--show-text")
    texts = {text for text in texts_of(shown) if text.count(" ") > 1}  # "safe" is in the column of labels as well
    verdicts = [row["row"]["reason"] for row in shown if row["table"] == "verdicts"]
    assert len(texts) > 10
    assert all(reason in texts for reason in verdicts)
    assert any(text.startswith("caution :") for text in texts)
    hidden = made.spavl("trace", tables.pair).stdout + made.spavl("trace", tables.pair, "--json").stdout
    assert [text for text in texts if text in hidden] == []
    assert "texts are hidden; --show-text shows them" in hidden
    (key,) = {row["calls"]["call_key"]["key"] for row in shown if row["artifact"] == "questions"}
    call = made.spavl("trace", key).stdout
    assert [text for text in texts if text in call] == []
    assert "text: hidden, " in call
    assert "prompt: hidden, " in call
    asked = next(row["calls"]["call_key"]["prompt"] for row in shown if row["artifact"] == "questions")
    made.env["COLUMNS"] = "5000"
    assert f"prompt: {asked}" in made.spavl("trace", key, "--show-text").stdout


def test_a_column_that_the_schema_does_not_know_is_hidden(made_project: Project):
    file = made_project.root / "data" / "captions" / "captions.parquet"
    captions = pl.read_parquet(file)
    captions.with_columns(older=pl.lit("words of a model")).write_parquet(file)
    row = found(made_project, captions["image_id"][0])[0]["row"]
    assert row["older"] == "hidden, 16 characters"


# ---- terminals ---------------------------------------------------------------------------------------------


def append(project: Project, number: int, **changes: Any) -> str:
    """Put a call into the ledger; returns its id."""
    values: dict[str, Any] = {
        **{"key": number.to_bytes(16, "big"), "state": CallState.OK, "text": "text", "finish_reason": "stop"},
        **{"prompt_tokens": 1, "completion_tokens": 1, "cost_usd": 0.0, "error": None, "artifact": "captions"},
        **{"partition": None, "role": "roles.captioner", "profile": "{}", "prompt": "prompt", "image_sha256": None},
        **{"sample_index": 0, "seed": 1},
    }
    with Ledger(project.root / ".spavl" / "ledger.db") as ledger:
        ledger.append([CallRow(**values | changes)])
    return number.to_bytes(16, "big").hex()


def plain(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


def test_a_terminal_obeys_nothing_that_was_written_by_a_model(made_project: Project):
    made_project.env |= {"PYTHONIOENCODING": "utf-8", "COLUMNS": "500"}
    profile = json.dumps({"model": HOSTILE, "system": HOSTILE, "odd": [{"deep": HOSTILE}]})
    whole = append(made_project, 1, text=HOSTILE, prompt=f"{HOSTILE}\nsecond", error=HOSTILE, profile=profile)
    broken = append(made_project, 2, profile=HOSTILE)
    escaped = r"so \x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J \x9b31m \x08\x08 \r over \u202ertl \x00 \ud800 \x7f"
    for key in (whole, broken):
        shown = made_project.spavl("trace", key, "--show-text").stdout
        assert plain(shown)
        assert escaped in shown
        for options in ([], ["--show-text"]):
            output = made_project.spavl("trace", key, "--json", *options).stdout
            assert plain(output)
            assert output.isascii()
            (row,) = json.loads(output)
            assert (row["calls"]["call_key"]["text"] in (HOSTILE, "text")) is bool(options)
    hidden = made_project.spavl("trace", whole).stdout
    assert plain(hidden)
    assert f"error: {escaped}" in hidden
    assert f"profile, model: {escaped}" in hidden
    assert hidden.count("so ") == 2


def test_rows_hold_hostile_texts_too(made_project: Project):
    root = made_project.root / "data"
    nasty = HOSTILE.replace("\ud800", "")
    for table, column in (("questions/questions", "question"), ("images/images", "license")):
        frame = pl.read_parquet(root / f"{table}.parquet")
        frame.with_columns(pl.lit(nasty).alias(column)).write_parquet(root / f"{table}.parquet")
    question = pl.read_parquet(root / "questions" / "questions.parquet")["question_id"][0]
    shown = made_project.spavl("trace", question, "--show-text").stdout
    assert plain(shown)
    assert r"question: so \x1b[31mred" in shown
    assert r"license: so \x1b[31mred" in shown
    assert plain(made_project.spavl("trace", question, "--json", "--show-text").stdout)


@pytest.mark.parametrize("options", [[], ["--show-text"]])
def test_a_pair_fits_a_terminal(made_project: Project, options: list[str]):
    root = made_project.root / "data"
    pair = Tables(made_project.root).pair
    wide = pl.read_parquet(root / "pairs" / "pairs.parquet")
    wide.with_columns(response_a=pl.lit("\u5371\u96aa\u306a " * 400)).write_parquet(root / "pairs" / "pairs.parquet")
    made_project.env["COLUMNS"] = "80"
    lines = made_project.spavl("trace", pair, *options).stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert len(lines) <= 50 + 15 * len(options)
    assert not [line for line in lines if line != line.rstrip()]
    keys = [row for row in lines if "call_key: " in row or "_key: " in row]
    assert len(keys) == 9  # a line per call
    assert all(", " in row and row.endswith(" tokens") for row in keys)
    assert ("... (1,600 characters)" in " ".join(line.strip() for line in lines)) is bool(options)


# ---- projects ----------------------------------------------------------------------------------------------


def contents(root: Path) -> dict[str, int]:
    return {
        str(file.relative_to(root)): file.stat().st_mtime_ns
        for folder, _, names in os.walk(root)
        if "__pycache__" not in folder
        for name in names
        if (file := Path(folder, name))
    }


def test_nothing_is_written_and_only_the_tables_are_needed(made_project: Project):
    image = Tables(made_project.root).image
    before = contents(made_project.root)
    rows = found(made_project, image)
    assert contents(made_project.root) == before
    for name in ("ledger.db", "hashes.json"):
        (made_project.root / ".spavl" / name).unlink()
    (made_project.root / "dvc.lock").unlink()
    before = contents(made_project.root)
    without = found(made_project, image)
    assert contents(made_project.root) == before
    assert [row["row"] for row in without] == [row["row"] for row in rows]
    assert all(row["calls"] == {} and row["data_version"] is None for row in without)
    shown = made_project.spavl("trace", image).stdout
    assert "not recorded" in shown
    assert f"caption_key: {rows[0]['row']['caption_key']}" in shown


def test_what_was_not_made_is_left_out(made_project: Project):
    pair = Tables(made_project.root).pair
    for name in ("pairs", "captions"):
        (made_project.root / "data" / name / f"{name}.parquet").unlink()
    shown = places(found(made_project, pair))  # the dataset has the pair's id as well, and what it refers to
    assert shown[0] == "dataset.dataset"
    assert shown[-2:] == ["questions.questions", "images.images"]


def test_a_damaged_table_is_told(made_project: Project):
    file = made_project.root / "data" / "questions" / "questions.parquet"
    file.write_bytes(file.read_bytes()[:300])
    done = made_project.spavl("trace", "abc", check=False)
    assert done.returncode == 1
    assert "a table can't be read: " in done.stderr
    assert "Traceback" not in done.stderr
    states = json.loads(made_project.spavl("status", "--json").stdout)["artifacts"]
    assert {"modified: data/questions"} <= {reason for state in states for reason in state["reasons"]}


def test_an_image_leads_on_to_all_that_was_made_of_it(made: Project) -> None:
    tables = Tables(made.root)
    image = tables.image
    file = made.root / "data/images" / tables.read("data/images/images").filter(image_id=image)["file"][0]
    found = json.loads(made.spavl("trace", "--uses", "--json", str(file)).stdout)
    assert found["image_id"] == image
    rows = {(use["artifact"], use["partition"], use["table"]): use for use in found["uses"]}
    questions = tables.read("data/questions/questions").filter(image_id=image)["question_id"].to_list()
    assert rows["questions", None, "questions"]["rows"] == len(questions)
    for model in MODELS:
        assert rows["responses", model, "responses"]["rows"] == len(questions)
        assert rows["safety_labels", model, "safety_labels"]["rows"] == len(questions)
    pairs = tables.read("data/pairs/pairs").filter(pl.col("question_id").is_in(questions))
    assert rows["pairs", None, "pairs"]["rows"] == pairs.height
    dataset = tables.dataset.filter(image_id=image)
    used = rows["dataset", None, "dataset"]
    assert used["rows"] == dataset.height
    assert used["splits"] == dict(dataset["split"].value_counts().iter_rows())
    trained = dataset.filter(split="train").height
    assert {use["checkpoint"]: (use["rows"], use["up_to_date"]) for use in found["trainings"]} == {
        key: (trained, True) for key in ("dpo", "ppo")
    }
    told = made.spavl("trace", "--uses", image[:10]).stdout
    assert "trained on by dpo" in told
    assert "stands for no image" in made.spavl("trace", "--uses", "nothing", check=False).stderr
