"""LLaMA-Factory's ranking data with images: ShareGPT turns, and the `dataset_info.json` that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spavl_dag.integrations.huggingface.formats.base import ANSWERED, Export, ExportFormat, write_images

_IMAGE = "<image>"
_INFO = {
    "formatting": "sharegpt",
    "ranking": True,
    "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"},
}


def _record(row: dict[str, Any], image: str) -> dict[str, Any]:
    # A question that writes the placeholder itself would ask for a second picture.
    question = row["question"].replace(_IMAGE, "< image>")
    return {
        "conversations": [{"from": "human", "value": f"{_IMAGE}{question}"}],
        "chosen": {"from": "gpt", "value": row["chosen"]},
        "rejected": {"from": "gpt", "value": row["rejected"]},
        "images": [f"images/{image}"],
    }


def _write(export: Export, folder: Path) -> list[str]:
    files, info = ["dataset_info.json"], {}
    for split, stem in ANSWERED.items():
        part = export.of(split)
        names = write_images(export, part, folder / "images")
        name = f"{stem}-{export.content}.json"
        with (folder / name).open("w", encoding="utf-8") as stream:
            stream.write("[")
            for number, row in enumerate(part.iter_rows(named=True)):
                text = json.dumps(_record(row, names[row["image_id"]]), ensure_ascii=False)
                stream.write(("," if number else "") + "\n" + text)
            stream.write("\n]\n")
        info[f"spa_vl_{stem}"] = {"file_name": name, **_INFO}
        files += [name, *sorted(f"images/{image}" for image in names.values())]
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    return list(dict.fromkeys(files))


LLAMA_FACTORY = ExportFormat(
    name="llama_factory",
    about="LLaMA-Factory: --dataset_dir DIR --dataset spa_vl_train, a ranking dataset with images",
    write=_write,
)
