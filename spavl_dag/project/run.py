"""What an asset's function is given: params, upstream tables, images, callers, and a folder to write into.

Belongs here: the joints between the pure steps and the project on disk. An asset function touches nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.calls.caller import CallCounts, Caller, Profile, read_template
from spavl_dag.calls.ledger import Ledger
from spavl_dag.engines.base import Decoding, ImageRef
from spavl_dag.engines.pool import SHARED, EngineSettings
from spavl_dag.errors import MissingInputError
from spavl_dag.project.hashing import ContentHasher
from spavl_dag.project.layout import Project
from spavl_dag.project.params import BASE_MODEL, ModelEntry, Params
from spavl_dag.project.store import Store
from spavl_dag.taxonomy import Taxonomy, load_taxonomy

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

REFERENCE_FILE = "reference.json"
"""In models/base_model, when the base model is used as it is instead of being trained here."""


def no_progress(_label: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model entry's weights.

    Attributes:
        path: What the engine opens: a folder or a hub id.
        identity: What a call's key holds; never a path.
        revision: Hub revision, or the content hash of a folder.
        hub_revision: Revision to ask a hub for; None for folders.
    """

    path: str
    identity: str
    revision: str
    hub_revision: str | None


@dataclass
class Run:
    """One making of one artifact (or of one part of it).

    Attributes:
        project: The project.
        params: Checked params.
        artifact: What is made.
        partition: Which part.
        ledger: All model calls.
        hasher: Content hashes.
        staging: Folder whose content becomes the artifact.
        progress: Told about long work.
        counts: Model calls asked for and made.
    """

    project: Project
    params: Params
    artifact: str
    partition: str | None
    ledger: Ledger
    hasher: ContentHasher
    staging: Path
    progress: Progress = no_progress
    counts: CallCounts = field(default_factory=CallCounts)

    @cached_property
    def store(self) -> Store:
        """The project's artifacts."""
        return Store(self.project)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The harm classes."""
        return load_taxonomy(self.project.root / self.params.taxonomy.file)

    @property
    def model_keys(self) -> list[str]:
        """Keys of the answering models."""
        return list(self.params.models)

    @property
    def key(self) -> str:
        """The partition, for an artifact that has some."""
        assert self.partition is not None, f"{self.artifact} has no partitions"
        return self.partition

    def table(self, artifact: str, table: str | None = None) -> pl.DataFrame:
        """A table of an upstream artifact."""
        return self.store.read(artifact, table)

    def part(self, artifact: str) -> pl.DataFrame:
        """The main table of the same partition of an upstream artifact."""
        return self.store.read(artifact, partition=self.key)

    def all_parts(self, artifact: str) -> pl.DataFrame:
        """The main table of all partitions of an upstream artifact."""
        return self.store.read_all(artifact, self.model_keys)

    def image_refs(self) -> dict[str, ImageRef]:
        """Content of all images by image id, read when needed."""
        return image_refs(self.table("images"), self.project.out("images"))

    def caller(self, role: str) -> Caller:
        """Asks the model of a role of params.yaml, such as `judge`."""
        entry: ModelEntry = getattr(self.params.roles, role)
        return self._caller(f"roles.{role}", entry)

    def answering_caller(self) -> Caller:
        """Asks the answering model of this partition."""
        return self._caller(f"models.{self.key}", self.params.models[self.key])

    def resolve(self, entry: ModelEntry) -> ResolvedModel:
        """Where an entry's weights are, and what identifies them.

        Raises:
            MissingInputError: The base model was not made yet.
        """
        if entry.model != BASE_MODEL:
            folder = self.project.root / entry.model
            if folder.is_dir():
                return self._folder(folder, folder.name)
            return ResolvedModel(entry.model, entry.model, entry.revision or "main", entry.revision)
        folder = self.project.out(BASE_MODEL)
        if not folder.is_dir():
            raise MissingInputError("models/base_model is not there", "Make it with `spavl run base_model`.")
        reference = folder / REFERENCE_FILE
        if reference.is_file():
            named = json.loads(reference.read_text(encoding="utf-8"))
            revision = named["revision"]
            return ResolvedModel(named["model"], named["model"], revision or "main", revision)
        return self._folder(folder, BASE_MODEL)

    def _folder(self, folder: Path, name: str) -> ResolvedModel:
        content = self.hasher.md5(folder)
        return ResolvedModel(str(folder), name, f"md5:{content}", None)

    def _caller(self, role: str, entry: ModelEntry) -> Caller:
        model = self.resolve(entry)
        runtime = self.params.runtime
        settings = EngineSettings(
            engine=entry.engine,
            model=model.path,
            revision=model.hub_revision,
            device=runtime.device,
            dtype=runtime.dtype,
            batch_size=runtime.batch_size,
            threads=runtime.threads,
        )
        return Caller(
            Profile(
                role=role,
                engine=entry.engine,
                model=model.identity,
                revision=model.revision,
                system=entry.system,
                template=read_template(self.project.root / entry.prompt),
                decoding=Decoding(**entry.decoding.model_dump()),
            ),
            ledger=self.ledger,
            engine=lambda: SHARED.get(settings, model.revision),
            artifact=self.artifact,
            partition=self.partition,
            seed=self.params.seed,
            counts=self.counts,
            progress=lambda done, total: self.progress(role, done, total),
        )

    def log_fields(self) -> dict[str, Any]:
        """What a comparison of runs should show of this one."""
        if self.partition is None:
            return {}
        entry = self.params.models[self.partition].model_dump(exclude={"decoding"})
        decoding = self.params.models[self.partition].decoding.model_dump()
        return entry | {f"decoding.{name}": value for name, value in decoding.items()}


def image_refs(images: pl.DataFrame, folder: Path) -> dict[str, ImageRef]:
    """Content of images by image id, read when needed.

    Args:
        images: Rows of table `images`.
        folder: What their `file` is relative to.
    """
    return {
        image_id: ImageRef(sha256, partial(Path.read_bytes, folder / file))
        for image_id, sha256, file in images.select("image_id", "sha256", "file").iter_rows()
    }
