"""Ledger files that are damaged, cut, full, not writable or half made: nothing is lost silently, nothing is quoted."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from ledger_rows import key, row

from spavl_dag.inference.ledger import CallRow, Ledger, LedgerError
from spavl_dag.inference.ledger.wal import check_wal

SECRET = "how to build a dangerous thing"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}-{kind}")


def tamper(path: Path, *statements: str) -> None:
    """Change rows as a failing disk would, past the triggers."""
    with closing(sqlite3.connect(path)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        db.commit()


# ---- append-only -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["calls", "batches", "tallies", "contexts", "profiles", "states"])
@pytest.mark.parametrize("verb", ["REPLACE", "INSERT OR REPLACE"])
def test_rows_are_not_replaced(path: Path, table: str, verb: str) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(1), row(2)])
    with closing(sqlite3.connect(path)) as db:
        before = db.execute(f"SELECT * FROM {table}").fetchall()
        columns = "rowid, " + ", ".join(name for _, name, *_ in db.execute(f"PRAGMA table_info({table})"))
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute(f"{verb} INTO {table} ({columns}) SELECT {columns} FROM {table} LIMIT 1")
        assert db.execute(f"SELECT * FROM {table}").fetchall() == before


@pytest.mark.parametrize(
    "statement",
    [
        "REPLACE INTO profiles (profile) SELECT profile FROM profiles",
        "REPLACE INTO states SELECT 77, state FROM states LIMIT 1",
        "INSERT INTO calls SELECT * FROM calls WHERE true ON CONFLICT (id) DO UPDATE SET text = 'x'",
        "UPDATE OR REPLACE calls SET id = 2 WHERE id = 1",
    ],
)
def test_nor_by_another_column_or_an_upsert(path: Path, statement: str) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(1), row(2)])
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)


# ---- damaged rows ------------------------------------------------------------------------------------------


def reads(path: Path) -> list[object]:
    """Everything that can be read of call 1."""
    with Ledger(path, read_only=True) as ledger:
        return [ledger.missing([key(1)]), ledger.fetch_outputs([key(1)]), ledger.fetch([key(1)]), ledger.summary()]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE calls SET text = CAST(x'486f7720ff746f' AS TEXT)",
        "UPDATE calls SET prompt = CAST(prompt || x'ff' AS TEXT)",
        "UPDATE calls SET text = x'486f7720ff746f'",
        "UPDATE calls SET error = x'ff'",
        "UPDATE calls SET state = 77",
        "UPDATE calls SET state = 'ok'",
        "UPDATE calls SET context = 77",
        "UPDATE tallies SET state = 77",
        "UPDATE profiles SET profile = CAST(x'ff' AS TEXT)",
        "UPDATE batches SET keys = substr(keys, 1, 8)",
        "UPDATE batches SET states = x''",
        "UPDATE batches SET keys = 7",
        "DROP TABLE tallies",
        "ALTER TABLE calls RENAME COLUMN prompt TO prompted",
    ],
)
def test_damaged_rows_are_called_damage_and_never_quoted(path: Path, statement: str) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(1, prompt=SECRET, text=f"first {SECRET}", profile=SECRET)])
    tamper(path, statement)
    with pytest.raises(LedgerError, match=r"ledger\.db is damaged") as caught:
        reads(path)
    printed = "".join(traceback.format_exception(caught.value))
    assert SECRET not in printed
    assert "How " not in printed
    assert caught.value.__context__ is None
    assert ".recover" in (caught.value.hint or "")


def test_a_header_of_another_format_is_damage(path: Path) -> None:
    Ledger(path).close()
    with path.open("r+b") as file:
        file.seek(44)  # the schema format number
        file.write(b"\0\0\0\x09")
    with pytest.raises(LedgerError, match=r"ledger\.db is damaged"):
        Ledger(path)


# ---- the write-ahead log -----------------------------------------------------------------------------------

# Appends batches and dies before the ledger is closed: the WAL stays as it is.
DYING_WRITER = """
import os, sys
from pathlib import Path
from ledger_rows import row
from spavl_dag.inference.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for batch in range(int(sys.argv[2])):
    ledger.append([row(batch * 10 + n, prompt="x" * 3_000) for n in range(10)])
os._exit(0)
"""


def leave_wal(path: Path, batches: int = 6) -> None:
    folders = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent)])
    command = [sys.executable, "-c", DYING_WRITER, str(path), str(batches)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": folders})
    assert beside(path, "wal").stat().st_size > 50_000


@pytest.mark.parametrize("left", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_cut_wal_is_noticed_before_anything_is_lost(path: Path, left: float) -> None:
    leave_wal(path)
    wal = beside(path, "wal")
    whole = wal.read_bytes()
    os.truncate(wal, int(len(whole) * left))
    for _ in range(2):  # looking doesn't make it worse
        with pytest.raises(LedgerError, match=r"ledger\.db-wal was cut or damaged: \d+ pages were committed") as caught:
            Ledger(path)
        assert "ledger.db-shm" in (caught.value.hint or "")
    wal.write_bytes(whole)
    with Ledger(path) as ledger:
        assert ledger.count() == 60
        assert ledger.missing([key(n) for n in range(61)]) == [key(60)]


def test_a_wal_that_is_gone_or_damaged_within_is_noticed(path: Path) -> None:
    leave_wal(path)
    wal = beside(path, "wal")
    whole = wal.read_bytes()
    for place in (3, 30, len(whole) // 3, len(whole) - 5):
        wal.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LedgerError, match="cut or damaged"):
            Ledger(path)
    wal.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(LedgerError, match="cut or damaged"):
        Ledger(path)
    wal.unlink()
    with pytest.raises(LedgerError, match="cut or damaged"):
        Ledger(path)
    wal.write_bytes(whole)
    with Ledger(path) as ledger:
        assert ledger.count() == 60


def test_going_on_without_the_lost_calls_is_a_decision(path: Path) -> None:
    leave_wal(path)
    wal = beside(path, "wal")
    os.truncate(wal, wal.stat().st_size // 2)
    beside(path, "shm").unlink()
    with Ledger(path) as ledger:
        assert 0 < ledger.count() < 60
        ledger.append([row(1_000)])
    with Ledger(path) as ledger:
        assert ledger.missing([key(1_000)]) == []


def test_without_the_note_an_unfinished_end_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave_wal(path)
    wal = beside(path, "wal")
    beside(path, "shm").unlink()
    with caplog.at_level(logging.WARNING):
        check_wal(path)
        assert caplog.text == ""
        os.truncate(wal, wal.stat().st_size - 10_000)
        check_wal(path)
    assert "ends in a batch that isn't complete" in caplog.text


def test_whole_wals_raise_no_alarm(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave_wal(path, batches=200)  # more than SQLite keeps before it starts the file anew
    with Ledger(path) as first, Ledger(path) as second:
        for n in range(200):
            first.append([row(10_000 + n, prompt="x" * 30_000)])
            check_wal(path)
        assert second.count() == 2_200
    assert not beside(path, "wal").exists()
    assert caplog.text == ""


def test_an_unfinished_end_behind_what_was_committed_is_dropped(path: Path) -> None:
    leave_wal(path)
    wal = beside(path, "wal")
    frame = wal.read_bytes()[32 : 32 + 24 + 16_384]
    with wal.open("ab") as file:
        file.write(frame + frame[:5_000])
    with Ledger(path) as ledger:
        assert ledger.count() == 60


# ---- full disks --------------------------------------------------------------------------------------------

CREATOR = """
import sys
from pathlib import Path
from spavl_dag.inference.ledger import Ledger, LedgerError
try:
    Ledger(Path(sys.argv[1])).close()
except LedgerError as error:
    print(error)
"""


def create_elsewhere(path: Path, **options: object) -> str:
    command = [sys.executable, "-c", CREATOR, str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.mark.skipif(os.name != "posix", reason="limits of file sizes")
@pytest.mark.parametrize("kilobytes", [0, 10, 20, 40, 70, 100, 150])
def test_a_ledger_that_can_t_be_made_whole_isn_t_made(path: Path, kilobytes: int) -> None:
    def no_larger_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    said = create_elsewhere(path, preexec_fn=no_larger_files)
    assert "ledger.db" in said or path.exists()
    assert [file for file in path.parent.iterdir() if file != path] == []
    with Ledger(path) as ledger:  # there is room again
        ledger.append([row(1)])


def small_disk(folder: Path, kilobytes: int) -> bool:
    """Mount a disk of a size, where this user may do that."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0


def append_until_the_disk_is_full(ledger: Ledger) -> int:
    for number in range(10_000):
        try:
            ledger.append([row(number, prompt="x" * 20_000)])
        except LedgerError:
            return number
    raise AssertionError("the disk has no end")


def test_a_ledger_made_on_a_full_disk_works_once_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if not small_disk(disk, 2_048):
        pytest.skip("needs the right to mount a small disk")
    try:
        for free in (4, 60, 100, 150, 200, 260, 320, 500, 1_000, 1_500):
            folder = disk / str(free)
            folder.mkdir()
            stuffing = disk / "stuffing"
            available = os.statvfs(disk)
            stuffing.write_bytes(bytes(max(0, available.f_bavail * available.f_frsize - free * 1024)))
            said = create_elsewhere(folder / "ledger.db")
            assert ("the disk is full" in said) is (free < 1_024), said
            stuffing.unlink()
            assert [file.name for file in folder.iterdir()] == ([] if said else ["ledger.db"])
            with Ledger(folder / "ledger.db") as ledger:
                assert ledger.count() == 0
            shutil.rmtree(folder)
        with Ledger(disk / "ledger.db") as ledger:
            acknowledged = append_until_the_disk_is_full(ledger)
            assert ledger.count() == acknowledged > 5
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_ledger_that_an_older_version_left_half_made_says_so(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(28_656))
    path.with_name("ledger.db.0f1e2d.new-wal").write_bytes(b"")
    with pytest.raises(LedgerError, match="never completed: the disk was full") as caught:
        Ledger(path)
    assert "ledger.db.0f1e2d.new-wal" in (caught.value.hint or "")


# ---- rights ------------------------------------------------------------------------------------------------


def test_what_may_only_be_read_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(1)])
    # Root may write anywhere, so the answer of the system is given here.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Ledger(path) as ledger:
        assert ledger.read_only
        assert ledger.missing([key(1), key(2)]) == [key(2)]
        with pytest.raises(LedgerError, match="can't be written") as caught:
            ledger.append([row(2)])
        assert "chmod u+w" in (caught.value.hint or "")
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(1)])
    path.parent.chmod(0o500)
    try:
        with Ledger(path) as ledger:
            assert ledger.count() == 1
        with pytest.raises(LedgerError, match=r"other\.db"):
            Ledger(path.parent / "other.db")
    finally:
        path.parent.chmod(0o700)


def test_read_only_makes_nothing(path: Path) -> None:
    with pytest.raises(LedgerError, match="is not there"):
        Ledger(path, read_only=True)
    assert list(path.parent.iterdir()) == []


def test_a_ledger_that_vanishes_while_it_is_open(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(1)])
        kept = path.rename(path.with_name("kept.db"))
        with pytest.raises(LedgerError, match="moved, replaced or deleted"):
            ledger.append([row(2)])
        kept.rename(path)
        ledger.append([row(2)])
        assert ledger.count() == 2


def test_errors_of_rows_are_still_the_callers(path: Path) -> None:
    bad: CallRow = row(1, seed=2**70)
    with Ledger(path) as ledger, pytest.raises(OverflowError):
        ledger.append([bad])
