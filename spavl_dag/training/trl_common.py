"""What the methods of TRL share: the trainer's arguments, resuming, and what is left behind.

TRL runs the loop and knows the losses. Tokens come from `examples`, so that TRL's own way with chat templates, which
forgets begin and end tokens that a template doesn't write, is out of the game.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.loading import pick_device, pick_dtype
from spavl_dag.params.training import TrainedExperiment
from spavl_dag.progress import Progress
from spavl_dag.training.batches import split_batch
from spavl_dag.training.examples import PreferenceRow
from spavl_dag.training.job import Job
from spavl_dag.training.loop import deterministic, draw_seed
from spavl_dag.training.models import Loaded, load_base, save_weights
from spavl_dag.training.progress import Curve, CurveCallback
from spavl_dag.training.state import CHECKPOINTS, FINAL, file_hashes, is_intact, publish, publish_text, read_noted

if TYPE_CHECKING:
    from datasets import Dataset

COMMON_METRICS = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
"""Metrics of the curve, by what the trainers log."""

_TRAINED = "trained.safetensors"
_WHOLE = "whole"
"""A file that is put into a checkpoint last: the hashes of the others."""


class ExactStates:
    """Mixed into a trainer of TRL: what is trained is kept under the names it has in memory, and nothing else is told.

    Trainer saves a model as `save_pretrained` names it and, going on, leaves out without a word what has other names in
    memory: the whole of a LLaVA, which then starts from its first weights with the optimizer of its last.
    """

    model: Any
    args: Any
    state: TrainerState

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> _EpochOrder:
        inner = super()._get_train_sampler(*args, **kwargs)  # type: ignore[misc]
        return _EpochOrder(inner, self.args.data_seed, lambda: int(self.state.epoch or 0))

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Any] | None = None) -> None:
        assert output_dir is not None
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: param.detach().cpu().contiguous() for name, param in _trained(self.model).items()}
        save_file(tensors, folder / _TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        tensors = load_file(Path(resume_from_checkpoint) / _TRAINED)
        params = _trained(self.model)
        if set(tensors) != set(params):
            raise EngineError(
                f"the state in {resume_from_checkpoint} holds other weights than are trained now",
                "Remove the training's work folder to start anew.",
            )
        with torch.no_grad():
            for name, param in params.items():
                param.copy_(tensors[name])

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: checkpoints of a running training are nobody's to read."""

    def _send_telemetry(self) -> None:
        """Don't tell the Hub which trainer runs on which GPU; the user wasn't asked."""


class _EpochOrder(Sampler[int]):
    """A sampler whose order in each epoch depends on nothing but seed and epoch.

    That of GRPO and RLOO draws one order after the other, and that of several processes isn't told the epoch when a
    training goes on in the middle of one: both would go on with an order of the first epoch.
    """

    def __init__(self, inner: Any, seed: int, epoch: Callable[[], int]) -> None:
        self._inner = inner
        self._seed = seed
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self._inner.generator = torch.Generator().manual_seed(draw_seed(self._seed, self._epoch()) >> 1)
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)


def load_for(job: Job, processor: Any) -> Loaded:
    """The policy without adapters, with the processor that the examples were measured with."""
    torch.manual_seed(job.seed)
    loaded = load_base(job.model, job.revision, job.training.tuning, job.device, job.dtype)
    return replace(loaded, processor=processor)


def common_arguments(job: Job) -> dict[str, Any]:
    """Arguments that every trainer of TRL takes, from the job's params."""
    optimizer, runtime = job.training.optimizer, job.runtime
    device = pick_device(job.device)
    on_cpu = device.type == "cpu"
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as `accelerate launch` tells its processes
    per_device, accumulation = split_batch(optimizer.batch_size, runtime.per_device_batch, processes)
    return {
        "output_dir": str(job.work / CHECKPOINTS),
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": optimizer.epochs,
        "learning_rate": optimizer.learning_rate,
        "lr_scheduler_type": optimizer.schedule,
        "warmup_steps": optimizer.warmup_steps,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": optimizer.max_grad_norm,
        "optim": "adamw_torch",
        "bf16": pick_dtype(job.dtype, device) is torch.bfloat16,
        "use_cpu": on_cpu,
        "gradient_checkpointing": runtime.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if runtime.gradient_checkpointing else None,
        "seed": job.seed,
        "data_seed": job.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": runtime.checkpoint_every,
        # Two, so that there is a whole one while the next is written.
        "save_total_limit": 2,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
    }


def numbered(count: int) -> Dataset:
    """A dataset of row numbers; the collator turns them into tokens and pixels when they are needed.

    The column's name is what tells TRL that there are images, which it then leaves to the collator.
    """
    from datasets import Dataset

    return Dataset.from_dict({"image": list(range(count))})


class RowCollator:
    """Row numbers, as `numbered` has them, to model inputs."""

    def __init__(
        self, rows: Sequence[PreferenceRow], encode: Callable[[Sequence[PreferenceRow]], dict[str, Any]]
    ) -> None:
        """Keep the rows and what turns some of them into a batch."""
        self._rows = rows
        self._encode = encode

    def __call__(self, examples: Sequence[dict[str, int]]) -> dict[str, Any]:
        """The batch of the named rows."""
        return self._encode([self._rows[example["image"]] for example in examples])


def run_trainer(
    trainer: Any,
    job: Job,
    loaded: Loaded,
    translate: Callable[[Mapping[str, Any]], Mapping[str, float]],
    progress: Progress,
) -> None:
    """Train from the start, or from the newest whole checkpoint, and save what came of it.

    Args:
        trainer: A trainer of TRL, made with `common_arguments`.
        job: The job.
        loaded: What the trainer's model was made from.
        translate: From the trainer's logs to a row of the curve.
        progress: Told about steps.
    """
    main = trainer.accelerator.is_main_process
    checkpoints = job.work / CHECKPOINTS
    trainer.accelerator.wait_for_everyone()  # nobody saves before everybody has looked
    checkpoint = newest_whole(checkpoints)
    trainer.accelerator.wait_for_everyone()
    if main:
        _drop_broken(checkpoints)
        curve = Curve(job.work, 0 if checkpoint is None else _step(checkpoint))
        trainer.add_callback(CurveCallback(curve, translate, progress, job.method))
    trainer.add_callback(_MarkWhole(trainer.accelerator))
    trainer.remove_callback(PrinterCallback)
    with deterministic(trainer.args.device):
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if main:
        trained = replace(loaded, model=trainer.accelerator.unwrap_model(trainer.model))
        training = job.training
        assert isinstance(training, TrainedExperiment)
        publish(
            job.work / FINAL,
            lambda folder: save_weights(trained, folder, save=training.save, base_name=job.base_name),
        )
    trainer.accelerator.wait_for_everyone()


def newest_whole(checkpoints: Path) -> Path | None:
    """The checkpoint with the most steps that was written to its end and wasn't damaged since."""
    return max(filter(_is_whole, checkpoints.glob("checkpoint-*")), key=_step, default=None)


def _drop_broken(checkpoints: Path) -> None:
    for path in checkpoints.glob("checkpoint-*"):
        if not _is_whole(path):
            shutil.rmtree(path)


def _is_whole(checkpoint: Path) -> bool:
    hashes = read_noted(checkpoint / _WHOLE)
    return hashes is not None and is_intact(checkpoint, hashes)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: param for name, param in model.named_parameters() if param.requires_grad}


class _MarkWhole(TrainerCallback):
    """Marks a checkpoint once every process has written its part."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            publish_text(folder / _WHOLE, json.dumps(file_hashes(folder)))
