"""MLflow's store in a file: made whole or not at all, and told of by name when it is broken.

The lowest of the modules that import MLflow, so its telemetry is switched off here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from filelock import FileLock

NO_TELEMETRY: Mapping[str, str] = {"MLFLOW_DISABLE_TELEMETRY": "true"}
"""MLflow reports its use unless this is set; the user wasn't asked."""

for _name, _value in NO_TELEMETRY.items():  # before anything imports mlflow, which looks at it then
    os.environ.setdefault(_name, _value)

_SQLITE = "sqlite:///"
_NEEDED = ("alembic_version", "experiments", "runs", "metrics", "params", "tags")


def store_file(uri: str) -> Path | None:
    """The file of a SQLite store, None for any other store."""
    path = uri.removeprefix(_SQLITE).partition("?")[0]
    return Path(path).absolute() if uri.startswith(_SQLITE) and path not in ("", ":memory:") else None


def ensure_store(uri: str) -> None:
    """Make a SQLite store that isn't there yet, beside its place, so that a kill leaves no half of it.

    Raises:
        Exception: Whatever MLflow or SQLite raise; nothing is left then.
    """
    file = store_file(uri)
    if file is None or _has_content(file):
        return
    with FileLock(f"{file}.lock"):
        if _has_content(file):
            return
        unfinished = file.with_name(f"{file.name}.part")
        _remove(unfinished)
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        try:
            artifacts = (file.parent / "mlartifacts").as_uri()
            store = SqlAlchemyStore(f"{_SQLITE}{unfinished}", artifacts)  # type: ignore[no-untyped-call]
            store.engine.dispose()
            unfinished.replace(file)
        finally:
            _remove(unfinished)
    Path(f"{file}.lock").unlink(missing_ok=True)  # from now on nobody makes it, so nobody needs the lock


def what_is_wrong(uri: str) -> str | None:
    """Why a SQLite store can't be used and how to fix it; None when the store itself looks right."""
    file = store_file(uri)
    if file is None or not _has_content(file):
        return None
    away = f"move it away (mv {file} {file}.broken); the next run makes a new one and logs what waits"
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=5)) as store:
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if missing := [name for name in _NEEDED if name not in tables]:
                return f"{file} was only half made (no table {missing[0]}): {away}"
            if (damage := store.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                return f"{file} is damaged ({damage}): {away}"
            version = (store.execute("SELECT version_num FROM alembic_version").fetchone() or ["none"])[0]
            runs = store.execute("SELECT count(*) FROM runs").fetchone()[0]
    except sqlite3.OperationalError as error:
        return f"{file} can't be read ({error})"
    except sqlite3.DatabaseError as error:
        return f"{file} is no database ({error}): {away}"
    if version == _newest_version():
        return None
    if not runs:
        return f"{file} was only half made (no run in it, version {version}): {away}"
    return f"{file} is of another MLflow (version {version}): `mlflow db upgrade {_SQLITE}{file}`"


def shown(uri: str) -> str:
    """A store's address without user name, password and options, to be shown."""
    if store_file(uri):
        return uri
    scheme, separator, rest = uri.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0]


def _remove(database: Path) -> None:
    """Delete a SQLite file with its journals: an old journal would be played into a new file of that name."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink(missing_ok=True)


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _newest_version() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision  # no public name

    return str(_get_latest_schema_revision())  # type: ignore[no-untyped-call]
