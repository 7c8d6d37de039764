"""`load_dataset("data/dataset")` gives the rows that lie there, whatever was loaded from such a folder before."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from PIL import Image

from spavl_dag.integrations.huggingface.export import write_card, write_dataset_files
from spavl_dag.integrations.huggingface.front_matter import front_matter
from spavl_dag.schemas import DatasetRows, frame
from tests.inference.engines.tiny_llava import file_ref

COLOURS = {"train": "red", "validation": "green", "harm_eval": "blue", "help_eval": "white"}


def make(project: Path, splits: Sequence[str], colour: str | None = None) -> Path:
    """A dataset of one row per named split, as the asset leaves it."""
    rows = []
    files = project / "data" / "images" / "files"
    files.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(splits):
        picture = io.BytesIO()
        Image.new("RGB", (8, 8), colour or COLOURS[split]).save(picture, format="PNG")
        (files / f"{number}.png").write_bytes(picture.getvalue())
        answered = split in ("train", "validation")
        rows.append(
            {
                **{"row_id": f"r{number}", "split": split, "image_id": f"{number:016x}", "image_name": f"{number}.png"},
                **{"near_duplicate_group": number, "question_id": f"q{number}", "question_type": "easy_question"},
                **{"question": "why ?", "class_id": "weapon", "class1": "a", "class2": "b", "class3": "c"},
                **({"chosen": "no .", "rejected": f"{project.name} {number}"} if answered else {}),
            }
        )
    folder = project / "data" / "dataset"
    folder.mkdir(exist_ok=True)
    refs = {row["image_id"]: file_ref(files / row["image_name"]) for row in rows}
    write_dataset_files(frame(DatasetRows, rows), refs, folder)
    write_card("# A card\n", folder)
    return folder


def test_a_dataset_made_anew_is_what_is_loaded(tmp_path: Path) -> None:
    from datasets import load_dataset

    def loaded(folder: Path) -> list[str]:
        rows = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), split="train")
        return [f"{row['rejected']} {row['image'].getpixel((0, 0))}" for row in rows]

    one, two = tmp_path / "one", tmp_path / "two"
    assert loaded(make(one, ["train", "train"])) == ["one 0 (255, 0, 0)", "one 1 (255, 0, 0)"]
    assert loaded(make(two, ["train"])) == ["two 0 (255, 0, 0)"], "of another project, in a folder of the same name"
    assert len(loaded(make(two, ["train", "train", "train"]))) == 3, "made anew in its place"
    assert loaded(make(two, ["train"], "black")) == ["two 0 (0, 0, 0)"], "another picture, the same rows"


def test_other_splits_are_new_too(tmp_path: Path) -> None:
    from datasets import load_dataset

    cache = str(tmp_path / "cache")
    folder = make(tmp_path, ["train", "harm_eval"])
    assert load_dataset(str(folder), "harm", cache_dir=cache)["test"].num_rows == 1
    folder = make(tmp_path, ["train", "harm_eval", "harm_eval", "help_eval"])
    assert load_dataset(str(folder), "harm", cache_dir=cache)["test"].num_rows == 2
    assert load_dataset(str(folder), "help", cache_dir=cache)["test"].num_rows == 1


def test_front_matter_names_what_is_there_and_changes_with_it_alone(tmp_path: Path) -> None:
    folder = make(tmp_path, ["train", "help_eval"])
    first = front_matter(folder)
    _, text, rest = first.split("---\n", 2)
    assert rest == "\n"
    configs = yaml.safe_load(text)["configs"]
    assert [(config["config_name"], config["data_files"]) for config in configs] == [
        ("default", [{"split": "train", "path": "hf/train.parquet"}]),
        ("help", [{"split": "test", "path": "hf/help.parquet"}]),
    ]
    assert (folder / "README.md").read_text() == first + "# A card\n"
    (folder / "README.md").write_text("another")
    assert front_matter(folder) == first
    assert front_matter(make(tmp_path, ["train", "help_eval"])) == first, "the same content, the same card"
    assert front_matter(make(tmp_path, ["train", "help_eval"], "black")) != first


@pytest.mark.parametrize("splits", [["train"], ["harm_eval"]])
def test_every_file_is_in_a_configuration(tmp_path: Path, splits: list[str]) -> None:
    folder = make(tmp_path, splits)
    named = {
        entry["path"]
        for config in yaml.safe_load(front_matter(folder).split("---\n")[1])["configs"]
        for entry in config["data_files"]
    }
    assert named == {path.relative_to(folder).as_posix() for path in (folder / "hf").iterdir()}
