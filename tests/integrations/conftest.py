"""MLflow stores for tests: making one takes seconds, so each test gets a copy of an empty one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spavl_dag.pipeline.layout import Project as Layout

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project of which only the place matters."""
    return Layout(tmp_path)


@pytest.fixture
def uri(layout: Layout, empty_store: Path) -> str:
    """Address of the project's store."""
    shutil.copy(empty_store, layout.root / "mlflow.db")
    return f"sqlite:///{layout.root / 'mlflow.db'}"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(uri)
