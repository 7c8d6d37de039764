"""The registry: unknown names are refused in words, and nothing heavy is imported for a look."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import EngineSettings


@pytest.mark.parametrize("name", ["vllm", "openai", "nonsense"])
def test_unknown_engine_lists_what_there_is(name: str) -> None:
    with pytest.raises(EngineError, match="not available") as caught:
        open_engine(EngineSettings(name, "m"))
    assert name in str(caught.value)
    assert "transformers" in str(caught.value)


def test_registry_and_interface_import_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, spavl_dag.inference.engines, spavl_dag.inference.engines.batching, spavl_dag.media.decode\n"
        "heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
