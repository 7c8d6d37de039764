"""Exports, each read by whom it is for."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from datasets import disable_progress_bars, load_dataset
from PIL import Image

from spavl_dag.errors import SpavlError
from spavl_dag.inference.request import ImageRef
from spavl_dag.integrations.huggingface.exporting import push_export, without_front_matter, write_export
from spavl_dag.integrations.huggingface.formats import FORMATS, Export
from spavl_dag.progress import no_progress
from spavl_dag.schemas import DatasetRows, frame
from tests.training.conftest import start

__all__ = ["start"]  # a fixture

COLUMNS = {
    ("default", "train"): ["image", "question", "chosen", "rejected", "image_name"],
    ("validation", "validation"): ["image", "question", "chosen", "rejected", "class1", "class2", "class3"],
    ("harm", "test"): ["image", "question", "class1", "class2", "class3"],
    ("help", "test"): ["image", "question", "class1", "class2", "class3"],
}
"""As published (paper.md, "Shape of the published dataset")."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    disable_progress_bars()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.linear_gradient("L").resize((40, 24)).convert("RGB").save(data, "JPEG", exif=exif)
    return data.getvalue()


def square(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(data, "PNG")
    return data.getvalue()


FILES = {"0" * 16: turned(), "1" * 16: square("red"), "2" * 16: square("green"), "3" * 16: square("blue")}
REFS = {key: ImageRef(hashlib.sha256(data).hexdigest(), lambda data=data: data) for key, data in FILES.items()}
SPLITS = ("train", "validation", "harm_eval", "help_eval")


def rows(count: int = 7, question: str = "what is it ?") -> pl.DataFrame:
    made = []
    for number in range(4 * count):
        split = SPLITS[number % 4]
        answered = split in ("train", "validation")
        key = list(FILES)[number // 4 % 4]
        made.append(
            {
                **{"row_id": f"r{number}", "split": split, "image_id": key, "image_name": f"{key[0]}.jpg"},
                **{"near_duplicate_group": 0, "question_id": f"q{number}", "question_type": "hard_question"},
                **{"question": f"{question} <image> {number}", "class_id": "weapon"},
                **{"class1": "One", "class2": "Two", "class3": "Weapon"},
                **({"chosen": f"no {number} .", "rejected": f"sure {number}"} if answered else {}),
            }
        )
    return DatasetRows.validate(frame(DatasetRows, made))


def exported(folder: Path, name: str, table: pl.DataFrame | None = None, **options: Any) -> Path:
    said = {"use": "judge", "shard_rows": 3} | options
    export = Export(rows() if table is None else table, REFS, said["use"], said["shard_rows"], no_progress)
    write_export(FORMATS[name], export, folder, "# A card\n", ["CC0-1.0"])
    return folder


def test_the_published_form_is_loaded_with_its_features_and_again_after_a_rebuild(tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", "spa_vl")
    for (config, split), columns in COLUMNS.items():
        loaded = load_dataset(str(folder), config, split=split)
        assert loaded.column_names == columns
        assert (loaded.features["image"].dtype, len(loaded)) == ("PIL.Image.Image", 7)
    first = load_dataset(str(folder), split="train")[0]
    assert first["image"].size == (24, 40), "upright, as the models saw it"
    assert len(list((folder / "data").glob("train-*.parquet"))) == 3, "7 rows in files of 3"
    assert "license: cc0-1.0" in (folder / "README.md").read_text()
    exported(tmp_path / "out", "spa_vl", rows(9, "and now ?"))
    again = load_dataset(str(folder), split="train")
    assert (len(again), again[0]["question"]) == (9, "and now ? <image> 0"), "no cache gives the old rows"


def test_original_pictures_are_the_bytes_that_came(tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", "trainer_json", use="original")
    assert (folder / "images" / f"{'0' * 16}.jpg").read_bytes() == FILES["0" * 16]
    shown = exported(tmp_path / "seen", "trainer_json")
    with Image.open(shown / "images" / f"{'0' * 16}.png") as seen:
        assert seen.size == (24, 40)


def test_the_official_scripts_read_their_json(tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", "trainer_json")
    records = json.loads((folder / "train.json").read_text())
    assert len(records) == 7
    torch.tensor([record["id"] for record in records], dtype=torch.long)
    for record in records:
        assert set(record) == {"id", "image", "question", "chosen", "rejected"}
        with Image.open(folder / "images" / record["image"]) as picture:
            picture.convert("RGB")


def test_llama_factory_finds_its_files_and_one_placeholder_per_picture(tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", "llama_factory")
    info = json.loads((folder / "dataset_info.json").read_text())["spa_vl_train"]
    assert (info["ranking"], info["formatting"]) == (True, "sharegpt")
    records = load_dataset("json", data_files=str(folder / info["file_name"]), split="train")
    for record in records:
        (turn,) = record[info["columns"]["messages"]]
        assert turn["value"].count("<image>") == len(record["images"]) == 1
        assert (folder / record["images"][0]).is_file()
        assert record["chosen"]["from"] == record["rejected"]["from"] == "gpt"


def test_trl_trains_on_its_form_without_a_mapping(tmp_path: Path, start: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DPOConfig, DPOTrainer

    table = rows().with_columns(question=pl.lit("word1 word2"), chosen=pl.col("chosen").str.replace(r".+", "word3"))
    table = table.with_columns(rejected=pl.col("rejected").str.replace(r".+", "word4"))
    loaded = load_dataset(str(exported(tmp_path / "out", "trl", table)))
    assert loaded["train"].column_names == ["images", "prompt", "chosen", "rejected"]
    arguments = DPOConfig(
        output_dir=str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        bf16=False, gradient_checkpointing=False, save_strategy="no", logging_steps=1, max_length=None,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(start),
        args=arguments,
        train_dataset=loaded["train"],
        processing_class=AutoProcessor.from_pretrained(start),
    )
    trainer.train()
    assert trainer.state.global_step == 2
    assert all(torch.isfinite(torch.tensor(entry["loss"])) for entry in trainer.state.log_history if "loss" in entry)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(SpavlError, match="no export of this tool"):
        exported(tmp_path / "mine", "spa_vl")
    with pytest.raises(SpavlError, match="is no export"):
        push_export(tmp_path / "mine", "me/mine", private=True)
    assert without_front_matter("---\na: b\n---\n\n# Title\n") == "# Title\n"


def test_an_export_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported(tmp_path / "out", "spa_vl")
    before = sorted(path.name for path in folder.rglob("*"))

    def broken() -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(REFS, "2" * 16, ImageRef(REFS["2" * 16].sha256, broken))
    with pytest.raises(OSError, match="No space"):
        exported(tmp_path / "out", "spa_vl", rows(9))
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert not (tmp_path / ".out.new").exists()
