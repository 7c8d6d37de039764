import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_rows import key, row

from spavl_dag.errors import BusyError, SpavlError
from spavl_dag.inference.ledger import (
    APPLICATION_ID,
    LEDGER_SCHEMA,
    CallRow,
    Ledger,
    LedgerError,
    SummaryRow,
)
from spavl_dag.inference.request import Generation
from spavl_dag.states import CallState

states = st.sampled_from(CallState)
weird_text = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".spavl" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path, "run-1") as ledger:
        yield ledger


def plain(row: CallRow) -> tuple[object, ...]:
    """All that the client gave."""
    return tuple(getattr(row, name) for name in CallRow.__slots__ if name not in ("created_at", "run_id"))


# ---- what is written comes back ----------------------------------------------------------------------------


def test_rows_come_back(ledger: Ledger) -> None:
    rows = [
        row(1),
        row(2, CallState.REFUSED, partition=None),
        row(3, CallState.PERMANENT_ERROR, image_sha256=None),
    ]
    ledger.append(rows)
    found = ledger.fetch([key(3), key(1), key(2), key(9), key(1)])
    assert list(found) == [key(3), key(1), key(2)]
    assert [plain(found[r.key]) for r in rows] == [plain(r) for r in rows]
    assert {r.run_id for r in found.values()} == {"run-1"}
    assert all(r.created_at > 1.7e9 for r in found.values())
    output = ledger.fetch_outputs([key(3)])[key(3)]
    assert output == Generation(key(3), CallState.PERMANENT_ERROR, "", "error", 700, 90, 0.25, "HTTP 429")
    assert isinstance(output.state, CallState)


def test_missing_keeps_the_order_and_names_each_once(ledger: Ledger) -> None:
    ledger.append([row(1), row(2, CallState.TRANSIENT_ERROR)])
    asked = [key(3), key(2), key(1), key(3), key(0), key(2)]
    assert ledger.missing(asked) == [key(3), key(2), key(0)]
    assert ledger.missing([]) == []
    ledger.append([row(3)])
    assert ledger.missing(asked) == [key(2), key(0)]


@pytest.mark.parametrize("state", [state for state in CallState if state.is_final])
def test_final_states_are_never_asked_again(ledger: Ledger, state: CallState) -> None:
    ledger.append([row(1, state)])
    assert ledger.missing([key(1)]) == []


def test_a_failure_is_tried_again_and_then_over(ledger: Ledger) -> None:
    ledger.append([row(1, CallState.TRANSIENT_ERROR, error="first")])
    ledger.append([row(1, CallState.TRANSIENT_ERROR, error="second")])
    assert ledger.missing([key(1)]) == [key(1)]
    assert ledger.fetch([key(1)])[key(1)].error == "second"
    ledger.append([row(1)])
    assert ledger.missing([key(1)]) == []
    assert ledger.fetch([key(1)])[key(1)].state is CallState.OK
    assert [r.state.value for r in ledger.attempts(key(1))] == ["transient_error", "transient_error", "ok"]
    assert ledger.repeated_calls() == 0


def test_keys_are_found_by_their_beginning(ledger: Ledger) -> None:
    keys = [bytes.fromhex(digits + "0" * (32 - len(digits))) for digits in ("ab1", "ab2", "ac", "0")]
    ledger.append([row(number, key=key) for number, key in enumerate(keys)])
    ledger.append([row(9, key=keys[0])])
    assert ledger.keys_beginning("ab") == keys[:2]
    assert ledger.keys_beginning("ab2") == [keys[1]]
    assert ledger.keys_beginning("") == keys
    assert ledger.keys_beginning(keys[2].hex()) == [keys[2]]
    assert ledger.keys_beginning(keys[2].hex() + "0") == ledger.keys_beginning("AB") == ledger.keys_beginning("x") == []


def test_the_first_final_row_wins_for_good(ledger: Ledger, path: Path) -> None:
    ledger.append([row(1, CallState.REFUSED, text="first"), row(1, text="second"), row(2)])
    ledger.append([row(1, CallState.TRANSIENT_ERROR), row(1, text="third")])
    with Ledger(path) as again:
        for opened in (ledger, again):
            assert opened.fetch([key(1)])[key(1)].text == "first"
            assert opened.fetch_outputs([key(1)])[key(1)].state is CallState.REFUSED
            assert opened.repeated_calls() == 1
            assert opened.count() == 5


def test_summary_counts_every_attempt(ledger: Ledger, path: Path) -> None:
    ledger.append([row(1), row(2, cost_usd=0.5), row(3, CallState.TRANSIENT_ERROR), row(4, partition=None)])
    with Ledger(path, "run-2") as other:
        other.append([row(3), row(5, artifact="captions")])
    assert ledger.summary() == [
        SummaryRow("captions", "gemini", CallState.OK, 1, 700, 90, 0.25),
        SummaryRow("responses", None, CallState.OK, 1, 700, 90, 0.25),
        SummaryRow("responses", "gemini", CallState.OK, 3, 2100, 270, 1.0),
        SummaryRow("responses", "gemini", CallState.TRANSIENT_ERROR, 1, 700, 90, 0.25),
    ]
    assert (ledger.calls_of_run("run-1"), ledger.calls_of_run("run-2"), ledger.calls_of_run("no")) == (
        4,
        2,
        0,
    )


def test_runs_get_ids_of_their_own(path: Path) -> None:
    with Ledger(path) as one, Ledger(path) as other:
        assert one.run_id != other.run_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800 é",
        "👩‍👩‍👧 مرحبا",
        "<script>alert('x')</script>&amp;",
        "x" * 5_000_000,
        "é" * 3_000_000,
    ],
    ids=["empty", "nul", "nul inside", "surrogate", "surrogates", "emoji", "html", "5 MB", "6 MB"],
)
def test_any_text_comes_back(ledger: Ledger, text: str) -> None:
    given = row(1, CallState.PERMANENT_ERROR, text=text, prompt=text, error=text, profile=text)
    ledger.append([given])
    assert plain(ledger.fetch([key(1)])[key(1)]) == plain(given)
    output = ledger.fetch_outputs([key(1)])[key(1)]
    assert (output.text, output.error) == (text, text)
    with Ledger(ledger.path) as again:
        again.append([row(2, profile=text)])  # the profile is known by now
        assert again.attempts(key(1))[0].profile == again.attempts(key(2))[0].profile == text


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.lists(st.tuples(st.integers(0, 8), states, weird_text), max_size=6)),
        max_size=8,
    )
)
def test_two_ledgers_on_one_file_behave_like_a_dict(
    appends: list[tuple[int, list[tuple[int, CallState, str]]]],
) -> None:
    asked = [key(n) for n in (*range(9), 3)]
    rows: list[CallRow] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger(Path(folder) / "ledger.db", "0") as one,
        Ledger(Path(folder) / "ledger.db", "1") as other,
    ):
        for writer, batch in appends:
            new = [row(n, state, text=text, profile=text) for n, state, text in batch]
            (one, other)[writer].append(new)
            rows += new
            reader = (other, one)[writer]
            texts = {r.key: r for r in reversed(rows) if r.state.has_text}
            counted = {r.key: r for r in rows} | texts
            final = {k for k, r in counted.items() if r.state.is_final}
            assert reader.missing(asked) == list(dict.fromkeys(k for k in asked if k not in final))
            failed = reader.missing(asked, retry_failed=True)
            assert failed == list(dict.fromkeys(k for k in asked if k not in texts))
            assert {k: plain(r) for k, r in reader.fetch(asked).items()} == {k: plain(r) for k, r in counted.items()}
            assert {k: out.text for k, out in reader.fetch_outputs(asked).items()} == {
                k: r.text for k, r in counted.items()
            }
        for n in range(9):
            assert [plain(r) for r in one.attempts(key(n))] == [plain(r) for r in rows if r.key == key(n)]
        paid = [r.key for r in rows if r.state.has_text]
        assert one.repeated_calls() == sum(paid.count(k) > 1 for k in set(paid))
        assert one.count() == one.calls_of_run("0") + one.calls_of_run("1") == len(rows)
        assert sum(line.calls for line in one.summary()) == len(rows)


def test_many_keys_at_once(ledger: Ledger) -> None:
    rows = [row(n) for n in range(2_500)]
    ledger.append(rows)
    assert list(ledger.fetch_outputs([r.key for r in reversed(rows)])) == [r.key for r in reversed(rows)]
    assert ledger.fetch([r.key for r in rows])[key(2_499)].text == "answer 2499"


# ---- what may not happen -----------------------------------------------------------------------------------


def test_a_batch_is_all_or_nothing(ledger: Ledger) -> None:
    ledger.append([row(1)])
    with pytest.raises(ValueError, match="16 bytes, not 5"):
        ledger.append([row(2), row(3, key=b"short")])
    with pytest.raises(sqlite3.IntegrityError):
        ledger.append([row(2, artifact="new"), row(3, finish_reason=None)])
    with pytest.raises(OverflowError):
        ledger.append([row(2, artifact="new"), row(3, seed=2**64)])
    assert ledger.count() == 1
    assert ledger.missing([key(2), key(3)]) == [key(2), key(3)]
    ledger.append([row(2, artifact="new")])  # its context was rolled back with the batch and is made anew
    assert ledger.fetch([key(2)])[key(2)].artifact == "new"


@pytest.mark.parametrize("table", ["calls", "batches", "tallies", "contexts", "profiles", "states"])
def test_rows_are_neither_changed_nor_deleted(ledger: Ledger, table: str) -> None:
    ledger.append([row(1)])
    with closing(sqlite3.connect(ledger.path)) as db:
        column = db.execute(f"SELECT name FROM pragma_table_info('{table}') LIMIT 1").fetchone()[0]
        for statement in (f"UPDATE {table} SET {column} = 99", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


def test_the_disk_is_full(ledger: Ledger) -> None:
    ledger.append([row(1)])
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(LedgerError, match="disk is full") as caught:
        ledger.append([row(n, artifact="new", prompt="x" * 1_000) for n in range(2, 500)])
    assert isinstance(caught.value, SpavlError)
    assert "Free some space" in (caught.value.hint or "")
    assert ledger.count() == 1
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    ledger.append([row(n, artifact="new") for n in range(2, 500)])
    assert ledger.count() == 499
    assert ledger.missing([key(n) for n in range(1, 500)]) == []


def test_a_ledger_that_another_process_holds(ledger: Ledger) -> None:
    ledger._db.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="another process"):
            ledger.append([row(1)])
        assert ledger.missing([key(1)]) == [key(1)]  # reading goes on
        db.execute("ROLLBACK")
    ledger.append([row(1)])
    assert ledger.count() == 1


# ---- the file ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_only_the_owner_may_read_it(ledger: Ledger) -> None:
    ledger.append([row(1)])
    files = sorted(ledger.path.parent.iterdir())
    assert [file.name for file in files] == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_it_syncs_every_commit(ledger: Ledger) -> None:
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_paths_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "50% of #1? é" / "ledger.db"
    with Ledger(path) as ledger:
        ledger.append([row(1)])
    assert path.is_file()


def test_a_file_system_without_hard_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Ledger(path) as ledger:
        ledger.append([row(1)])
    with Ledger(path) as ledger:
        assert ledger.count() == 1
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def test_a_newer_schema_is_refused(path: Path) -> None:
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {LEDGER_SCHEMA + 1}")
    with pytest.raises(LedgerError, match="newer spavl-dag"):
        Ledger(path)


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0 but no more", b"x" * 100_000], ids=["empty", "cut", "junk"]
)
def test_a_damaged_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.db is damaged") as caught:
        Ledger(path)
    assert ".recover" in (caught.value.hint or "")
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_reported_when_it_is_met(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(n, prompt="x" * 1_000) for n in range(1_000)])
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 4))
    with Ledger(path) as ledger, pytest.raises(LedgerError, match=r"ledger\.db is damaged"):
        ledger.fetch_outputs([key(n) for n in range(1_000)])


def test_rows_that_the_index_names_but_are_gone(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append([row(1), row(2), row(3)])
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER calls_no_delete")
        db.execute("DELETE FROM calls WHERE id = 2")
        db.commit()
    with Ledger(path) as ledger, pytest.raises(LedgerError, match="damaged"):
        ledger.fetch([key(2)])
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM calls WHERE id = 3")
        db.commit()
    with pytest.raises(LedgerError, match="index ends at row 3, its rows at 1"):
        Ledger(path)


def test_a_wal_without_its_database_is_not_overwritten(path: Path) -> None:
    path.parent.mkdir()
    wal = path.with_name("ledger.db-wal")
    wal.write_bytes(b"calls")
    with pytest.raises(LedgerError, match="is gone, but ledger"):
        Ledger(path)
    assert wal.read_bytes() == b"calls"
    assert not path.exists()


def test_a_folder_in_its_place(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(LedgerError):
        Ledger(path)


def test_a_file_in_the_place_of_its_folder(path: Path) -> None:
    path.parent.write_text("")
    with pytest.raises(LedgerError, match="can't be opened"):
        Ledger(path)


def test_the_view_for_people(ledger: Ledger) -> None:
    ledger.append([row(1, CallState.REFUSED)])
    with closing(sqlite3.connect(ledger.path)) as db:
        db.row_factory = sqlite3.Row
        (found,) = db.execute("SELECT * FROM calls_readable").fetchall()
    assert (found["key"], found["state"], found["artifact"], found["run_id"]) == (
        key(1).hex(),
        "refused",
        "responses",
        "run-1",
    )
    assert found["created_at"].startswith("20")


def test_the_file_says_whose_it_is(path: Path) -> None:
    Ledger(path).close()
    assert APPLICATION_ID.to_bytes(4) == path.read_bytes()[68:72] == b"SPVL"
