"""DPO samples per second through this project, against a bare script of TRL with the same settings.

Run from the project root: `python benchmarks/dpo.py [--rounds 3] [--json]`. Both train the same tiny LLaVA on the same
rows in this process, in turns, so that whatever else the machine does meets both alike. Measured are the steps alone,
without imports, loading and saving. Takes two minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl
from PIL import Image

from spavl_dag.params.training import TrainingRuntime, read_experiment
from spavl_dag.training.examples import COLUMNS
from spavl_dag.training.job import Job
from spavl_dag.training.runner import train

TARGET = 0.97
ROWS = 320
BATCH = 16
TEMPLATE = "answer : {{ question }}"
OPTIMIZER: dict[str, Any] = {
    "learning_rate": 5e-4,
    "schedule": "cosine",
    "warmup_steps": 4,
    "batch_size": BATCH,
    "epochs": 1,
    "max_length": 256,
}
SEED = 1


def make_model(folder: Path) -> Path:
    """An untrained LLaVA of the size of the default world's, with its words."""
    import torch

    from spavl_dag.demo.model import build_model, build_processor, build_tokenizer, save_checkpoint
    from spavl_dag.params.pictograms import PictogramModelParams

    params = PictogramModelParams()
    tokenizer = build_tokenizer([f"word{number}" for number in range(700)] + ["answer", ":"])
    torch.manual_seed(SEED)
    save_checkpoint(build_model(tokenizer, params), build_processor(tokenizer, params), folder)
    return folder


def make_rows(folder: Path) -> Path:
    """Pairs of answers of 8 to 24 words about 60 pictures."""
    draw = random.Random(SEED)

    def words(least: int, most: int) -> str:
        return " ".join(f"word{draw.randrange(700)}" for _ in range(draw.randint(least, most)))

    pictures = []
    for index in range(60):
        colour = tuple(draw.randrange(256) for _ in range(3))
        file = folder / f"{index}.png"
        Image.new("RGB", (96, 96), colour).save(file)
        pictures.append((str(file), hashlib.sha256(file.read_bytes()).hexdigest()))
    rows = [(f"r{index:04}", words(4, 10), words(8, 24), words(8, 24), *pictures[index % 60]) for index in range(ROWS)]
    file = folder / "rows.parquet"
    pl.DataFrame(rows, schema=list(COLUMNS), orient="row").write_parquet(file)
    return file


class Stopwatch:
    """Seconds between the first step and the last."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, float]] = []

    def mark(self, step: int) -> None:
        """Note that so many steps are done."""
        self._marks.append((step, time.perf_counter()))

    @property
    def samples_per_second(self) -> float:
        """Of all steps but the first, which warms up."""
        (first, begin), (last, end) = self._marks[0], self._marks[-1]
        return (last - first) * BATCH / (end - begin)


def through_the_project(model: Path, rows: Path, work: Path) -> float:
    """Samples per second of `runner.train`."""
    watch = Stopwatch()
    job = Job(
        training=read_experiment(
            {
                "method": "dpo",
                "model": "base_model",
                "tuning": {"mode": "full", "train_projector": True},
                "optimizer": OPTIMIZER,
                "hyperparameters": {"beta": 0.1},
            }
        ),
        model=str(model),
        revision=None,
        base_name="base_model",
        template=TEMPLATE,
        system=None,
        rows=rows,
        validation=None,
        reward_model=None,
        work=work,
        seed=SEED,
        runtime=TrainingRuntime(per_device_batch=BATCH, checkpoint_every=1000),
        device="cpu",
    )

    def progress(label: str, done: int, _total: int) -> None:
        if label == job.method and done:
            watch.mark(done)

    train(job, progress)
    return watch.samples_per_second


def by_a_bare_script(model: Path, rows: Path, work: Path) -> float:
    """Samples per second of TRL used as its documentation shows, the vision tower frozen as here."""
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor, PrinterCallback, TrainerCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    watch = Stopwatch()

    class Mark(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.mark(state.global_step)

    def turn(role: str, text: str) -> list[dict[str, Any]]:
        return [{"role": role, "content": text}]

    table = pl.read_parquet(rows)
    dataset = Dataset.from_list(
        [
            {
                "prompt": turn("user", f"answer : {row['question']}"),
                "chosen": turn("assistant", row["chosen"]),
                "rejected": turn("assistant", row["rejected"]),
                "images": [Image.open(row["image"])],
            }
            for row in table.iter_rows(named=True)
        ]
    )
    policy = AutoModelForImageTextToText.from_pretrained(model)
    policy.model.vision_tower.requires_grad_(requires_grad=False)
    config = DPOConfig(
        output_dir=str(work),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=OPTIMIZER["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=4,
        beta=0.1,
        max_length=None,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        optim="adamw_torch",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        seed=SEED,
        dataloader_pin_memory=False,
    )
    trainer = DPOTrainer(
        model=policy,
        args=config,
        train_dataset=dataset,
        processing_class=AutoProcessor.from_pretrained(model),  # type: ignore[no-untyped-call]
        callbacks=[Mark()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return watch.samples_per_second


def main() -> int:
    """Measure, print, and exit with 1 where the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is asked of the Hub, and TRL tells it nothing
    busy = os.getloadavg()[0]
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory(prefix="spavl_dpo_") as name:
        folder = Path(name)
        model, rows = make_model(folder / "model"), make_rows(folder)
        for index in range(arguments.rounds):
            ours.append(through_the_project(model, rows, folder / f"ours_{index}"))
            bare.append(by_a_bare_script(model, rows, folder / f"bare_{index}"))
    # Of each pair of trainings that ran one after the other.
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    found = {
        "load_average_before": busy,
        "samples_per_second": {"project": ours, "bare": bare},
        "ratio": ratio,
        "target": TARGET,
        "met": ratio >= TARGET,
    }
    print(json.dumps(found, indent=2) if arguments.json else _table(found))
    return 0 if found["met"] else 1


def _table(found: dict[str, Any]) -> str:
    lines = [f"{os.cpu_count()} cores, load average before: {found['load_average_before']:.1f}"]
    for name, values in found["samples_per_second"].items():
        lines.append(f"{name:8} {', '.join(f'{value:.1f}' for value in values)} samples/s")
    verdict = "met" if found["met"] else "missed"
    return "\n".join([*lines, f"ratio    {found['ratio']:.3f}, target ≥ {TARGET}: {verdict}"])


if __name__ == "__main__":
    sys.exit(main())
