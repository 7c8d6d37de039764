"""Trainings as artifacts: what an asset's run is turned into a job, and a job's result into files.

Belongs here: the joints between a run and a training. A finished training stays in `.spavl/training/<key>`, linked and
not copied, so that a changed input that doesn't matter to it costs nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.inference.engines.base import ImageRef
from spavl_dag.inference.templates import read_template
from spavl_dag.params.training import TRAINED_WITH_REWARD, ExperimentParams, RewardModelParams
from spavl_dag.pipeline.preview import Picture, counts_table, line_chart
from spavl_dag.pipeline.run import ADAPTER_FILE, REFERENCE_FILE, Progress, Run
from spavl_dag.pipeline.store import Made, Training
from spavl_dag.schemas import frame
from spavl_dag.training.job import Job, JobMethod, training_key
from spavl_dag.training.schemas import Curve, RejectedRows

CODE = "spavl_dag/training"
"""Part of every training's key: other code may train differently."""

WATCH_SECONDS = 10.0
"""Between looks at a training's curve; a shorter training is told of when it is done."""

SHOWN_CURVES = ("loss", "reward_margin", "accuracy", "reward", "kl")
"""Metrics whose curve is drawn for a look; all of them are in the table `curve`."""


def make_checkpoint(run: Run) -> Made:
    """Train the experiment of this partition, or refer to its model where nothing is to be trained."""
    entry = run.params.experiments[run.key]
    if entry.method == "none":
        return _refer(entry)
    from spavl_dag.training.runner import train
    from spavl_dag.training.selection import select_rows

    selection = select_rows(run.table("dataset"), entry.data, run.params.seed)
    reward_model = run.project.out("reward_model") if entry.method in TRAINED_WITH_REWARD else None
    key, job = _plan(run, run.key, entry.method, entry, selection.rows, reward_model=reward_model)
    result = train(job, _watched(run, key, job.work))
    _link(result.folder, run.staging)
    documents: dict[str, Any] = {"training.json": {**result.summary, "selection": selection.as_dict()}}
    if entry.save == "adapter":
        documents[ADAPTER_FILE] = {"model": entry.model, "revision": entry.revision}
    return Made(
        tables={"curve": curve_table(result.curve), "rejected": frame(RejectedRows, result.rejected.to_dicts())},
        documents=documents,
        metadata={
            "method": entry.method,
            "trained_on": result.summary["rows"],
            "rejected_rows": result.rejected.height,
            **_pictures(result.curve),
        },
        metrics={"trained_on": float(result.summary["rows"]), **final_metrics(result.summary)},
        training=Training(key, selection.rows.height - result.rejected.height, result.curve),
    )


def make_reward_model(run: Run) -> Made:
    """Train the reward model and measure it on the validation split."""
    from spavl_dag.training.reward.training import train_reward_model
    from spavl_dag.training.selection import select_rows

    settings = run.params.reward_model
    dataset = run.table("dataset")
    selection = select_rows(dataset, settings.data, run.params.seed)
    held_out = dataset.filter(pl.col("split") == "validation").sort("row_id")
    _, job = _plan(run, "reward_model", "reward", settings, selection.rows, validation=held_out)
    result = train_reward_model(job, run.progress)
    _link(result.folder, run.staging)
    return Made(
        tables={
            "reward_model": result.pairs,
            "calibration": result.calibration,
            "curve": curve_table(result.curve),
            "rejected": frame(RejectedRows, result.rejected.to_dicts()),
        },
        documents={"metrics.json": dict(result.metrics), "training.json": {"selection": selection.as_dict()}},
        metadata={
            "held_out": counts_table({name: f"{value:.3f}" for name, value in result.metrics.items()}, "measure"),
            "calibration": result.picture,
            "margins": result.histogram,
            **_pictures(result.curve),
        },
        metrics=dict(result.metrics),
    )


def curve_table(rows: Sequence[Mapping[str, float]]) -> pl.DataFrame:
    """Table `curve` of rows {"step": n, metric: value, …}."""
    return frame(
        Curve,
        [
            {"step": int(row["step"]), "metric": name, "value": float(value)}
            for row in rows
            for name, value in sorted(row.items())
            if name != "step"
        ],
    )


def final_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a summary that are worth comparing between runs."""
    return {f"final/{name}": float(value) for name, value in summary["last"].items() if isinstance(value, int | float)}


def _watched(run: Run, key: str, work: Path) -> Progress:
    """The run's progress, which also passes on what is new on the curve, every few seconds."""
    from spavl_dag.training.progress import read_curve

    told = {"rows": 0, "at": time.monotonic()}

    def report(label: str, done: int, total: int) -> None:
        run.progress(label, done, total)
        if time.monotonic() - told["at"] > WATCH_SECONDS:
            rows = read_curve(work)
            run.watch(key, rows[int(told["rows"]) :])
            told.update(rows=len(rows), at=time.monotonic())

    return report


def _refer(entry: ExperimentParams) -> Made:
    return Made(
        tables={"curve": curve_table([]), "rejected": frame(RejectedRows, [])},
        documents={REFERENCE_FILE: {"model": entry.model, "revision": entry.revision}},
        metadata={"model": entry.model, "revision": entry.revision or "as it is"},
    )


def _plan(
    run: Run,
    name: str,
    method: JobMethod,
    settings: ExperimentParams | RewardModelParams,
    rows: pl.DataFrame,
    *,
    validation: pl.DataFrame | None = None,
    reward_model: Path | None = None,
) -> tuple[str, Job]:
    """The key that names a training's result, and the job; its rows lie in its work folder then."""
    start = run.resolve(settings.model, settings.revision)
    policy, runtime = run.params.policy, run.params.runtime
    template = read_template(run.project.root / policy.prompt)
    params = settings.model_dump(mode="json")
    inputs = {
        "model": f"{start.identity}@{start.revision}",
        "rows": _content(run, rows),
        "code": str(run.hasher.md5(run.project.root / CODE)),
    }
    if validation is not None:
        inputs["validation"] = _content(run, validation)
    if reward_model is not None:
        inputs["reward_model"] = str(run.hasher.md5(reward_model))
    key = training_key(method, params, inputs=inputs, template=template, system=policy.system, seed=run.params.seed)
    work = run.project.trainings / f"{name}-{key}"
    return key, Job(
        method=method,
        params=params,
        model=start.path,
        revision=start.hub_revision,
        base_name=start.identity,
        template=template,
        system=policy.system,
        rows=_rows_file(run, rows, work / "rows.parquet"),
        validation=None if validation is None else _rows_file(run, validation, work / "validation.parquet"),
        reward_model=reward_model,
        work=work,
        seed=run.params.seed,
        runtime=runtime.training.model_dump(),
        device=runtime.device,
        dtype=runtime.dtype,
    )


def _rows_file(run: Run, rows: pl.DataFrame, file: Path) -> Path:
    from spavl_dag.training.examples import write_rows

    write_rows(rows, run.table("images"), run.project.out("images"), file)
    return file


def _content(run: Run, rows: pl.DataFrame) -> str:
    """Hash of what is trained on: texts and image content, in order."""
    refs: Mapping[str, ImageRef] = run.image_refs()
    digest = hashlib.md5()
    columns = ("row_id", "question", "chosen", "rejected", "image_id")
    for row_id, question, chosen, rejected, image_id in rows.select(columns).iter_rows():
        parts = (row_id, question, chosen, rejected, refs[image_id].sha256)
        digest.update("\x1f".join(parts).encode("utf-8", "surrogatepass") + b"\x1e")
    return digest.hexdigest()


def _link(source: Path, target: Path) -> None:
    """The same files in both folders, on disk once where the file system can."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(file, place)


def _pictures(curve: Sequence[Mapping[str, float]]) -> dict[str, Picture]:
    drawn = {}
    for name in SHOWN_CURVES:
        points = [(row["step"], row[name]) for row in curve if name in row]
        if len(points) > 1:
            drawn[f"curve_{name}"] = line_chart(points, name.replace("_", " "), "step")
    return drawn
