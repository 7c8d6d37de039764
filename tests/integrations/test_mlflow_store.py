"""MLflow's store: whole or not there, named when broken, no telemetry, no password shown, no server that hangs us."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spavl_dag.integrations.mlflow import client as mlflow_client
from spavl_dag.integrations.mlflow.checkpoints import CheckpointRecord, find_view
from spavl_dag.integrations.mlflow.live import LiveCurve
from spavl_dag.integrations.mlflow.outbox import deliver
from spavl_dag.integrations.mlflow.runs import RunRecord
from spavl_dag.integrations.mlflow.store import ensure_store, shown, what_is_wrong
from spavl_dag.pipeline.layout import Project
from tests.conftest import CHECKOUT

# Forked from a server that has imported MLflow, so that a kill falls into the making and not into the import.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", "spavl_dag.integrations.mlflow.outbox"])
LIMIT = 200_000  # bytes; a whole store takes more


def make_store(uri: str, size: int | None = None) -> None:
    if size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    ensure_store(uri)


def record(name: str) -> RunRecord:
    return RunRecord("generation", name, metrics={"rows": 1.0})


def waiting(layout: Project) -> int:
    return len(list((layout.work / "mlflow_outbox").glob("*.json")))


@pytest.mark.slow
def test_killed_while_it_is_made_there_is_a_whole_store_or_none(tmp_path: Path):
    file = tmp_path / "mlflow.db"
    uri = f"sqlite:///{file}"
    rng = random.Random(4)
    killed = 0
    for _ in range(6):
        process = SERVER.Process(target=make_store, args=(uri,))
        process.start()
        while process.is_alive() and not list(tmp_path.glob("mlflow.db.part*")):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.5))
        killed += process.is_alive()
        process.kill()
        process.join()
        if file.exists():
            assert what_is_wrong(uri) is None
            file.unlink()
    assert killed > 2
    make_store(uri)
    assert what_is_wrong(uri) is None
    assert [left.name for left in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_full_disk_leaves_nothing_and_the_cause_is_told(
    layout: Project, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    uri = f"sqlite:///{layout.root / 'mlflow.db'}"
    process = SERVER.Process(target=make_store, args=(uri, LIMIT))
    process.start()
    process.join()
    assert process.exitcode != 0
    assert not list(layout.root.glob("mlflow.db*[!k]"))  # at most the lock
    # In this process the same failure, as a stage would meet it.
    monkeypatch.setattr(mlflow_client, "ensure_store", full)
    assert deliver(layout, uri, record("run")) is None
    assert f"{layout.root / 'mlflow.db'} can not be used (database or disk is full)" in caplog.text
    assert waiting(layout) == 1


def full(_uri: str) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_an_empty_file_is_as_good_as_none(layout: Project):
    file = layout.root / "mlflow.db"
    file.touch()
    assert deliver(layout, f"sqlite:///{file}", record("run")) is not None


def stop_at_the_beginning(file: Path) -> None:
    """The first tables, and the first change of them made but not noted."""
    import sqlalchemy
    from mlflow.store.tracking.dbmodels.initial_models import Base

    file.unlink()
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    Base.metadata.create_all(engine)
    engine.dispose()
    with sqlite3.connect(file) as store:
        store.execute("ALTER TABLE metrics ADD COLUMN step BIGINT DEFAULT 0 NOT NULL")


def stop_in_the_middle(file: Path) -> None:
    with sqlite3.connect(file) as store:
        store.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


def overwrite(file: Path) -> None:
    file.write_bytes(b"not a database" * 1000)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (stop_at_the_beginning, "was only half made (no run in it, version none)"),
        (stop_in_the_middle, "was only half made (no run in it, version 451aebb31d03)"),
        (overwrite, "is no database"),
    ],
)
def test_a_broken_store_is_named_with_its_mend(
    layout: Project, empty_store: Path, caplog: pytest.LogCaptureFixture, harm: object, told: str
):
    file = layout.root / "mlflow.db"
    uri = f"sqlite:///{file}"
    shutil.copy(empty_store, file)
    assert callable(harm)
    harm(file)
    assert deliver(layout, uri, record("run")) is None
    assert f"MLflow's store {file} {told}" in caplog.text
    assert f"mv {file} {file}.broken" in caplog.text
    file.rename(f"{file}.broken")
    next_run = SERVER.Process(target=deliver, args=(layout, uri, record("next")))
    next_run.start()
    next_run.join()
    assert waiting(layout) == 0


def test_a_store_of_another_mlflow_is_not_thrown_away(layout: Project, uri: str):
    assert deliver(layout, uri, record("run")) is not None
    stop_in_the_middle(layout.root / "mlflow.db")
    told = f"{layout.root / 'mlflow.db'} is of another MLflow (version 451aebb31d03): `mlflow db upgrade {uri}`"
    assert what_is_wrong(uri) == told


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("mysql+pymysql://me:S3cret@db.example/runs", "mysql+pymysql://db.example/runs"),
        ("postgresql://me:S3c@ret@[::1]:5432/runs?password=S3cret", "postgresql://[::1]:5432/runs"),
        ("http://me:S3cret@127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://S3cret@tracking.example", "https://tracking.example"),
        ("https://tracking.example", "https://tracking.example"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("./mlruns", "./mlruns"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, told: str):
    assert shown(uri) == told


@pytest.mark.parametrize("chosen", [None, "false"])
def test_telemetry_is_off_unless_the_user_wants_it(tmp_path: Path, chosen: str | None):
    # Not as in CI, where MLflow sends nothing anyway.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": chosen} if chosen else {}
    code = (
        "import spavl_dag.integrations.mlflow.runs, mlflow\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(is_telemetry_disabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(chosen is None)]


@pytest.fixture
def trickling(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that sends a header's byte now and then, for ever."""
    monkeypatch.setattr(mlflow_client, "TOTAL_SECONDS", 1.0)
    stopped = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not stopped.wait(0.1):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    def serve(listening: socket.socket) -> None:
        while not stopped.is_set():
            try:
                threading.Thread(target=trickle, args=(listening.accept()[0],), daemon=True).start()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stopped.set()


def test_a_server_that_trickles_holds_nothing_up(
    layout: Project, uri: str, trickling: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    begun = time.monotonic()
    assert deliver(layout, trickling, record("run")) is None
    assert find_view(trickling, "http://127.0.0.1:5000") is None
    curve = LiveCurve(
        CheckpointRecord("dpo", "DPO", None, training="t1"), lambda record: deliver(layout, trickling, record)
    )
    curve.add([{"step": 1.0, "loss": 0.5}])
    curve.add([{"step": 2.0, "loss": 0.4}])
    assert time.monotonic() - begun < 15
    assert caplog.text.count("can't be reached (TimeoutError)") == 3
    assert waiting(layout) == 2
    assert deliver(layout, uri, record("next")) is not None
    assert waiting(layout) == 0
