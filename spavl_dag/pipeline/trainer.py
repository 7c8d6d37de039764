"""Trainings as artifacts: what is declared is turned into a job, and a job's result into files.

A finished training stays in `.spavl/training/<name>-<key>`, linked and not copied, so that a changed input that doesn't
matter to it costs nothing. The key holds what decides the weights, and an explicit version of the code instead of its
bytes (`VERSION` beside each method): an edited comment trains nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from spavl_dag.extras import require_extra
from spavl_dag.inference.templates import read_template
from spavl_dag.params.training import TrainingParams
from spavl_dag.pipeline.kept import KeptTrainings, link_files
from spavl_dag.pipeline.result import Training
from spavl_dag.progress import Progress
from spavl_dag.schemas import Images
from spavl_dag.training.job import Job, method_of, training_key
from spavl_dag.training.versions import code_version

if TYPE_CHECKING:
    from spavl_dag.training.runner import TrainingResult

CURVE_SECONDS = 10.0
"""Between looks at a training's curve; a shorter training is told of when it is done."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A training's result.

    Attributes:
        job: What was trained.
        result: Weights, curve, rejected rows and numbers.
        training: For the comparison of checkpoints.
    """

    job: Job
    result: TrainingResult
    training: Training


class Trainer(KeptTrainings):
    """Runs the trainings of one making of an artifact, each at most once in the project's life.

    Args:
        run: The making.
    """

    def seed_of(self, training: TrainingParams) -> int:
        """The seed of a training: its own, or the project's."""
        return self._run.params.seed_of(training)

    def train(
        self,
        name: str,
        training: TrainingParams,
        rows: pl.DataFrame,
        *,
        validation: pl.DataFrame | None = None,
        reward_model: Path | None = None,
    ) -> Trained:
        """Train, or go on where a killed training was, or take the finished one; weights go into the artifact.

        Args:
            name: Of the checkpoint, for its work folder.
            training: The entry of params.
            rows: Rows of the dataset to train on.
            validation: Held-out rows.
            reward_model: Folder of the reward model, for methods that read it.
        """
        require_extra("train")
        from spavl_dag.training.runner import train

        key, job = self._plan(name, training, rows, validation, reward_model)
        result = train(job, self._reporting(key, job.work))
        link_files(result.folder, self._run.staging)
        kept = rows.height - result.rejected.height
        return Trained(job, result, Training(key, kept, result.curve))

    def _plan(
        self,
        name: str,
        training: TrainingParams,
        rows: pl.DataFrame,
        validation: pl.DataFrame | None,
        reward_model: Path | None,
    ) -> tuple[str, Job]:
        """The key that names a training's result, and the job; its rows lie in its work folder then."""
        run = self._run
        start = run.weights.resolve(training.model, training.revision)
        policy, runtime = run.params.policy, run.params.runtime
        template = read_template(run.project.root / policy.prompt)
        inputs = {
            "model": f"{start.identity}@{start.revision}",
            "rows": self._content(rows),
            "code": code_version(method_of(training)),
        }
        if validation is not None:
            inputs["validation"] = self._content(validation)
        if reward_model is not None:
            inputs["reward_model"] = str(run.graph.hasher.md5(reward_model))
        seed = self.seed_of(training)
        key = training_key(training, inputs=inputs, template=template, system=policy.system, seed=seed)
        work = run.project.trainings / f"{name}-{key}"
        return key, Job(
            training=training,
            model=start.path,
            revision=start.hub_revision,
            base_name=start.identity,
            template=template,
            system=policy.system,
            rows=self._rows_file(rows, work / "rows.parquet"),
            validation=None if validation is None else self._rows_file(validation, work / "validation.parquet"),
            reward_model=reward_model,
            work=work,
            seed=seed,
            runtime=runtime.training,
            device=runtime.device,
            dtype=runtime.dtype,
        )

    def _rows_file(self, rows: pl.DataFrame, file: Path) -> Path:
        from spavl_dag.training.examples import write_rows

        owner, _ = self._run.graph.owner(Images)
        write_rows(rows, self._run.read(Images, "one"), self._run.project.root / owner.out(), file)
        return file

    def _content(self, rows: pl.DataFrame) -> str:
        """Hash of what is trained on: texts and image content, in order."""
        refs = self._run.pictures(Images)
        digest = hashlib.md5()
        columns = ("row_id", "question", "chosen", "rejected", "image_id")
        for row_id, question, chosen, rejected, image_id in rows.select(columns).iter_rows():
            parts = (row_id, question, chosen, rejected, refs[image_id].sha256)
            digest.update("\x1f".join(parts).encode("utf-8", "surrogatepass") + b"\x1e")
        return digest.hexdigest()

    def _reporting(self, key: str, work: Path) -> Progress:
        """The run's progress, which also passes on what is new on the curve, every few seconds."""
        from spavl_dag.training.progress import read_curve

        told = {"rows": 0, "at": time.monotonic()}

        def report(label: str, done: int, total: int) -> None:
            self._run.progress(label, done, total)
            if time.monotonic() - told["at"] > CURVE_SECONDS:
                rows: Sequence[Mapping[str, float]] = read_curve(work)
                self._run.curve(key, rows[int(told["rows"]) :])
                told.update(rows=len(rows), at=time.monotonic())

        return report
