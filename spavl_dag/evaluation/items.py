"""What a checkpoint is asked: one benchmark item, and the artifact that holds all of them.

Belongs here: items, drawing some of them, and writing them with their images. Not here: where a benchmark's items
come from and in which format (`benchmarks`).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import polars as pl

from spavl_dag.errors import MissingInputError, SpavlError
from spavl_dag.evaluation.schemas import BenchmarkItems
from spavl_dag.inference.request import ChangedImageError
from spavl_dag.schemas import frame

FILES = "files"
"""Folder of the image files inside the artifact."""
ONE_VARIANT = "plain"
"""Variant of the items of a benchmark that has no variants."""

ImageUse = Literal["own", "blank", "none"]

_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
_BLANK_SIDE = 336  # pixels: what LLaVA-1.5's vision tower sees
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ItemImage:
    """An image that is read when it is written into the artifact, one at a time.

    Attributes:
        name: Path or id, for messages.
        read: Returns the encoded bytes.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One thing a checkpoint is asked.

    Attributes:
        item_id: Unique in the benchmark.
        question: What the checkpoint is asked; also the variable `question` of the prompt template.
        category: Harm class, scenario or kind of question.
        variant: Form of the attack or sampling rule; `ONE_VARIANT` where there is only one.
        group: Items of one group are not independent of each other: variants of one question, questions on one
            image. Intervals of pooled scores take account of it. By default the image that it is about, or else its
            own id.
        image: What the checkpoint is shown.
        references: The right answers, most common first; empty where nothing is right or wrong.
        intent: What is really asked for, where the question hides it in the image or in a suffix: this is what a
            judge is shown as the question.
    """

    item_id: str
    question: str
    category: str
    variant: str = ONE_VARIANT
    group: str = ""
    image: ItemImage | None = None
    references: tuple[str, ...] = ()
    intent: str | None = None


def file_image(path: Path) -> ItemImage:
    """An image file; that it is missing or unreadable shows when it is written."""
    from spavl_dag.media.files import read_image_bytes

    return ItemImage(str(path), partial(read_image_bytes, path))


def draw_items(items: Sequence[EvalItem], limit: int | None, seed: int) -> list[EvalItem]:
    """At most so many items of each variant, in their own order.

    The draw goes by group, so that the variants of one question are drawn together and stay comparable; a smaller
    limit draws some of what a larger one does.

    Args:
        items: All items of a benchmark.
        limit: Number per variant, or None for all.
        seed: The project's seed.
    """
    if limit is None:
        return list(items)
    ranked = sorted(items, key=lambda item: (_digest(f"{seed}/{item.group or item.item_id}"), item.item_id))
    left: defaultdict[str, int] = defaultdict(lambda: limit)
    drawn = set()
    for item in ranked:
        if left[item.variant]:
            left[item.variant] -= 1
            drawn.add(item.item_id)
    return [item for item in items if item.item_id in drawn]


def use_images(items: Sequence[EvalItem], use: ImageUse) -> list[EvalItem]:
    """Items with the images that are to be shown.

    Args:
        items: Items of a benchmark.
        use: "own" shows what the benchmark has, "blank" a white square with texts that have no image, and "none"
            shows no image at all.
    """
    if use == "own":
        return list(items)
    if use == "none":
        return [replace(item, image=None) for item in items]
    blank = ItemImage("blank", _blank_png)
    return [item if item.image else replace(item, image=blank) for item in items]


def write_items(items: dict[str, Sequence[EvalItem]], folder: Path) -> pl.DataFrame:
    """Write the images and make the table.

    Args:
        items: Items of each benchmark, by the benchmark's name.
        folder: Folder of the artifact; images go into `files/` below it, once per content.

    Returns:
        Table `benchmarks`, sorted by benchmark and item.

    Raises:
        MissingInputError: An image can't be read. A benchmark must be whole to be comparable, so that none of its
            items may be left out silently.
        ChangedImageError: An image of the project's dataset isn't what it was when `images` was made.
        SpavlError: Two items of a benchmark have the same id.
    """
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for benchmark, listed in items.items():
        _refuse_repeated_ids(benchmark, listed)
        problems: dict[str, None] = {}  # each file once, in order
        unusable = 0
        for item in listed:
            row = _row(benchmark, item)
            if item.image:
                try:
                    row |= _write_image(item.image, folder, written)
                except ChangedImageError:
                    raise
                except SpavlError as error:
                    unusable += 1
                    problems[f"{item.image.name}: {error.message}"] = None
                else:
                    if not item.group and item.image.read is not _blank_png:
                        row["group"] = row["image_id"]
            rows.append(row)
        if problems:
            shown = "".join(f"\n  {problem}" for problem in list(problems)[:_SHOWN])
            more = f"\n  … and {len(problems) - _SHOWN} files more" if len(problems) > _SHOWN else ""
            raise MissingInputError(
                f"{benchmark}: {unusable} of {len(listed)} items have no usable image{shown}{more}",
                "A benchmark counts only whole: put these files there, or take it out of evaluation.benchmarks.",
            )
    return frame(BenchmarkItems, rows).sort("benchmark", "item_id")


def references_of(reference: str | None) -> tuple[str, ...]:
    """The right answers in a cell of the column `reference`."""
    return tuple(json.loads(reference)) if reference else ()


def _row(benchmark: str, item: EvalItem) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "item_id": item.item_id,
        "variant": item.variant,
        "category": item.category,
        "group": item.group or item.item_id,
        "question": item.question,
        "intent": item.intent,
        "reference": json.dumps(item.references, ensure_ascii=False) if item.references else None,
    }


def _write_image(image: ItemImage, folder: Path, written: dict[str, str]) -> dict[str, str]:
    """Write an image unless its content was written before, and return its columns."""
    from PIL import Image

    from spavl_dag.media.decode import decode_image

    data = image.read()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 not in written:
        decode_image(data)  # whole, or an error that says what is wrong with it
        with Image.open(io.BytesIO(data)) as opened:
            found = opened.format or "unknown"
        written[sha256] = f"{FILES}/{sha256[:16]}.{_SUFFIXES.get(found, found.lower())}"
        (folder / written[sha256]).write_bytes(data)
    return {"image_id": sha256[:16], "sha256": sha256, "file": written[sha256]}


def _refuse_repeated_ids(benchmark: str, items: Sequence[EvalItem]) -> None:
    repeated = sorted(item_id for item_id, count in Counter(item.item_id for item in items).items() if count > 1)
    if repeated:
        raise SpavlError(
            f"{benchmark}: {len(repeated)} item ids stand twice, such as {', '.join(repeated[:_SHOWN])}",
            "Ids must be unique in a benchmark: is a file in the folder twice?",
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@cache
def _blank_png() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (_BLANK_SIDE, _BLANK_SIDE), "white").save(buffer, format="PNG")
    return buffer.getvalue()
