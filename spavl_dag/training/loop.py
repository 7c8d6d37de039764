"""What training loops of our own share: order of rows, optimizer and schedule, devices, and states to go on from.

Everything random is a function of the seed and the step, so a state needs no generator and a training that was killed
goes on to the same weights.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState, PartialState
from torch import nn
from transformers import get_scheduler

from spavl_dag.errors import SpavlError
from spavl_dag.inference.engines.loading import pick_device
from spavl_dag.params.training import OptimizerParams
from spavl_dag.training.batches import split_batch
from spavl_dag.training.state import file_hashes, is_intact, read_noted

_STATE_FILE = "state.json"


class NotFiniteError(SpavlError):
    """A training left the finite numbers."""


class RowOrder:
    """An endless sequence of rows: all of them in an order drawn for each epoch, one epoch after the other."""

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def batch(self, step: int, size: int) -> list[int]:
        """Indices of the `size` rows of a step, from 0; a batch may reach over the end of an epoch."""
        return [self._at(position) for position in range(step * size, (step + 1) * size)]

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, self._rows)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._rows).tolist()
        return self._order[place]


def draw_seed(*parts: int) -> int:
    """A 64-bit seed that depends on all of the given numbers, such as seed, step and row."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def count_steps(rows: int, optimizer: OptimizerParams) -> int:
    """Batches in all epochs, the last one filled up; at least one."""
    return max(1, math.ceil(rows * optimizer.epochs / optimizer.batch_size))


def make_accelerator(device: str, dtype: torch.dtype, batch_size: int, per_device: int) -> tuple[Accelerator, int]:
    """The devices of this training: one, or all of `accelerate launch`.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:<n>".
        dtype: What is computed in.
        batch_size: Rows per optimizer step over all devices.
        per_device: Most rows per device and forward pass.

    Returns:
        The accelerator, and the rows per device and forward pass; it counts the passes of a step.

    Raises:
        ParamsError: The batch can't be cut evenly.
    """
    on_cpu = pick_device(device).type == "cpu"
    # Both are singletons of the process; an earlier training may have left them with other settings.
    AcceleratorState._reset_state(reset_partial_state=True)
    processes = PartialState(cpu=on_cpu).num_processes
    rows, passes = split_batch(batch_size, per_device, processes)
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if dtype is torch.bfloat16 else "no",
        gradient_accumulation_steps=passes,
    )
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None:  # there is no data loader that it could be read from
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = rows
    return accelerator, rows


def make_optimizer(
    groups: Iterable[tuple[Sequence[nn.Parameter], float]], optimizer: OptimizerParams, steps: int
) -> tuple[torch.optim.AdamW, Any]:
    """AdamW and its schedule; only matrices decay.

    Args:
        groups: Parameters with their peak learning rate.
        optimizer: Schedule, warm-up and decay.
        steps: Optimizer steps in all.
    """
    settings = []
    for params, rate in groups:
        for decays in (True, False):
            part = [param for param in params if param.requires_grad and (param.ndim >= 2) is decays]
            if part:
                decay = optimizer.weight_decay if decays else 0.0
                settings.append({"params": part, "lr": rate, "weight_decay": decay})
    adamw = torch.optim.AdamW(settings)
    share = optimizer.warmup_steps
    warmup = math.ceil(share * steps) if share < 1 else int(share)
    return adamw, get_scheduler(optimizer.schedule, adamw, num_warmup_steps=warmup, num_training_steps=steps)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [param for param in module.parameters() if param.requires_grad]


def enable_checkpointing(network: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them."""
    network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """The same sums in the same order, on the processor: a resumed training gives the same bits."""
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=before[0] or device.type == "cpu")
    # A safeguard against reading what was never written, which costs half of a step in TRL's large buffers.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before[0])
        settings.fill_uninitialized_memory = before[1]


class States:
    """Whole states of a training, so that a kill at any moment costs the steps since the last one at most.

    A state is written beside its place and renamed; frozen weights are not in it, they come from the base model.
    """

    def __init__(self, accelerator: Accelerator, work: Path, scheduler: Any) -> None:
        """CurveCallback over a training whose model and optimizer the accelerator has prepared.

        Args:
            accelerator: Holds model and optimizer.
            work: Folder of the training's state.
            scheduler: Of the learning rate.
        """
        self._accelerator = accelerator
        self._folder = work / "states"
        self._scheduler = scheduler
        accelerator.register_save_state_pre_hook(_without_frozen)

    def save(self, step: int, extra: Mapping[str, float]) -> None:
        """Keep the state after `step` steps, and let go of the one before.

        Args:
            step: Steps that are done.
            extra: Other numbers that the training goes on with.
        """
        unfinished = self._folder / f"unfinished-{step}"
        if self._accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(unfinished), exclude_frozen_parameters=True)
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            content = {"step": step, "schedule": self._scheduler.state_dict(), "extra": dict(extra)}
            content["files"] = file_hashes(unfinished)
            (unfinished / _STATE_FILE).write_text(json.dumps(content), encoding="utf-8")
            old = self._whole()
            unfinished.rename(self._folder / f"step-{step}")
            for folder in old:
                shutil.rmtree(folder)
        self._accelerator.wait_for_everyone()

    def restore(self) -> tuple[int, dict[str, float]]:
        """Load the newest whole state; returns its step and extra numbers, or 0 and nothing if there is none."""
        whole = {folder: content for folder in self._folder.glob("step-*") if (content := _content(folder))}
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:  # what is damaged must not be in the way of the state of the same step
            for folder in set(self._folder.glob("step-*")) - whole.keys():
                shutil.rmtree(folder)
        if not whole:
            return 0, {}
        newest = max(whole, key=lambda folder: int(folder.name.removeprefix("step-")))
        # Frozen weights are missing from the state.
        deepspeed = self._accelerator.distributed_type is DistributedType.DEEPSPEED
        self._accelerator.load_state(str(newest), **{"load_module_strict" if deepspeed else "strict": False})
        content = whole[newest]
        self._scheduler.load_state_dict(content["schedule"])
        return content["step"], content["extra"]

    def clear(self) -> None:
        """Let go of all states: the training is finished."""
        if self._accelerator.is_main_process:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _whole(self) -> list[Path]:
        return [file.parent for file in self._folder.glob(f"step-*/{_STATE_FILE}")]


def _content(folder: Path) -> dict[str, Any] | None:
    """What a state notes of itself; None for one that was damaged since, or has no note of its files."""
    content = read_noted(folder / _STATE_FILE)
    return content if content and is_intact(folder, content.get("files", {_STATE_FILE: ""})) else None


def _without_frozen(models: list[nn.Module], weights: list[dict[str, Any]], folder: str) -> None:
    """Leave out of the states' weights what isn't trained."""
    for model, kept in zip(models, weights, strict=False):  # DeepSpeed writes its own; then there are no weights here
        trained = {name for name, param in model.named_parameters() if param.requires_grad}
        for name in [name for name in kept if name not in trained]:
            del kept[name]
