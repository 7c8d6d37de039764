"""What is looked at in a checkpoint's files before anything is loaded from them: pickles are never read.

`use_safetensors=True` only picks the first file: an index may name others, a config may name any, and adapters are read
from whatever there is.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from spavl_dag.errors import EngineError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_INDEX = "model.safetensors.index.json"
_NAMED_IN_CONFIG = "transformers_weights"
_HINT = "Only safetensors weights are read. Convert the checkpoint, or use one that has them."


def check_model_files(model: str, revision: str | None) -> None:
    """Refuse a model whose weights would be read from anything but safetensors inside its folder.

    Args:
        model: Local folder or hub id.
        revision: Hub revision; None for folders.

    Raises:
        EngineError: An index or the config names another file, or the model is an adapter.
    """
    if _found(model, revision, ADAPTER_CONFIG) is not None:
        raise EngineError(
            f"model {model} holds an adapter ({ADAPTER_CONFIG})",
            "Name a model with all its weights: merge the adapter into the model that it belongs to.",
        )
    named = (_json_of(model, revision, "config.json") or {}).get(_NAMED_IN_CONFIG)
    index = _INDEX
    if named is not None:
        if str(named).endswith(".safetensors.index.json") and _is_inside(named):
            index = named
        else:
            _check_weights_file(model, f"config.json ({_NAMED_IN_CONFIG})", named)
    weight_map = (_json_of(model, revision, index) or {}).get("weight_map", {})
    if not isinstance(weight_map, dict):
        raise EngineError(f"model {model}: {index} has no map of weights", "Get the checkpoint's files again.")
    for name in sorted(set(map(str, weight_map.values()))):
        _check_weights_file(model, index, name)


def check_adapter_files(adapter: str) -> None:
    """Refuse an adapter whose weights would be read from anything but its safetensors file.

    Args:
        adapter: Its folder.

    Raises:
        EngineError: A file is missing.
    """
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (Path(adapter) / name).is_file():
            raise EngineError(f"adapter {adapter} has no {name}", f"{_HINT} Or make the artifact again.")


def _check_weights_file(model: str, where: str, name: Any) -> None:
    if not str(name).endswith(".safetensors") or not _is_inside(name):
        raise EngineError(
            f"model {model}: {where} names the file {name}, which is no safetensors file in its folder", _HINT
        )


def _is_inside(name: Any) -> bool:
    path = PurePosixPath(str(name).replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts


def _json_of(model: str, revision: str | None, name: str) -> dict[str, Any] | None:
    file = _found(model, revision, name)
    if file is None:
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(
            f"model {model}: {name} can't be read: {error}", "Get the checkpoint's files again."
        ) from error
    if not isinstance(content, dict):
        raise EngineError(f"model {model}: {name} is no JSON object", "Get the checkpoint's files again.")
    return content


def _found(model: str, revision: str | None, name: str) -> Path | None:
    """A checkpoint's file, from the hub if it is there; None where there is none."""
    if Path(model).is_dir():
        file = Path(model) / name
        return file if file.is_file() else None
    from transformers.utils.hub import cached_file

    # What can't be had here can't be had by the loader either, which then says why.
    quiet = dict.fromkeys(("missing_entries", "gated_repo", "connection_errors"), False)
    found = cached_file(
        model, name, revision=revision, **{f"_raise_exceptions_for_{key}": no for key, no in quiet.items()}
    )
    return None if found is None else Path(found)
