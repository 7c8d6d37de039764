"""Where a model's weights are, and what identifies them in a call's or a training's key."""

from __future__ import annotations

import json
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
        revision: Hub revision, or the content hash of a folder.
        hub_revision: Revision to ask a hub for; None for folders.
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
        return ResolvedModel(model, model, revision or "main", revision)

    def of_artifact(self, folder: Path, name: str) -> ResolvedModel:
        """Weights that an asset made, or that it refers to.

        Args:
            folder: The artifact, or one part of it.
            name: What a call's key calls such weights.

        Raises:
            MissingInputError: It was not made yet.
        """
        if not folder.is_dir():
            where = folder.relative_to(self._root)
            raise MissingInputError(f"{where} is not there", "Make it with `spavl run`, or all with `dvc repro`.")
        if (folder / REFERENCE_FILE).is_file():
            named = json.loads((folder / REFERENCE_FILE).read_text(encoding="utf-8"))
            return self.resolve(named["model"], named["revision"])
        if (folder / ADAPTER_FILE).is_file():
            named = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))
            start = self.resolve(named["model"], named["revision"])
            content = f"{start.revision}+md5:{self._hasher.md5(folder)}"
            return ResolvedModel(start.path, start.identity, content, start.hub_revision, str(folder))
        return self._folder(folder, name)

    def reference(self, model: str, revision: str | None) -> Mapping[str, str | None]:
        """What stands in `REFERENCE_FILE`; with the content of local weights, so that a change of them is noticed."""
        folder = self._root / model
        content = {"md5": self._hasher.md5(folder)} if model != BASE_MODEL and folder.is_dir() else {}
        return {"model": model, "revision": revision, **content}

    def _folder(self, folder: Path, name: str) -> ResolvedModel:
        return ResolvedModel(str(folder), name, f"md5:{self._hasher.md5(folder)}", None)
