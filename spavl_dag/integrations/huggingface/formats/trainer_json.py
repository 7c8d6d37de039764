"""The official training scripts' JSON (SPA-VL-RLHF): a list of objects, and a folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path

from spavl_dag.integrations.huggingface.formats.base import ANSWERED, Export, ExportFormat, write_images


def _write(export: Export, folder: Path) -> list[str]:
    files = []
    numbered = export.rows.with_row_index("id")  # whole numbers: the scripts make a tensor of them
    for split, stem in ANSWERED.items():
        part = numbered.filter(split=split)
        names = write_images(export, part, folder / "images")
        with (folder / f"{stem}.json").open("w", encoding="utf-8") as stream:
            stream.write("[")
            for number, row in enumerate(part.iter_rows(named=True)):
                record = {"id": row["id"], "image": names[row["image_id"]]}
                record |= {name: row[name] for name in ("question", "chosen", "rejected")}
                stream.write(("," if number else "") + "\n" + json.dumps(record, ensure_ascii=False))
            stream.write("\n]\n")
        files += [f"{stem}.json", *sorted(f"images/{name}" for name in names.values())]
    return list(dict.fromkeys(files))


TRAINER_JSON = ExportFormat(
    name="trainer_json",
    about="the official scripts: train.json with whole numbers as ids, and images/ for their --image_folder",
    write=_write,
)
