"""Joining ledgers: nothing that was paid for is lost, nothing counts twice, what was projected stays as it is."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_rows import key, row

from spavl_dag.cli.ledger import merge_ledgers
from spavl_dag.inference.ledger import CallRow, Ledger, LedgerError, Merged
from spavl_dag.states import CallState


def ledger_of(path: Path, *batches: list[CallRow]) -> Path:
    with Ledger(path, path.stem) as ledger:
        for batch in batches:
            ledger.append(batch)
    return path


def test_what_is_new_comes_over_whole_and_what_was_first_counts(tmp_path: Path) -> None:
    mine = ledger_of(tmp_path / "mine.db", [row(1), row(2, text="mine"), row(3, CallState.TRANSIENT_ERROR)])
    weird = row(4, text="nul \0 and half \ud800", artifact="captions", partition=None, profile="p \0")
    theirs = ledger_of(
        tmp_path / "theirs.db",
        [row(1), row(2, text="theirs"), row(3)],
        [weird, row(5, CallState.TRANSIENT_ERROR), row(6, CallState.REFUSED), row(6, text="later")],
    )
    with Ledger(theirs) as other:
        rows = {each.key: each for each in other.fetch([key(n) for n in range(1, 7)]).values()}
        lines = other.summary()
    with Ledger(mine) as ledger:
        before = ledger.summary()
        assert ledger.merge([theirs]) == [Merged(new=3, known=1, conflicting=2)]
        found = ledger.fetch([key(n) for n in range(1, 7)])
        assert found[key(2)].text == "mine"
        for number in (3, 4, 5, 6):
            assert found[key(number)] == rows[key(number)]  # its run and its time, too
        assert found[key(1)].run_id == "mine"
        assert ledger.missing([key(n) for n in range(1, 8)]) == [key(5), key(7)]
        assert ledger.count() == 10
        assert sum(line.cost_usd for line in ledger.summary()) == sum(line.cost_usd for line in before + lines)
        assert ledger.calls_of_run("theirs") == 7
        assert [each.text for each in ledger.attempts(key(2))] == ["mine", "theirs"]


def test_merging_again_brings_nothing(tmp_path: Path) -> None:
    one = ledger_of(tmp_path / "one.db", [row(1)])
    two = ledger_of(tmp_path / "two.db", [row(1, text="other"), row(2)], [row(3, CallState.TRANSIENT_ERROR)])
    copy = Path(shutil.copy(two, tmp_path / "copy.db"))
    with Ledger(one) as ledger:
        assert ledger.merge([two, copy, two]) == [Merged(1, 0, 1), Merged(0, 2, 0), Merged(0, 2, 0)]
        assert ledger.merge([copy]) == [Merged(0, 2, 0)]
        assert ledger.count() == 4
    with Ledger(two) as ledger:  # and the other way round, each keeps what it had first
        assert ledger.merge([one]) == [Merged(0, 2, 1)]
        assert ledger.fetch([key(1)])[key(1)].text == "other"


def test_a_ledger_of_the_version_before_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as db:
        db.executescript((Path(__file__).parent / "ledger_of_schema_1.sql").read_text(encoding="utf-8"))
    before = old.read_bytes()
    with Ledger(tmp_path / "new.db") as ledger:
        assert ledger.merge([old]) == [Merged(18, 0, 0)]
        assert ledger.calls_of_run("run-of-aedc1d8") == 19
    assert old.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.db", "old.db"]


states = st.sampled_from(CallState)
batches = st.lists(
    st.lists(st.tuples(st.integers(0, 6), states, st.sampled_from("abc")), min_size=1, max_size=4), max_size=4
)


@settings(max_examples=12, deadline=None)
@given(st.lists(batches, min_size=1, max_size=3))
def test_any_ledgers_come_together_as_if_one_had_written_them_in_order(content: list) -> None:
    asked = [key(n) for n in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, each in enumerate(content):
            made = [[row(n, state, text=text) for n, state, text in batch] for batch in each]
            files.append(ledger_of(Path(folder) / f"{number}.db", *made))
        everything = [row(n, state, text=text) for each in content for batch in each for n, state, text in batch]
        with Ledger(files[0]) as merged, Ledger(Path(folder) / "expected.db") as expected:
            told = merged.merge(files[1:])
            expected.append(everything)
            assert merged.missing(asked) == expected.missing(asked)
            assert merged.fetch_outputs(asked) == expected.fetch_outputs(asked)
            assert merged.count() == len(everything)
            assert merged.repeated_calls() == expected.repeated_calls()
            for each, counts in zip(content[1:], told, strict=True):
                assert sum(counts) == sum(state.is_final for batch in each for _, state, _ in batch)
            assert merged.merge(files[1:]) == [Merged(0, sum(counts), 0) for counts in told]


def test_what_cannot_be_merged_is_named_before_anything_is(tmp_path: Path) -> None:
    mine, good = ledger_of(tmp_path / "mine.db", [row(1)]), ledger_of(tmp_path / "good.db", [row(2)])
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"x" * 10_000)
    linked = tmp_path / "linked.db"
    linked.symlink_to(mine)
    with Ledger(mine) as ledger:
        for bad, told in (
            (tmp_path / "gone.db", r"gone\.db is not there"),
            (tmp_path, "is not there"),
            (junk, r"junk\.db is damaged"),
            (mine, "is the ledger itself"),
            (linked, "is the ledger itself"),
        ):
            with pytest.raises(LedgerError, match=told):
                ledger.merge([good, bad])
        assert ledger.count() == 1


def test_rows_that_are_damaged_stop_it_and_what_came_before_stays(tmp_path: Path) -> None:
    mine = ledger_of(tmp_path / "mine.db", [row(1)])
    large = [[row(batch * 4_000 + n) for n in range(4_000)] for batch in range(6)]
    theirs = ledger_of(tmp_path / "theirs.db", *large)
    with closing(sqlite3.connect(theirs)) as db:
        db.execute("DROP TRIGGER calls_no_update")
        db.execute("UPDATE calls SET key = x'00' WHERE id = 20000")
        db.commit()
    with Ledger(mine) as ledger:
        with pytest.raises(LedgerError, match=r"theirs\.db is damaged"):
            ledger.merge([theirs])
        assert ledger.count() == 12_001  # the first transaction of three batches
        assert ledger.missing([key(n) for n in range(12_001)]) == [key(12_000)]


MERGER = """
import sys
from pathlib import Path
from spavl_dag.inference.ledger import Ledger
with Ledger(Path(sys.argv[1])) as ledger:
    print("open", flush=True)
    ledger.merge([Path(sys.argv[2])])
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_at_any_moment_it_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    path, rng = tmp_path / "mine.db", random.Random(1)
    theirs = ledger_of(tmp_path / "theirs.db", *([row(batch * 500 + n) for n in range(500)] for batch in range(100)))
    seen = [0]
    for _ in range(4):
        command = [sys.executable, "-c", MERGER, str(path), str(theirs)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
        ) as merger:
            assert merger.stdout is not None
            merger.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.6))
            merger.send_signal(signal.SIGKILL)
        with Ledger(path) as ledger:
            seen.append(ledger.count())
    assert seen == sorted(seen)
    assert all(count % 500 == 0 for count in seen)
    with Ledger(path) as ledger:
        (told,) = ledger.merge([theirs])
        assert sum(told) == ledger.count() == 50_000
        assert ledger.repeated_calls() == 0
        assert ledger.missing([key(n) for n in range(50_001)]) == [key(50_000)]


def test_the_command_says_what_each_file_brought(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ledger_of(tmp_path / "one [old].db", [row(n) for n in range(3)])
    two = ledger_of(tmp_path / "two.db", [row(2), row(1, text="other"), row(7)])
    merge_ledgers(tmp_path / "new" / "ledger.db", [one, two])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{one}: 3 new, 0 already here"
    assert told[1] == f"{two}: 1 new, 1 already here, 1 with another result here, which goes on to count"
    assert told[2] == f"6 calls in {tmp_path / 'new' / 'ledger.db'}"
