"""The checkpoint that these tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_llava import build_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random LLaVA."""
    return build_checkpoint(tmp_path_factory.mktemp("checkpoint"))
