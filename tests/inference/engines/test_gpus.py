"""GPUs: which are there, and who has them. No GPU is needed: they are names."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.gpus import GpusBusyError, pick_gpus, take_gpus, visible_gpus


@pytest.mark.parametrize(
    ("value", "seen"),
    [("0,1", ["0", "1"]), ("GPU-5e, MIG-2", ["GPU-5e", "MIG-2"]), ("", []), ("-1", []), ("3,-1,1", ["3"])],
)
def test_gpus_are_those_that_cuda_would_see(value: str, seen: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == seen


def test_numbers_count_within_what_is_visible() -> None:
    assert pick_gpus([0, 2], 2, ["4", "5", "6"]) == ["4", "6"]
    assert pick_gpus(None, 1, ["4", "5"]) == ["4", "5"]
    with pytest.raises(EngineError, match="names GPU 3, but there are 3 GPUs here"):
        pick_gpus([0, 3], 1, ["4", "5", "6"])
    with pytest.raises(EngineError, match=r"needs 4 GPUs .* may use 2"):
        pick_gpus(None, 4, ["0", "1"])


def test_each_takes_free_ones_and_waits_where_there_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = take_gpus(["0", "1", "2"], 2, tmp_path)
    second = take_gpus(["0", "1", "2"], 1, tmp_path)
    assert (first.names, second.names) == (("0", "1"), ("2",))
    with pytest.raises(GpusBusyError, match="too many of the GPUs 0, 1: 2 are needed"):
        take_gpus(["0", "1"], 2, tmp_path, wait=False)
    got = []

    def take() -> None:
        lease = take_gpus(["0", "1"], 2, tmp_path)
        got.append(lease.names)
        lease.release()

    waiting = threading.Thread(target=take)
    waiting.start()
    while "waiting" not in caplog.text:
        time.sleep(0.01)
    assert not got
    first.release()
    waiting.join(10)
    assert got == [("0", "1")]
    second.release()


def test_a_process_that_is_killed_gives_its_gpus_back(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from spavl_dag.inference.engines.gpus import take_gpus\n"
        "lease = take_gpus(['0'], 1, pathlib.Path(sys.argv[1])); print('has it', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "has it\n"
        other.kill()
        started = time.monotonic()
        assert take_gpus(["0"], 1, tmp_path).names == ("0",)
        assert time.monotonic() - started < 10
    finally:
        other.kill()
        other.communicate()
