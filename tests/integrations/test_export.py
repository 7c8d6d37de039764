"""The exported dataset, read by the rules of those it is written for."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from spavl_dag.inference.request import ChangedImageError, ImageRef
from spavl_dag.integrations.huggingface.export import write_dataset_files
from spavl_dag.media.decode import decode_image
from spavl_dag.report.data_card import CardFacts, data_card
from spavl_dag.report.statistics import CardTables, dataset_statistics
from spavl_dag.taxonomy import load_taxonomy


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize((40, 24)).convert(mode)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(gradient(), "JPEG", exif=exif)


def sixteen_bits() -> bytes:
    values = np.linspace(0, 65535, 40 * 24).reshape(24, 40).astype(np.uint16)
    return encoded(Image.fromarray(values), "PNG")


def half_transparent() -> bytes:
    image = gradient("RGBA")
    image.putalpha(Image.new("L", image.size, 90))
    return encoded(image, "PNG")


PLAIN = {
    "plain.png": encoded(gradient(), "PNG"),
    "plain.jpg": encoded(gradient(), "JPEG"),
    "grey.png": encoded(gradient("L"), "PNG"),
    "print.jpg": encoded(gradient("CMYK"), "JPEG"),
    "opaque.png": encoded(gradient("RGBA"), "PNG"),
}
ODD = {"turned.jpg": turned(), "deep.png": sixteen_bits(), "clear.png": half_transparent()}
TEXTS = ("question", "chosen", "rejected", "class1", "class2", "class3", "row_id", "question_id", "question_type")
MORE = ("class_id", "chosen_model", "rejected_model", "chosen_label", "rejected_label", "reason1", "reason2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "images" / "files"
    files.mkdir(parents=True)
    for name, data in {**PLAIN, **ODD}.items():
        (files / name).write_bytes(data)
    return files


def table(names: list[str]) -> pl.DataFrame:
    splits = ["train", "validation", "harm_eval", "help_eval"]
    rows = [
        dict.fromkeys((*TEXTS, *MORE), f"text {number}")
        | {"split": splits[number % 4], "image_name": name, "image_id": Path(name).stem + name[-3:]}
        for number, name in enumerate(name for name in names for _ in range(4))
    ]
    return pl.DataFrame(rows)


def refs(rows: pl.DataFrame, folder: Path) -> dict[str, ImageRef]:
    return {
        image_id: ImageRef.of_file(folder / name, hashlib.sha256((folder / name).read_bytes()).hexdigest())
        for image_id, name in rows.select("image_id", "image_name").iter_rows()
    }


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def test_who_reads_the_hub_files_sees_what_the_models_saw(folder: Path, tmp_path: Path) -> None:
    rows = table([*PLAIN, *ODD])
    converted = write_dataset_files(rows, refs(rows, folder), tmp_path / "out")
    assert converted == sorted(ODD)
    for split, name in {"train": "train", "harm_eval": "harm"}.items():
        cells = pl.read_parquet(tmp_path / "out" / "hf" / f"{name}.parquet")["image"].to_list()
        names = rows.filter(split=split)["image_name"].to_list()
        for file, cell in zip(names, cells, strict=True):
            seen = decode_image((folder / file).read_bytes())
            assert np.array_equal(pixels(Image.open(io.BytesIO(cell["bytes"]))), np.asarray(seen)), file
            if file in PLAIN:
                assert (cell["bytes"], cell["path"]) == (PLAIN[file], file)


def test_the_same_rows_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    rows = table([*PLAIN, *ODD])
    for name in ("one", "two"):
        write_dataset_files(rows, refs(rows, folder), tmp_path / name)
    for file in (tmp_path / "one").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()


def test_trainer_json_by_the_official_scripts_rules(folder: Path, tmp_path: Path) -> None:
    """`data_utils_dpo.py` of SPA-VL-RLHF: a tensor of the id, and the image file of the image folder."""
    rows = table([*PLAIN, *ODD])
    write_dataset_files(rows, refs(rows, folder), tmp_path / "out")
    for split in ("train", "validation"):
        records = json.loads((tmp_path / "out" / "trainer" / f"{split}.json").read_text())
        ids = torch.stack([torch.tensor(record["id"], dtype=torch.long) for record in records])
        assert len(set(ids.tolist())) == len(records) == len(PLAIN) + len(ODD)
        for record in records:
            row = rows.row(record["id"], named=True)
            assert (row["split"], row["question"], row["chosen"]) == (split, record["question"], record["chosen"])
            assert Image.open(folder / record["image"]).convert("RGB").size


def statistics(converted: list[str]) -> dict[str, Any]:
    """Of a dataset of which only the rows are known."""

    def empty(*columns: str) -> pl.DataFrame:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))

    return dataset_statistics(
        CardTables(
            dataset=table(["plain.png"]),
            images=empty("class_id"),
            questions=empty("question_type"),
            missing_questions=empty("reason"),
            labels=empty("state", "label"),
            groups=empty("model"),
            missing_pairs=empty("reason"),
            verdicts=empty("verdict"),
            preferences=empty("question_id"),
            undecided=empty("reason"),
            left_out=empty("question_id", "reason"),
            converted_images=converted,
        )
    )


def test_the_card_names_what_a_plain_reader_sees_otherwise() -> None:
    facts = CardFacts("folder", {"m": "a model"}, frozenset(), "judge", False, ["joint"], 2)
    assert "Converted images" not in data_card(statistics([]), load_taxonomy(), facts)
    names = [f"{number}.png" for number in range(120)]
    told = data_card(statistics(names), load_taxonomy(), facts)
    assert "120 image files are turned" in told
    assert ", ".join(names[:100]) + ", and 20 more in `statistics.json`." in told


def test_a_changed_image_file_is_not_exported(folder: Path, tmp_path: Path) -> None:
    rows = table(["plain.png"])
    known = refs(rows, folder)
    (folder / "plain.png").write_bytes(PLAIN["grey.png"])
    with pytest.raises(ChangedImageError, match=r"plain\.png changed since `images` was made"):
        write_dataset_files(rows, known, tmp_path / "out")
