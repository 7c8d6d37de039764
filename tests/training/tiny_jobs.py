"""Jobs of the trainers of our own, on a tiny random LLaVA: pairs whose better answer can be told by its words."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.inference.request import ImageRef
from spavl_dag.training.examples import COLUMNS, Encoder, PreferenceRow, read_rows
from spavl_dag.training.job import Job
from spavl_dag.training.models import load_processor
from spavl_dag.training.versions import Method
from tests.inference.engines.tiny_llava import picture

GOOD = [f"word{number}" for number in range(20)]
BAD = [f"word{number}" for number in range(100, 120)]
TEMPLATE = "{{ question }}"
FULL: dict[str, Any] = {"mode": "full", "train_projector": True}
LORA: dict[str, Any] = {"mode": "lora", "train_projector": True, "lora": {"rank": 8, "alpha": 16}}
OPTIMIZER: dict[str, Any] = {
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 2,
    "batch_size": 8,
    "epochs": 2,
    "max_length": 96,
}
PPO: dict[str, Any] = {
    "kl_coefficient": 0.02,
    "gamma": 1.0,
    "gae_lambda": 1.0,
    "clip": 0.2,
    "value_clip": 0.2,
    "value_weight": 0.1,
    "ppo_epochs": 2,
    "temperature": 1.0,
    "max_new_tokens": 8,
}


def write_pairs(folder: Path, count: int, seed: int, name: str = "rows.parquet") -> Path:
    """Pairs of answers of good and of bad words, of various lengths, and a file per picture."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        image = folder / f"{seed}-{index % 8}.png"
        if not image.is_file():
            ref: ImageRef = picture(seed + index % 8)
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(ref.read())
        question = " ".join(f"word{draw.randrange(200, 240)}" for _ in range(draw.randrange(2, 6)))
        chosen, rejected = (" ".join(draw.choices(words, k=draw.randrange(2, 7))) for words in (GOOD, BAD))
        sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
        rows.append((f"r{seed}-{index:03}", question, chosen, rejected, str(image), sha256))
    pl.DataFrame(rows, schema=list(COLUMNS), orient="row").write_parquet(folder / name)
    return folder / name


def make_job(
    method: Method,
    checkpoint: Path,
    folder: Path,
    *,
    tuning: Mapping[str, Any] = FULL,
    reward_model: Path | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    runtime: Mapping[str, Any] | None = None,
    pairs: int = 32,
    seed: int = 3,
    **optimizer: Any,
) -> Job:
    """A job whose rows lie in `folder` and whose work is `folder / "work"`."""
    stepped = OPTIMIZER | optimizer
    common = {"model": "base_model", "tuning": dict(tuning), "optimizer": stepped}
    chosen = dict(PPO if hyperparameters is None else hyperparameters)
    return Job(
        training=common if method == "reward" else common | {"method": method, "hyperparameters": chosen},
        model=str(checkpoint),
        revision=None,
        base_name="base_model",
        template=TEMPLATE,
        system=None,
        rows=write_pairs(folder, pairs, 1),
        validation=write_pairs(folder, 24, 2, "validation.parquet") if method == "reward" else None,
        reward_model=reward_model,
        work=folder / "work",
        seed=seed,
        runtime={"per_device_batch": 4, "checkpoint_every": 3} | dict(runtime or {}),
        device="cpu",
        dtype="float32",
    )


def rows_and_encoder(job: Job) -> tuple[list[PreferenceRow], Encoder]:
    """What the runner hands to a trainer."""
    processor, end_tokens, _ = load_processor(job.model, job.revision)
    return read_rows(job.rows), Encoder(processor, job.template, job.system, 96, end_tokens)


def nothing(label: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""
