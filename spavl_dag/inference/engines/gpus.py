"""Which GPUs this machine has, and which of them an engine has for itself.

Several processes, such as the steps of a Dagster run, may open engines at the same time. Each takes GPUs that no other
holds, by a lock per GPU that the system releases when its holder ends, in whatever way; or waits until some are free.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from spavl_dag.errors import EngineError

_LOG = logging.getLogger(__name__)
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LOOK_AGAIN = 1.0
"""Seconds between two looks at GPUs that others hold."""


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; `gpus: [0]` is the first of them."""
    if _VISIBLE in environment:
        names = [name.strip() for name in environment[_VISIBLE].split(",")]
        usable = names[: names.index("-1")] if "-1" in names else names
        return list(filter(None, usable))
    try:  # not torch, which would take memory of a GPU for itself
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [match.group(1) for match in re.finditer(r"^GPU (\d+):", listed, re.MULTILINE)]


def pick_gpus(wanted: Sequence[int] | None, count: int, visible: Sequence[str]) -> list[str]:
    """The GPUs that an engine may use.

    Args:
        wanted: Their numbers among the visible ones; None for all.
        count: How many it needs.
        visible: Names of those that are there.

    Raises:
        EngineError: There is no such GPU, or there are too few.
    """
    missing = [number for number in wanted or () if number >= len(visible)]
    if missing:
        raise EngineError(
            f"runtime.engines.<name>.gpus names GPU {missing[0]}, but there are {len(visible)} GPUs here",
            f"They are counted from 0, within {_VISIBLE} where it is set.",
        )
    picked = list(visible) if wanted is None else [visible[number] for number in wanted]
    if len(picked) < count:
        raise EngineError(
            f"the engine needs {count} GPUs (tensor_parallel_size times data_parallel_size), but may use {len(picked)}",
            "Lower these in runtime.engines.<name>, or name more gpus there.",
        )
    return picked


@dataclass(frozen=True)
class GpuLease:
    """GPUs that nobody else has, until `release`.

    Attributes:
        names: As CUDA_VISIBLE_DEVICES names them.
    """

    names: tuple[str, ...]
    _locks: tuple[FileLock, ...]

    def release(self) -> None:
        """Let others have them."""
        for lock in self._locks:
            lock.release()


class GpusBusyError(EngineError):
    """Other processes hold the GPUs that are needed."""


def take_gpus(names: Sequence[str], count: int, folder: Path | None = None, *, wait: bool = True) -> GpuLease:
    """Take so many of these GPUs.

    Args:
        names: GPUs that will do.
        count: How many are needed.
        folder: Where locks lie; by default one that all processes of this user share.
        wait: Whether to wait where others hold them. Who has GPUs must not wait for more: the other may wait for those.

    Raises:
        GpusBusyError: There are too few, and it wasn't to wait.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"spavl-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True, mode=0o700)
    locks = {name: FileLock(folder / f"{re.sub('[^A-Za-z0-9-]', '_', name)}.lock") for name in names}
    waits = False
    while (lease := _take_free(locks, count, folder)) is None:
        busy = f"other processes hold too many of the GPUs {', '.join(names)}: {count} are needed"
        if not wait:
            raise GpusBusyError(busy, "Wait for them, or name other gpus in runtime.engines.<name>.")
        if not waits:
            _LOG.warning("%s; waiting", busy)
            waits = True
        time.sleep(_LOOK_AGAIN)
    return lease


def _take_free(locks: Mapping[str, FileLock], count: int, folder: Path) -> GpuLease | None:
    """Take so many that nobody holds, or none."""
    held: dict[str, FileLock] = {}
    # One process looks at a time: two that each held a half of what the other needs would wait for ever.
    with FileLock(folder / "all.lock"):
        for name, lock in locks.items():
            if len(held) < count:
                with suppress(Timeout):
                    lock.acquire(timeout=0)
                    held[name] = lock
        if len(held) == count:
            return GpuLease(tuple(held), tuple(held.values()))
        for lock in held.values():
            lock.release()
    return None
