"""Images of the harm classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

import polars as pl

from spavl_dag.media.collect import collect_images, missing_classes
from spavl_dag.params.sections import ImageParams
from spavl_dag.params.sections import Params as ProjectParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import Files, OutputFolder, Params, Seed, Table
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import classes_without, first_class_differs
from spavl_dag.pipeline.run import image_refs
from spavl_dag.preview import Picture, contact_sheet, counts_table
from spavl_dag.schemas import ImageQuarantine, Images, Keywords, MissingClasses, PassedOverFiles
from spavl_dag.taxonomy import Taxonomy


def _folder(params: ProjectParams) -> Sequence[str]:
    """The user's folder, where images come from one."""
    return ["${images.folder}"] if params.images.source == "folder" else []


def _summary(made: Result[Images, ImageQuarantine, MissingClasses, PassedOverFiles]) -> Summary:
    images, quarantine, missing, passed_over = made.tables
    reasons = dict(quarantine.group_by("reason").len().sort("reason").iter_rows())
    return Summary(
        {
            "quarantined": quarantine.height,
            "quarantine_reasons": counts_table(reasons, "reason", "files"),
            "passed_over": counts_table(_by_suffix(passed_over["file"]), "suffix, for instance", "files"),
            "classes_without_images": missing.height,
            "near_duplicate_groups": images["near_duplicate_group"].n_unique(),
            "sample": _sample(images, made.folder),
        }
    )


def _sample(images: pl.DataFrame, folder: Path) -> Picture:
    """Small copies of some images of all classes; those that weren't drawn here are pixelated."""
    shown = images.sort("class_id").gather_every(max(1, images.height // 48)).head(48)
    drawn = set(shown["source"]) == {"pictograms"}
    return contact_sheet(list(image_refs(shown, folder).values()), drawn)


def _by_suffix(files: Iterable[str]) -> dict[str, int]:
    """How many files have which suffix, each with one of them."""
    named: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        named[PurePosixPath(file).suffix.lower()].append(file)
    return {f"{suffix or 'none'}, {group[0]}": len(group) for suffix, group in sorted(named.items())}


@asset(
    group_name="inputs",
    kinds={"python"},
    files=True,
    checks=[
        Check("classes_known", "Every class of every image is one of the taxonomy.", first_class_differs),
        Check("every_class_has_images", "Every class has an image.", classes_without("images", "class_ids"), "warn"),
    ],
    summary=_summary,
)
def images(
    keywords: Table[Keywords],
    taxonomy: Taxonomy,
    settings: Annotated[ImageParams, Params("images")],
    seed: Seed,
    folder: Annotated[list[Path], Files("params/images_folder", _folder)],
    output: OutputFolder,
) -> Result[Images, ImageQuarantine, MissingClasses, PassedOverFiles]:
    """Images with hashes, size, source, classes and license; what can't be used is in `quarantine` with its reason."""
    found = collect_images(settings, taxonomy, seed, folder[0] if folder else None, output)
    missing = missing_classes(taxonomy, found.images, keywords)
    return Result(found.images, found.quarantine, missing, found.passed_over)
