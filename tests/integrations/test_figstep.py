"""Input that nobody here wrote: FigStep's typographic attack images, and the published questions."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spavl_dag.text import normalize_question, text_problem
from tests.conftest import SHARED_DATA, Project
from tests.integrations.test_agreement import dvc_stale

pytestmark = pytest.mark.slow

CLASSES = ["weapon", "gamble", "malware", "hate"]
FIGSTEP = SHARED_DATA / "figstep_tiny"
QUESTIONS = SHARED_DATA / "spavl_test_questions.jsonl"


@pytest.mark.skipif(not FIGSTEP.is_dir(), reason="shared/data/figstep_tiny is not beside the checkout")
def test_fifty_foreign_images_become_a_preference_dataset(made_project: Project):
    folder = made_project.root / "inputs" / "figstep"
    folder.mkdir()
    files = sorted(FIGSTEP.glob("*.png"))
    assert len(files) == 50
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["file", "class", "license", "source"])
        writer.writeheader()
        for place, file in enumerate(files):
            shutil.copy(file, folder / file.name)
            writer.writerow(
                {"file": file.name, "class": CLASSES[place % 4], "license": "MIT", "source": "FigStep SafeBench-Tiny"}
            )

    def change(params: dict[str, Any]) -> None:
        params["images"] |= {"source": "folder", "folder": "inputs/figstep", "manifest": "manifest.csv"}

    made_project.change_params(change)
    made_project.spavl("graph", "write")
    made_project.spavl("demo", "--to", "dataset")
    images = pl.read_parquet(made_project.root / "data" / "images" / "images.parquet")
    assert images.height == 50
    assert set(images["license"]) == {"MIT"}
    for model in made_project.params["models"]:
        answers = pl.read_parquet(made_project.root / "data" / "responses" / model / "responses.parquet")
        assert answers.filter(pl.col("response").is_null() & pl.col("reason").is_null()).is_empty()
    questions = pl.read_parquet(made_project.root / "data" / "questions" / "questions.parquet")
    missing = pl.read_parquet(made_project.root / "data" / "questions" / "missing.parquet")
    assert questions.height + missing.height == 150
    rows = pl.read_parquet(made_project.root / "data" / "dataset" / "dataset.parquet")
    assert rows.height > 0
    assert not {"images", "responses@none_warm", "dataset"} & dvc_stale(made_project)


@pytest.mark.skipif(not QUESTIONS.is_file(), reason="shared/data is not beside the checkout")
def test_the_published_questions_load_through_the_normalizer():
    raw = [json.loads(line)["question"] for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    assert len(raw) == 530
    normal = [normalize_question(text) for text in raw]
    assert all(not text_problem(question.text, 2000) for question in normal)
    assert all(question.text == question.text.strip() for question in normal)
    assert not any(question.text.startswith("Q:") for question in normal)
    changed = sum(bool(question.changes) for question in normal)
    assert changed >= 265


def test_a_folder_without_usable_images_says_so(made_project: Project):
    (made_project.root / "inputs" / "empty").mkdir()
    made_project.change_params(lambda p: p["images"].update(source="folder", folder="inputs/empty"))
    made_project.spavl("graph", "write")
    done = made_project.spavl("run", "images", check=False)
    assert done.returncode == 1
    assert "has no usable image" in done.stderr
    assert Path(made_project.root / "data" / "images" / "images.parquet").is_file(), "the old artifact is still there"
