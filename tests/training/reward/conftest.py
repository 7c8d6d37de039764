"""A checkpoint to start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.engines.tiny_llava import build_checkpoint


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random LLaVA."""
    return build_checkpoint(tmp_path_factory.mktemp("start"))
