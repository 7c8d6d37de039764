"""How a batch of an optimizer step is spread over processes and forward passes."""

from __future__ import annotations

from spavl_dag.errors import ParamsError


def split_batch(batch_size: int, per_device: int, processes: int) -> tuple[int, int]:
    """Spread a batch evenly.

    Args:
        batch_size: Rows per optimizer step, over all processes.
        per_device: Most rows per process and forward pass.
        processes: Number of processes.

    Returns:
        Rows per process and forward pass, and forward passes that accumulate.

    Raises:
        ParamsError: It can't be spread evenly.
    """
    share, rest = divmod(batch_size, processes)
    if rest:
        raise ParamsError(
            f"optimizer.batch_size {batch_size} can't be spread over {processes} processes evenly",
            f"Use a multiple of {processes}.",
        )
    size = min(per_device, share)
    if share % size:
        raise ParamsError(
            f"optimizer.batch_size {batch_size} is {share} rows for each of {processes} processes, which isn't a "
            f"multiple of runtime.training.per_device_batch {per_device}",
            f"Use a per_device_batch that divides {share}.",
        )
    return size, share // size
