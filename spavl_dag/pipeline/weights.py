"""Where a model's weights are, and what identifies them in a call's or a training's key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spavl_dag.errors import MissingInputError
from spavl_dag.params.models import BASE_MODEL
from spavl_dag.pipeline.hashing import ContentHasher

REFERENCE_FILE = "reference.json"
"""In a model's folder, when it is another model as it is."""

ADAPTER_FILE = "adapter_of.json"
"""In a checkpoint's folder, when it is an adapter: which model it belongs to."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model entry's weights.

    Attributes:
        path: What the engine opens: a folder or a hub id.
        identity: What a call's key holds; never a path.
        revision: Commit on the hub, or the content hash of a folder.
        hub_revision: Commit to ask a hub for; None for folders.
        adapter: Folder of a LoRA adapter to be put onto the weights.
    """

    path: str
    identity: str
    revision: str
    hub_revision: str | None
    adapter: str | None = None


class Weights:
    """Finds the weights that params name.

    Args:
        root: The project.
        base_model: Folder of the artifact that `model: base_model` means.
        hasher: Content hashes.
    """

    def __init__(self, root: Path, base_model: Path, hasher: ContentHasher) -> None:
        self._root = root
        self._base_model = base_model
        self._hasher = hasher
        self._commits: dict[tuple[str, str], str] = {}

    def resolve(self, model: str, revision: str | None) -> ResolvedModel:
        """Where an entry's weights are, and what identifies them.

        Args:
            model: base_model, a folder of the project, or a hub id.
            revision: Branch, tag or commit on the hub.
        """
        if model == BASE_MODEL:
            return self.of_artifact(self._base_model, BASE_MODEL)
        folder = self._root / model
        if folder.is_dir():
            return self._folder(folder, folder.name)
        commit = self._commit(model, revision or "main")
        return ResolvedModel(model, model, commit, commit)

    def of_artifact(self, folder: Path, name: str) -> ResolvedModel:
        """Weights that an asset made, or that it refers to.

        Args:
            folder: The artifact, or one part of it.
            name: What a call's key calls such weights.

        Raises:
            MissingInputError: It was not made yet, or the file that names the weights is damaged.
        """
        if not folder.is_dir():
            where = folder.relative_to(self._root)
            raise MissingInputError(f"{where} is not there", "Make it with `spavl run`, or all with `dvc repro`.")
        if (folder / REFERENCE_FILE).is_file():
            return self.resolve(*self._named(folder / REFERENCE_FILE))
        if (folder / ADAPTER_FILE).is_file():
            start = self.resolve(*self._named(folder / ADAPTER_FILE))
            content = f"{start.revision}+md5:{self._hasher.md5(folder)}"
            return ResolvedModel(start.path, start.identity, content, start.hub_revision, str(folder))
        return self._folder(folder, name)

    def reference(self, model: str, revision: str | None) -> Mapping[str, str | None]:
        """What stands in `REFERENCE_FILE`: the commit of weights on the hub, the content of local ones.

        So a change of either is noticed.
        """
        if model == BASE_MODEL:
            return {"model": model, "revision": revision}
        folder = self._root / model
        if folder.is_dir():
            return {"model": model, "revision": revision, "md5": self._hasher.md5(folder)}
        return {"model": model, "revision": self._commit(model, revision or "main")}

    def _named(self, file: Path) -> tuple[str, str | None]:
        """Model and revision that a file of an artifact names."""
        try:
            named = json.loads(file.read_text(encoding="utf-8"))
            return named["model"], named["revision"]
        except (ValueError, KeyError, TypeError) as error:
            raise MissingInputError(
                f"{file.relative_to(self._root)} is damaged: it can't be read any more",
                "Get it back with `dvc checkout --force`, or make the artifact again with `dvc repro`.",
            ) from error

    def _folder(self, folder: Path, name: str) -> ResolvedModel:
        return ResolvedModel(str(folder), name, f"md5:{self._hasher.md5(folder)}", None)

    def _commit(self, model: str, revision: str) -> str:
        """The commit that a branch or tag stands for, once per making, so that one making uses one model."""
        if (model, revision) not in self._commits:
            self._commits[model, revision] = find_commit(model, revision)
        return self._commits[model, revision]


def find_commit(model: str, revision: str) -> str:
    """The commit that a branch or tag of the hub stands for now: as the hub says, or, offline, the cache of it.

    Args:
        model: Hub id.
        revision: Branch, tag or commit.

    Returns:
        The commit; the revision as it is where neither knows it, which loading the model then says.
    """
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # As transformers looks for it: it asks the hub, and takes the cache where that can't be reached.
        file = hf_hub_download(model, "config.json", revision=revision)
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
        return revision
    return Path(file).parent.name
