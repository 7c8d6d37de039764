"""What `spavl export` writes: a format is one small file here, a function in `FORMATS`."""

from __future__ import annotations

from collections.abc import Mapping

from spavl_dag.integrations.huggingface.formats.base import Export, ExportFormat
from spavl_dag.integrations.huggingface.formats.llama_factory import LLAMA_FACTORY
from spavl_dag.integrations.huggingface.formats.spa_vl import SPA_VL
from spavl_dag.integrations.huggingface.formats.trainer_json import TRAINER_JSON
from spavl_dag.integrations.huggingface.formats.trl import TRL

__all__ = ["FORMATS", "Export", "ExportFormat"]

FORMATS: Mapping[str, ExportFormat] = {one.name: one for one in (SPA_VL, TRL, TRAINER_JSON, LLAMA_FACTORY)}
