"""What an asset's function is given: params, upstream tables, images, clients, and a folder to write into.

Belongs here: the joints between the pure steps and the project on disk. An asset function touches nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.errors import MissingInputError
from spavl_dag.inference.client import CallCounts, ModelClient, ModelSpec
from spavl_dag.inference.engines.base import Decoding, ImageRef
from spavl_dag.inference.engines.pool import SHARED, EngineSettings
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.templates import read_template
from spavl_dag.params.project import BASE_MODEL, ModelEntry, Params
from spavl_dag.pipeline.hashing import ContentHasher
from spavl_dag.pipeline.layout import ARTIFACTS, Project
from spavl_dag.pipeline.revision import head_commit
from spavl_dag.pipeline.stages import Stages
from spavl_dag.pipeline.store import Store, read_noted_runs
from spavl_dag.taxonomy import Taxonomy, load_taxonomy

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

CurveCallback = Callable[[str, Sequence[Mapping[str, float]]], None]
"""Told, now and then while a training runs, its key and the new rows of its curve."""

REFERENCE_FILE = "reference.json"
"""In a model's folder, when it is another model as it is."""

ADAPTER_FILE = "adapter_of.json"
"""In a checkpoint's folder, when it is an adapter: which model it belongs to."""


def no_progress(_label: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def no_curve(_training: str, _rows: Sequence[Mapping[str, float]]) -> None:
    """Tell nobody."""


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
        watch: Told about a training's curve.
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
    watch: CurveCallback = no_curve
    counts: CallCounts = field(default_factory=CallCounts)

    @cached_property
    def store(self) -> Store:
        """The project's artifacts."""
        return Store(self.project)

    @cached_property
    def stages(self) -> Stages:
        """What depends on what, with the content hashes of this run."""
        return Stages(self.project, self.hasher)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The harm classes."""
        return load_taxonomy(self.project.root / self.params.taxonomy.file)

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
        kind = ARTIFACTS[artifact].partitions
        assert kind is not None, f"{artifact} has no partitions"
        return self.store.read_all(artifact, self.params.keys(kind))

    def image_refs(self, artifact: str = "images") -> dict[str, ImageRef]:
        """Content of all images of an artifact by image id, read when needed."""
        rows = self.table(artifact).filter(pl.col("image_id").is_not_null())
        return image_refs(rows, self.project.out(artifact))

    def client(self, role: str) -> ModelClient:
        """Asks the model of a role of params.yaml, such as `judge`."""
        return self._entry_client(f"roles.{role}", getattr(self.params.roles, role))

    def answering_client(self) -> ModelClient:
        """Asks the answering model of this partition."""
        return self._entry_client(f"models.{self.key}", self.params.models[self.key])

    def version_of(self, artifact: str, partition: str | None = None) -> str | None:
        """Data version of an upstream artifact as it lies on disk; None when there is nothing."""
        return self.stages.data_version(artifact, partition)

    def versions_before(self) -> dict[str, str | None]:
        """Data versions of all stages that this artifact comes from, in the order in which they run."""
        stages = self.stages
        return {
            stage.name: stages.data_version(stage.artifact, stage.partition)
            for stage in stages.behind(stages.get(self.artifact, self.partition))
        }

    def mlflow_run(self, checkpoint: str, version: str | None) -> str | None:
        """The MLflow run that a version of a checkpoint was logged to, where that happened in this checkout."""
        return read_noted_runs(self.project).get(f"{checkpoint}@{version}")

    def commit(self) -> str:
        """The checked-out commit; see `head_commit`."""
        return head_commit(self.project.root)

    def checkpoint_client(self, prompt: str | None, max_new_tokens: int) -> ModelClient:
        """Asks the checkpoint of this partition, greedily.

        Args:
            prompt: Template file, relative to the project; None for the policy's.
            max_new_tokens: Upper bound of an answer's tokens.

        Raises:
            SpavlError: The stage doesn't depend on the template.
        """
        if prompt:
            self.stages.refuse_unlisted(self.artifact, prompt)
        policy = self.params.policy
        model = self.resolve_checkpoint(self.key)
        decoding = Decoding(max_new_tokens=max_new_tokens)
        return self._client(
            f"checkpoints.{self.key}", policy.engine, model, policy.system, prompt or policy.prompt, decoding
        )

    def resolve(self, model: str, revision: str | None) -> ResolvedModel:
        """Where an entry's weights are, and what identifies them.

        Args:
            model: base_model, a folder of the project, or a hub id.
            revision: Revision of a hub model.

        Raises:
            MissingInputError: The base model was not made yet.
        """
        if model == BASE_MODEL:
            return self._made_model(BASE_MODEL, None)
        folder = self.project.root / model
        if folder.is_dir():
            return self._folder(folder, folder.name)
        return ResolvedModel(model, model, revision or "main", revision)

    def resolve_checkpoint(self, key: str) -> ResolvedModel:
        """Where a checkpoint's weights are, and what identifies them; those of the base model are the base model's."""
        return self._made_model("checkpoints", key)

    def _made_model(self, artifact: str, partition: str | None) -> ResolvedModel:
        folder = self.project.out(artifact, partition)
        if not folder.is_dir():
            at = f" --partition {partition}" if partition else ""
            where = folder.relative_to(self.project.root)
            raise MissingInputError(f"{where} is not there", f"Make it with `spavl run {artifact}{at}`.")
        reference = folder / REFERENCE_FILE
        if reference.is_file():
            named = json.loads(reference.read_text(encoding="utf-8"))
            return self.resolve(named["model"], named["revision"])
        adapted = folder / ADAPTER_FILE
        if adapted.is_file():
            named = json.loads(adapted.read_text(encoding="utf-8"))
            start = self.resolve(named["model"], named["revision"])
            content = f"{start.revision}+md5:{self.hasher.md5(folder)}"
            return ResolvedModel(start.path, start.identity, content, start.hub_revision, str(folder))
        return self._folder(folder, BASE_MODEL if artifact == BASE_MODEL else "checkpoint")

    def _folder(self, folder: Path, name: str) -> ResolvedModel:
        content = self.hasher.md5(folder)
        return ResolvedModel(str(folder), name, f"md5:{content}", None)

    def _entry_client(self, role: str, entry: ModelEntry) -> ModelClient:
        model = self.resolve(entry.model, entry.revision)
        decoding = Decoding(**entry.decoding.model_dump())
        return self._client(role, entry.engine, model, entry.system, entry.prompt, decoding)

    def _client(
        self, role: str, engine: str, model: ResolvedModel, system: str | None, prompt: str, decoding: Decoding
    ) -> ModelClient:
        runtime = self.params.runtime
        settings = EngineSettings(
            engine=engine,
            model=model.path,
            revision=model.hub_revision,
            adapter=model.adapter,
            device=runtime.device,
            dtype=runtime.dtype,
            batch_size=runtime.batch_size,
            threads=runtime.threads,
        )
        return ModelClient(
            ModelSpec(
                role=role,
                engine=engine,
                model=model.identity,
                revision=model.revision,
                system=system,
                template=read_template(self.project.root / prompt),
                decoding=decoding,
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
        if ARTIFACTS[self.artifact].partitions != "models":
            return {}
        entry = self.params.models[self.key].model_dump(exclude={"decoding"})
        decoding = self.params.models[self.key].decoding.model_dump()
        return entry | {f"decoding.{name}": value for name, value in decoding.items()}


def image_refs(images: pl.DataFrame, folder: Path) -> dict[str, ImageRef]:
    """Content of images by image id, read when needed.

    Args:
        images: Rows of table `images`.
        folder: What their `file` is relative to.
    """
    return {
        image_id: ImageRef.of_file(folder / file, sha256)
        for image_id, sha256, file in images.select("image_id", "sha256", "file").iter_rows()
    }
