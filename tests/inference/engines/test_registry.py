"""The registry: unknown names are refused in words, and nothing heavy is imported for a look."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from spavl_dag.errors import EngineError, MissingExtraError
from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import EngineSettings


@pytest.mark.parametrize("name", ["remote", "nonsense"])
def test_unknown_engine_lists_what_there_is(name: str) -> None:
    with pytest.raises(EngineError, match="not available") as caught:
        open_engine(EngineSettings(name, "m"))
    assert name in str(caught.value)
    assert "transformers" in str(caught.value)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_engine_whose_extra_is_missing_names_it():
    with pytest.raises(MissingExtraError, match="the extra 'vllm' brings them") as caught:
        open_engine(EngineSettings("vllm", "m"))
    assert "EXTRAS=vllm" in str(caught.value.hint)


def test_registry_and_interface_import_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, spavl_dag.inference.engines, spavl_dag.inference.engines.batching, spavl_dag.media.decode\n"
        "heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
