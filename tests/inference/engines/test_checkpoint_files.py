"""Weights come from safetensors files of the checkpoint, all of them, or nothing is loaded."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.loading import load_checkpoint

CONFIG = {
    **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "inference_mode": True},
    **{"target_modules": ["v_proj"], "base_model_name_or_path": "base_model"},
}
INDEX = "model.safetensors.index.json"


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def load(folder: Path, adapter: Path | None = None) -> Any:
    return load_checkpoint(str(folder), None, torch.device("cpu"), torch.float32, adapter and str(adapter)).model


def refused(match: str, folder: Path, adapter: Path | None = None) -> None:
    with pytest.raises(EngineError, match=match) as caught:
        load(folder, adapter)
    assert caught.value.hint


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.fixture
def split(copied: Path) -> Path:
    """The weights in two files, which an index names."""
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[:20], "more/b.safetensors": names[20:]}
    (copied / "more").mkdir()
    for file, own in parts.items():
        save_file({name: weights[name] for name in own}, copied / file, metadata={"format": "pt"})
    write_index(copied, {name: file for file, own in parts.items() for name in own})
    return copied


def write_index(folder: Path, weight_map: Any, name: str = INDEX) -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def lora(model: Any) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, module in model.named_modules():
        if name.endswith("v_proj"):
            tensors[f"base_model.model.{name}.lora_A.weight"] = torch.ones(2, module.in_features)
            tensors[f"base_model.model.{name}.lora_B.weight"] = torch.ones(module.out_features, 2)
    return tensors


def adapter_of(folder: Path, tensors: dict[str, torch.Tensor], **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_weights_in_several_files_of_the_folder_are_loaded(split: Path, checkpoint: Path) -> None:
    one, other = load(split).state_dict(), load(checkpoint).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize(
    "name",
    ["w.bin", "w.pt", "../outside.safetensors", "/outside.safetensors", "more/../../w.safetensors", "..\\w.bin"],
)
def test_an_index_names_safetensors_of_the_folder_only(split: Path, name: Any) -> None:
    mark = split.parent / "unpickled"
    if isinstance(name, str) and not name.startswith("/"):
        with (split / name).open("wb") as file:
            pickle.dump(Bomb(mark), file)
    weight_map = json.loads((split / INDEX).read_text())["weight_map"]
    write_index(split, weight_map | {sorted(weight_map)[0]: name})
    refused(r"model\.safetensors\.index\.json names the file", split)
    assert not mark.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": []}'])
def test_a_broken_index_is_told(split: Path, content: str) -> None:
    (split / INDEX).write_text(content)
    refused(r"model\.safetensors\.index\.json (can't be read|is no JSON object|has no map)", split)


@pytest.mark.parametrize("name", ["adapter_model.bin", "../w.safetensors", "w.bin"])
def test_a_config_names_safetensors_only(copied: Path, name: str) -> None:
    config = json.loads((copied / "config.json").read_text())
    torch.save(load_file(copied / "model.safetensors"), copied / "adapter_model.bin")
    (copied / "config.json").write_text(json.dumps(config | {"transformers_weights": name}))
    refused("transformers_weights", copied)


def test_an_index_that_the_config_names_is_looked_at_too(split: Path) -> None:
    config = json.loads((split / "config.json").read_text())
    (split / "config.json").write_text(json.dumps(config | {"transformers_weights": "my.safetensors.index.json"}))
    weight_map = json.loads((split / INDEX).read_text())["weight_map"]
    write_index(split, dict.fromkeys(weight_map, "w.bin"), "my.safetensors.index.json")
    refused(r"my\.safetensors\.index\.json names the file w\.bin", split)


def test_an_adapter_in_a_model_s_folder_is_told(copied: Path, checkpoint: Path) -> None:
    """Transformers would load it unasked, from a pickle if need be, and name nobody whose weights these are."""
    (copied / "adapter_config.json").write_text(json.dumps(CONFIG))
    torch.save(lora(load(checkpoint)), copied / "adapter_model.bin")
    refused("holds an adapter", copied)


def test_an_adapter_is_its_safetensors_file(checkpoint: Path, tmp_path: Path) -> None:
    plain = load(checkpoint)
    whole = adapter_of(tmp_path / "adapter", lora(plain))
    changed = load(checkpoint, whole).state_dict()
    assert {name for name, value in plain.state_dict().items() if not torch.equal(value, changed[name])} == {
        name.removeprefix("base_model.model.").replace("lora_A.", "") for name in lora(plain) if "lora_A" in name
    }
    (whole / "adapter_model.safetensors").rename(whole / "aside")
    torch.save(lora(plain), whole / "adapter_model.bin")
    refused(r"has no adapter_model\.safetensors", checkpoint, whole)
    (whole / "aside").rename(whole / "adapter_model.safetensors")
    (whole / "adapter_config.json").unlink()
    refused(r"has no adapter_config\.json", checkpoint, whole)
    refused(r"has no adapter_config\.json", checkpoint, tmp_path / "nowhere")


def test_an_adapter_lacks_nothing_and_holds_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    tensors = lora(load(checkpoint))
    first = sorted(tensors)[0]
    short = {name: value for name, value in tensors.items() if name != first}
    refused("lacks 1 weights", checkpoint, adapter_of(tmp_path / "short", short))
    refused("lacks .* weights", checkpoint, adapter_of(tmp_path / "other", {"x": torch.zeros(1)}))
    more = tensors | {first.replace("v_proj", "q_proj"): torch.zeros(1)}
    refused("holds, beside those of its model, 1 weights", checkpoint, adapter_of(tmp_path / "more", more))
    projector = {"modules_to_save": ["multi_modal_projector"]}
    refused("multi_modal_projector", checkpoint, adapter_of(tmp_path / "projector", tensors, **projector))
    wide = tensors | {first: torch.ones(3, tensors[first].shape[1])}
    refused("can't be put onto", checkpoint, adapter_of(tmp_path / "wide", wide))
