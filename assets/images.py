"""Images of the harm classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from spavl_dag.media.collect import classes_to_search, collect_images
from spavl_dag.pipeline.preview import contact_sheet, counts_table, table_preview
from spavl_dag.pipeline.recipe import artifact
from spavl_dag.pipeline.run import Run, image_refs
from spavl_dag.pipeline.store import Made


@artifact(deps=("keywords",), group="inputs", kinds={"python"})
def images(run: Run) -> Made:
    """Images with hashes, size, source, classes and license; what can't be used is in `quarantine` with its reason."""
    settings, show = run.params.images, run.params.runtime.show_text
    found = collect_images(settings, run.taxonomy, run.params.seed, run.project.root, run.staging)
    shown = found.images.sort("class_id").gather_every(max(1, found.images.height // 48)).head(48)
    refs = list(image_refs(shown, run.staging).values())
    lacking = classes_to_search(run.taxonomy, found.images, run.table("keywords"))
    reasons = dict(found.quarantine.group_by("reason").len().sort("reason").iter_rows())
    return Made(
        tables={"images": found.images, "quarantine": found.quarantine},
        metadata={
            "quarantined": found.quarantine.height,
            "quarantine_reasons": counts_table(reasons, "reason", "files"),
            "passed_over": counts_table(_by_suffix(found.passed_over), "suffix, for instance", "files"),
            "classes_without_images": counts_table(lacking, "class", "keywords to search"),
            "near_duplicate_groups": found.images["near_duplicate_group"].n_unique(),
            "sample": contact_sheet(refs, show or settings.source == "pictograms"),
            "preview": table_preview(
                found.images, show, ["image_id", "class_id", "format", "width", "height", "source", "license"]
            ),
        },
    )


def _by_suffix(files: Sequence[str]) -> dict[str, int]:
    """How many files have which suffix, each with one of them."""
    named: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        named[PurePosixPath(file).suffix.lower()].append(file)
    return {f"{suffix or 'none'}, {group[0]}": len(group) for suffix, group in sorted(named.items())}
