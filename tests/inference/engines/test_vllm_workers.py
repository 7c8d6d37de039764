"""Worker processes of the vllm engine: real processes, with a backend that needs neither vLLM nor a model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from counting_backend import FATAL, KILLED, REFUSED, UNREADABLE

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.vllm.fleet import Fleet
from spavl_dag.inference.engines.vllm.messages import Outcome, Row, Start
from spavl_dag.inference.request import Decoding

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent.parent
ENVIRONMENT = {"PYTHONPATH": f"{HERE}{os.pathsep}{CHECKOUT}"}
BACKEND = "counting_backend:CountingBackend"
GREEDY = Decoding(8)


@pytest.fixture
def opened() -> Iterator[Callable[..., Fleet]]:
    fleets: list[Fleet] = []

    def open_fleet(workers: int = 1, window: int = 40, backend: str = BACKEND, **settings: str) -> Fleet:
        fleets.append(Fleet("tiny", Start(backend, settings), [ENVIRONMENT] * workers, window))
        if not settings:
            assert fleets[-1].wait_until_ready() == 100
        return fleets[-1]

    yield open_fleet
    for fleet in fleets:
        fleet.close()


def rows(*texts: tuple[int, ...], first: int = 0) -> list[Row]:
    return [Row(first + number, tokens, (), number) for number, tokens in enumerate(texts)]


def all_of(fleet: Fleet, asked: list[Row]) -> dict[int, Outcome]:
    outcomes = [outcome for some in fleet.run(asked, GREEDY) for outcome in some]
    assert len({outcome.number for outcome in outcomes}) == len(outcomes)
    return {outcome.number: outcome for outcome in outcomes}


def is_gone(pid: int, seconds: float = 10) -> bool:
    for _ in range(int(seconds * 20) + 1):
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            with suppress(FileNotFoundError):
                if "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                    time.sleep(0.05)
                    continue
        return True
    return False


@pytest.mark.parametrize("workers", [1, 3])
def test_every_row_comes_back_once_and_bad_ones_take_no_other_with_them(
    opened: Callable[..., Fleet], workers: int
) -> None:
    fleet = opened(workers, window=7)
    good = [tuple(range(1, 1 + number % 9 + 1)) for number in range(200)]
    asked = rows(*good, (REFUSED,), (UNREADABLE,), tuple(range(99)))
    outcomes = all_of(fleet, asked)
    assert len(outcomes) == 203
    assert all(outcomes[number].tokens == good[number][::-1] for number in range(200))
    assert [outcomes[number].error for number in (200, 201, 202)] == ["refused", "no picture", "too long"]
    assert all_of(fleet, rows((5, 6), first=500))[500].tokens == (6, 5)  # and again
    assert all_of(fleet, []) == {}


def test_rows_are_read_no_further_than_there_is_room(opened: Callable[..., Fleet]) -> None:
    read = count()

    def endless() -> Iterator[Row]:
        for number in read:
            yield Row(number, (1, 2, 3), (), 0)

    fleet = opened(window=20)
    run = fleet.run(endless(), GREEDY)
    ended = 0
    for some in run:
        ended += len(some)
        if ended > 500:
            break
    assert next(read) <= ended + 20 + 1
    run.close()
    # What was given up on is forgotten, and not taken for rows of the next run.
    assert set(all_of(fleet, rows((7,), first=10**6))) == {10**6}


def test_a_worker_that_dies_costs_its_own_rows_and_is_started_again(opened: Callable[..., Fleet]) -> None:
    fleet = opened(window=8)
    before = fleet.pids
    outcomes = all_of(fleet, rows(*[(1, 2)] * 30, (KILLED,), *[(3, 4)] * 30))
    assert len(outcomes) == 61
    lost = [outcome for outcome in outcomes.values() if outcome.error]
    assert 1 <= len(lost) <= 8
    assert all(not outcome.is_permanent and "SIGKILL" in str(outcome.error) for outcome in lost)
    assert {outcome.tokens for outcome in outcomes.values() if not outcome.error} == {(2, 1), (4, 3)}
    assert fleet.pids != before
    assert is_gone(before[0])


def test_a_second_death_ends_the_run_in_words_and_all_that_came_is_kept(opened: Callable[..., Fleet]) -> None:
    fleet = opened(window=4)
    kept: list[Outcome] = []
    asked = rows(*[(1,)] * 20, (FATAL,), *[(1,)] * 20, (FATAL,), *[(1,)] * 20)
    with pytest.raises(EngineError, match="for the second time") as raised:
        kept.extend(outcome for some in fleet.run(asked, GREEDY) for outcome in some)
    assert "the device is lost" in raised.value.message
    assert sum(outcome.error is None for outcome in kept) >= 32
    assert all_of(fleet, rows((8, 9), first=100))[100].tokens == (9, 8)  # a later run has a worker again


def test_another_worker_goes_on_while_one_is_replaced(opened: Callable[..., Fleet]) -> None:
    fleet = opened(2, window=6)
    outcomes = all_of(fleet, rows((FATAL,), *[(1, 2, 3)] * 100))
    assert len(outcomes) == 101
    assert sum(outcome.error is not None for outcome in outcomes.values()) <= 6


def test_a_model_that_cannot_be_loaded_says_why(opened: Callable[..., Fleet]) -> None:
    words = "No available memory for KV cache blocks"
    with pytest.raises(EngineError, match=f"vLLM can't run tiny: ValueError: {words}") as raised:
        opened(fail=words).wait_until_ready()
    assert "max_model_len" in str(raised.value.hint)
    with pytest.raises(EngineError, match="no_such_module"):
        opened(backend="no_such_module:Backend")


def test_closing_ends_the_processes_in_the_middle_of_whatever_they_do(opened: Callable[..., Fleet]) -> None:
    fleet = opened(2, load="600")
    started = time.monotonic()
    fleet.close()
    assert time.monotonic() - started < 10
    assert all(is_gone(pid) for pid in fleet.pids)


def test_what_a_worker_started_ends_with_it(opened: Callable[..., Fleet], tmp_path: Path) -> None:
    child_file = tmp_path / "child"
    fleet = opened(child_file=str(child_file))
    fleet.wait_until_ready()
    first = int(child_file.read_text())
    assert not is_gone(first, 0.1)
    assert len(all_of(fleet, rows((1,), (KILLED,), (2,)))) == 3
    assert is_gone(first, 0)
    second = int(child_file.read_text())
    assert second != first
    fleet.close()
    assert is_gone(second, 0)


@pytest.mark.parametrize("settings", [{"load": "600"}, {"step": "600"}], ids=["loading", "computing"])
def test_a_killed_parent_leaves_no_orphan(tmp_path: Path, settings: dict[str, str]) -> None:
    pid_file, child_file = tmp_path / "pid", tmp_path / "child"
    settings = settings | {"pid_file": str(pid_file), "child_file": str(child_file)}
    code = (
        "from spavl_dag.inference.engines.vllm.fleet import Fleet\n"
        "from spavl_dag.inference.engines.vllm.messages import Row, Start\n"
        "from spavl_dag.inference.request import Decoding\n"
        f"fleet = Fleet('tiny', Start({BACKEND!r}, {settings!r}), [{ENVIRONMENT!r}], 4)\n"
        "fleet.wait_until_ready()\n"
        "list(fleet.run([Row(0, (1,), (), 0)], Decoding(8)))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT)
    try:
        for _ in range(400):
            if child_file.exists() and child_file.read_text():
                break
            time.sleep(0.05)
        worker, child = int(pid_file.read_text()), int(child_file.read_text())
        time.sleep(0.3)
        assert not is_gone(worker, 0.1)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert is_gone(worker)
        assert is_gone(child)
    finally:
        parent.kill()
        parent.wait()
