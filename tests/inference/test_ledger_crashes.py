"""Real processes: killed while they append, appending at once, and creating the file at once."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ledger_rows import key, row

from spavl_dag.inference.ledger import Ledger

# Appends batches of 40 for ever (or a number of them); says the number of a batch once append has returned.
WRITER = """
import itertools, sys
from pathlib import Path
from ledger_rows import row
from spavl_dag.inference.ledger import Ledger
path, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
numbers = range(first, first + count) if count else itertools.count(first)
with Ledger(path, f"run-{first}") as ledger:
    print("open", flush=True)
    for batch in numbers:
        ledger.append([row(batch * 40 + n, prompt="x" * 3_000) for n in range(40)])
        print(batch, flush=True)
"""


def start(path: Path, first: int, count: int = 0) -> "subprocess.Popen[str]":
    """A process that appends."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent)])}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, rng, batches = tmp_path / "ledger.db", random.Random(0), 0
    for _ in range(10):
        with start(path, first=batches) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.15))
            writer.send_signal(signal.SIGKILL)
            said = [int(line) for line in writer.stdout.read().splitlines()]
        with Ledger(path) as ledger:
            total = ledger.count()
            assert total % 40 == 0, "a part of a batch is there"
            acknowledged = said[-1] + 1 if said else batches
            # The kill may fall between the commit and the word about it.
            assert acknowledged <= total // 40 <= acknowledged + 1
            batches = total // 40
            assert ledger.missing([key(n) for n in range(total + 1)]) == [key(total)]
            assert sum(line.calls for line in ledger.summary()) == total
    with Ledger(path) as ledger:
        assert ledger.repeated_calls() == 0
        assert len(ledger.fetch_outputs([key(n) for n in range(total)])) == total
        assert ledger._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert batches > 10


def test_processes_create_and_append_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    writers = [start(path, first, count=60) for first in (0, 60, 120)]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with Ledger(path) as ledger:
        assert ledger.count() == 3 * 60 * 40
        assert [ledger.calls_of_run(f"run-{first}") for first in (0, 60, 120)] == [2_400] * 3
        assert ledger.missing([key(n) for n in range(7_201)]) == [key(7_200)]
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def has_recover() -> bool:
    """Whether there is a sqlite3 shell with .recover; Debian 12's, for one, lacks it."""
    if shutil.which("sqlite3") is None:
        return False
    return subprocess.run(["sqlite3", ":memory:", ".recover"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_recover(), reason="needs a sqlite3 shell with .recover")
def test_the_mend_in_the_hint_works(tmp_path: Path) -> None:
    path, fixed = tmp_path / "ledger.db", tmp_path / "fixed.db"
    weird = "nul \0 and surrogate \ud800"
    with Ledger(path) as ledger:
        ledger.append([row(n, text=weird, prompt="x" * 1_000) for n in range(300)])
        ledger.append([row(n) for n in range(300, 400)])
    script = subprocess.run(["sqlite3", path, ".recover"], capture_output=True, check=True).stdout
    subprocess.run(["sqlite3", fixed], input=script, check=True)
    with Ledger(fixed) as ledger:
        assert ledger.count() == 400
        assert ledger.fetch([key(7)])[key(7)].text == weird
        ledger.append([row(400)])
        assert ledger.missing([key(n) for n in range(402)]) == [key(401)]
