"""The front matter of a data card: what `datasets` and the Hub read of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

CONFIGS: Mapping[str, Mapping[str, str]] = {
    "default": {"train": "train", "validation": "validation"},
    "harm": {"test": "harm"},
    "help": {"test": "help"},
}
"""Per configuration the file, without its suffix, of each split; the published dataset has the same names."""


def front_matter(folder: Path) -> str:
    """The configurations of a folder's Parquet files; one that isn't there has no entry.

    `datasets` names its cache after the folder's last name and this text, and looks at no file: without the content in
    it, a dataset made anew would be read as it was before. So each configuration's description holds a hash of all
    files.

    Args:
        folder: Of the dataset; its Parquet files lie in `hf/`.
    """
    files = {path.stem: path for path in sorted((folder / "hf").glob("*.parquet"))}
    content = hashlib.sha256()
    for name, path in files.items():
        with path.open("rb") as file:
            content.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    lines: list[str] = []
    for config, splits in CONFIGS.items():
        filled = {split: name for split, name in splits.items() if name in files}
        if filled:
            lines += [f"- config_name: {config}", f"  description: content {content.hexdigest()}", "  data_files:"]
        for split, name in filled.items():
            lines += [f"  - split: {split}", f"    path: hf/{name}.parquet"]
    return "\n".join(["---", "configs:", *lines, *_tags(("safety", "preference", "vision-language")), "---", "", ""])


def _tags(tags: Sequence[str]) -> list[str]:
    return ["tags:", *(f"- {tag}" for tag in tags)]
