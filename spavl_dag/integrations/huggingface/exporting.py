"""Exports of a made dataset: into a folder of their own, whole or not at all, and from there to the Hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spavl_dag.errors import SpavlError
from spavl_dag.integrations.huggingface.formats import Export, ExportFormat

MARKER = "spavl-export.json"
"""Tells an export, which may be replaced, from a folder of something else."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LICENSES = {"CC0-1.0": "cc0-1.0", "CC-BY-4.0": "cc-by-4.0", "CC-BY-SA-4.0": "cc-by-sa-4.0", "MIT": "mit"}


def write_export(form: ExportFormat, export: Export, folder: Path, card: str, licenses: Sequence[str]) -> int:
    """Write an export; one that is there is replaced when the new one is whole.

    Args:
        form: Which form.
        export: What.
        folder: Where.
        card: Text of the data card, without front matter.
        licenses: Of the images.

    Returns:
        Number of files.

    Raises:
        SpavlError: The folder holds something that is no export.
        ChangedImageError: An image isn't what it was when the dataset was made.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise SpavlError(f"{folder} holds something that is no export of this tool", "Name a new folder.")
    staging = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        files = form.write(export, staging)
        lines = form.front_matter(export, files) if form.front_matter else ()
        (staging / "README.md").write_text(_front_matter(export, lines, licenses) + card, encoding="utf-8")
        about = {"format": form.name, "images": export.use, "content": export.content, "rows": export.rows.height}
        (staging / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return len(files)


def push_export(folder: Path, repository: str, *, private: bool) -> str:
    """Put an export onto the Hub; what is there already is not sent again, so an interrupted push goes on.

    Args:
        folder: An export.
        repository: `owner/name` of a dataset; made where it isn't there.
        private: Whether a new one is private.

    Returns:
        Its address.

    Raises:
        SpavlError: The folder is no export, or the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    if not (folder / MARKER).is_file():
        raise SpavlError(f"{folder} is no export", "Make one with `spavl export`.")
    api = HfApi()
    try:
        address = str(api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True))
        api.upload_folder(repo_id=repository, folder_path=folder, repo_type="dataset", commit_message="spavl export")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SpavlError(
            f"{repository} can't be written on the Hub: {words}",
            "Set HF_TOKEN to a token that may write there, and check the network; then push again: it goes on.",
        ) from error
    return address


def without_front_matter(card: str) -> str:
    """The text of a data card alone."""
    if not card.startswith("---\n"):
        return card
    _, _, rest = card[4:].partition("\n---\n")
    return rest.lstrip("\n")


def _front_matter(export: Export, configs: Sequence[str], licenses: Sequence[str]) -> str:
    """What the Hub reads of a card (huggingface.co/docs/hub/datasets-cards)."""
    height = export.rows.height
    size = next((name for most, name in _SIZES if height < most), "1M<n<10M")
    known = {_LICENSES.get(name) for name in licenses}
    (license_name,) = known if len(known) == 1 and None not in known else {"other"}
    stated: Mapping[str, Any] = {
        "license": license_name,
        "language": ["en"],
        "pretty_name": "Safety preferences for vision-language models",
        "size_categories": [size],
        "task_categories": ["image-text-to-text", "visual-question-answering"],
        "tags": ["safety", "preference", "vision-language", "not-for-all-audiences"],
    }
    lines = [
        line
        for name, value in stated.items()
        for line in ([f"{name}: {value}"] if isinstance(value, str) else [f"{name}:", *(f"- {item}" for item in value)])
    ]
    return "\n".join(["---", *lines, *configs, "---", "", ""])
