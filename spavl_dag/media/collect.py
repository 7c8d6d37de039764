"""Images into the `images` artifact: drawn cards, or a user's folder.

Images are kept byte for byte as they came; their name is the beginning of their hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.errors import MissingInputError, SpavlError
from spavl_dag.params.sections import ImageParams
from spavl_dag.schemas import ImageQuarantine, Images, MissingClasses, PassedOverFiles, frame
from spavl_dag.taxonomy import Taxonomy

_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
FILES = "files"
"""Folder of the image files inside the artifact."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was collected.

    Attributes:
        images: Table `images`.
        quarantine: Table `quarantine`.
        passed_over: Table `passed_over`.
    """

    images: pl.DataFrame
    quarantine: pl.DataFrame
    passed_over: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Found:
    """What a source gives: rows of the tables, before near duplicates are grouped.

    Attributes:
        images: Rows of `images` without `near_duplicate_group`; their files lie in `files/` of the target.
        quarantine: Rows of `quarantine`.
        passed_over: Files of the user that don't look like images.
    """

    images: list[dict[str, Any]]
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def collect_images(params: ImageParams, taxonomy: Taxonomy, seed: int, folder: Path | None, target: Path) -> Collected:
    """Collect images and write their files.

    Args:
        params: Source and filters.
        taxonomy: The harm classes.
        seed: Of the drawn cards.
        folder: Where images come from, for a source that reads a folder.
        target: Folder of the artifact; files go into `files/` below it.

    Raises:
        MissingInputError: The folder isn't there, or not one usable image was found.
    """
    (target / FILES).mkdir(parents=True, exist_ok=True)
    found = SOURCES[params.source](params, taxonomy, seed, folder, target)
    rows = sorted(found.images, key=lambda row: str(row["image_id"]))
    from spavl_dag.media.duplicates import near_duplicate_groups

    groups = near_duplicate_groups([row["phash"] for row in rows], params.near_duplicate_distance)
    for row, group in zip(rows, groups, strict=True):
        row["near_duplicate_group"] = group
    return Collected(
        images=frame(Images, rows),
        quarantine=frame(ImageQuarantine, found.quarantine).sort("file", "reason"),
        passed_over=frame(PassedOverFiles, [{"file": file} for file in found.passed_over]),
    )


def missing_classes(taxonomy: Taxonomy, images: pl.DataFrame, keywords: pl.DataFrame) -> pl.DataFrame:
    """The keywords of every class that has no image yet: what to search for next.

    Args:
        taxonomy: The harm classes.
        images: Table `images`.
        keywords: Table `keywords`.

    Returns:
        Table `missing` of the images.
    """
    have = set(images["class_ids"].explode())
    words = dict(keywords.group_by("class_id", maintain_order=True).agg("keyword").iter_rows())
    return frame(
        MissingClasses,
        [
            {"class_id": harm.slug, "keywords": words.get(harm.slug, [])}
            for harm in taxonomy.classes
            if harm.slug not in have
        ],
    )


def _cards(params: ImageParams, taxonomy: Taxonomy, seed: int, _folder: Path | None, target: Path) -> Found:
    """Cards of every class; a card that two classes share is one image of both."""
    from spavl_dag.demo.cards import card_caption, card_png, class_cards, draw_card
    from spavl_dag.media.duplicates import perceptual_hash

    found: dict[str, dict[str, Any]] = {}
    for harm in taxonomy.classes:
        for spec in class_cards(harm.slug, params.per_class, seed):
            data = card_png(spec)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in found:
                classes = {*found[sha256]["class_ids"], harm.slug}
                found[sha256]["class_ids"] = sorted(classes)
                continue
            card = draw_card(spec)
            name = f"{sha256[:16]}.png"
            (target / FILES / name).write_bytes(data)
            found[sha256] = {
                "image_id": sha256[:16],
                "sha256": sha256,
                "phash": perceptual_hash(card),
                "file": f"{FILES}/{name}",
                "format": "PNG",
                "width": card.width,
                "height": card.height,
                "size_bytes": len(data),
                "class_id": harm.slug,
                "class_ids": [harm.slug],
                "source": "pictograms",
                "source_caption": card_caption(spec),
                "license": params.license,
                "notes": "",
            }
    return Found(list(found.values()))


def _from_folder(params: ImageParams, taxonomy: Taxonomy, _seed: int, folder: Path | None, target: Path) -> Found:
    """Images of the user's folder; what can't be used is quarantined."""
    from spavl_dag.media.files import read_image_bytes
    from spavl_dag.media.ingest import scan_folder

    if folder is None or not folder.is_dir():
        raise MissingInputError(
            f"images.folder: {folder or params.folder} is not a folder", "Fix the path in params.yaml."
        )
    ingest = scan_folder(
        folder,
        folder / params.manifest if params.manifest else None,
        taxonomy,
        min_side=params.min_side,
        max_pixels=params.max_pixels,
        license_default=params.license,
    )
    if not ingest.images:
        reasons = sorted({f"{q.reason}: {q.detail}" for q in ingest.quarantine})[:5]
        if ingest.ignored:
            some = ", ".join(ingest.ignored[:3])
            reasons.append(f"passed over, for no image by their names: {len(ingest.ignored)} files, such as {some}")
        raise MissingInputError(
            f"images.folder: {folder} has no usable image" + "".join(f"\n  {reason}" for reason in reasons),
            "A sub-folder named as a harm class per class, or a manifest, says what belongs where.",
        )
    rows = []
    for image in ingest.images:
        suffix = _SUFFIXES.get(image.format, image.format.lower())
        name = f"{image.sha256[:16]}.{suffix}"
        data = read_image_bytes(folder / image.path)
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise SpavlError(f"{folder / image.path} changed while it was read", "Run it again.")
        (target / FILES / name).write_bytes(data)
        rows.append(
            {
                "image_id": image.sha256[:16],
                "sha256": image.sha256,
                "phash": image.phash,
                "file": f"{FILES}/{name}",
                "format": image.format,
                "width": image.width,
                "height": image.height,
                "size_bytes": image.size_bytes,
                "class_id": image.class_slugs[0],
                "class_ids": list(image.class_slugs),
                "source": image.source or image.path,
                "source_caption": image.caption,
                "license": image.license,
                "notes": "; ".join(image.notes),
            }
        )
    quarantine = [{"file": q.file, "reason": q.reason, "detail": q.detail} for q in ingest.quarantine]
    return Found(rows, quarantine, list(ingest.ignored))


SOURCES: Mapping[str, Callable[[ImageParams, Taxonomy, int, Path | None, Path], Found]] = {
    "pictograms": _cards,
    "folder": _from_folder,
}
"""What `images.source` may name: called with params, taxonomy, seed, folder (or None) and the artifact's folder."""
