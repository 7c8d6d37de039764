"""What is trainable, and that what is saved loads again to the same numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, LlavaConfig, LlavaForConditionalGeneration

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.loading import load_checkpoint
from spavl_dag.params.training import TuningParams
from spavl_dag.training.examples import Encoder
from spavl_dag.training.models import (
    Loaded,
    frozen_copy,
    load_base,
    load_policy,
    load_processor,
    lora_config,
    save_weights,
)
from tests.inference.engines.tiny_llava import picture

CPU = torch.device("cpu")


def full(*, projector: bool = True) -> TuningParams:
    return TuningParams(mode="full", train_projector=projector)


def lora(targets: Any = "all-linear", *, projector: bool = True) -> TuningParams:
    return TuningParams.model_validate(
        {"mode": "lora", "lora": {"rank": 4, "alpha": 8, "targets": targets}, "train_projector": projector}
    )


def load(start: Path, tuning: TuningParams) -> Loaded:
    torch.manual_seed(0)
    return load_policy(str(start), None, tuning, "cpu", "float32")


def stir(loaded: Loaded) -> None:
    """Change all that is trainable, as a training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for param in loaded.model.parameters():
            if param.requires_grad:
                param.add_(torch.randn(param.shape, generator=generator) * 0.05)


@pytest.fixture(scope="module")
def batch(start: Path) -> dict[str, Any]:
    processor, ends, _ = load_processor(str(start), None)
    inputs = Encoder(processor, "{{ question }}", None, 64, ends).sequences(["word1 word2"], [picture(1)], ["word3"])
    del inputs["completion_mask"]
    return inputs


def logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model.eval()(**batch).logits
    return result


def parts_trained(model: Any) -> set[str]:
    names = {name for name, param in model.named_parameters() if param.requires_grad}
    parts = ("vision_tower", "multi_modal_projector", "language_model", "lm_head")
    return {part for part in parts if any(part in name for name in names)}


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        (full(), {"multi_modal_projector", "language_model", "lm_head"}),
        (full(projector=False), {"language_model", "lm_head"}),
        (lora(), {"multi_modal_projector", "language_model"}),
        (lora(projector=False), {"language_model"}),
    ],
)
def test_the_vision_tower_is_never_trained(start: Path, tuning: TuningParams, expected: set[str]) -> None:
    assert parts_trained(load(start, tuning).model) == expected


def test_all_linear_means_those_of_the_language_model(start: Path) -> None:
    model = load(start, lora()).model
    adapted = {name for name, _ in model.named_parameters() if "lora_A" in name}
    linear = {
        name for name, module in model.get_base_model().model.language_model.named_modules() if name.endswith("_proj")
    }
    assert len(adapted) == len(linear) == 2 * 7
    assert all(".language_model.layers." in name for name in adapted)
    few = load(start, lora(["q_proj", "v_proj"])).model
    assert {name.split(".")[-4] for name, _ in few.named_parameters() if "lora_A" in name} == {"q_proj", "v_proj"}


def test_unknown_targets_are_named_with_the_known_ones(start: Path) -> None:
    with pytest.raises(EngineError, match=r"fc9.*\n.*q_proj"):
        load(start, lora(["q_proj", "fc9"]))


def test_with_the_adapter_off_the_model_is_what_it_was(start: Path, batch: dict[str, Any]) -> None:
    loaded = load(start, lora())
    before = logits(load_base(str(start), None, lora(), "cpu", "float32").model, batch)
    assert torch.equal(logits(loaded.model, batch), before)
    stir(loaded)  # the projector too
    assert not torch.allclose(logits(loaded.model, batch), before)
    with loaded.model.disable_adapter():
        assert torch.equal(logits(loaded.model, batch), before)


def test_a_frozen_copy_stays_behind(start: Path, batch: dict[str, Any]) -> None:
    loaded = load(start, full())
    reference = frozen_copy(loaded.model, torch.float32)
    before = logits(reference, batch)
    stir(loaded)
    assert torch.equal(logits(reference, batch), before)
    assert not any(param.requires_grad for param in reference.parameters())


@pytest.mark.parametrize("tuning", [full(), lora(), lora(projector=False)])
def test_merged_weights_load_to_the_same_logits(
    start: Path, tuning: TuningParams, batch: dict[str, Any], tmp_path: Path
) -> None:
    loaded = load(start, tuning)
    stir(loaded)
    trained = logits(loaded.model, batch)
    save_weights(loaded, tmp_path / "final")
    again = load_checkpoint(str(tmp_path / "final"), None, CPU, torch.float32)
    assert torch.allclose(logits(again.model, batch), trained, atol=1e-5 if tuning.lora else 0)
    names = set(load_file(tmp_path / "final" / "model.safetensors"))
    # What published LLaVA checkpoints hold, which is what vLLM reads.
    assert {name.split(".")[0] for name in names} == {"vision_tower", "multi_modal_projector", "language_model"}
    assert all(n.startswith("vision_tower.vision_model.") for n in names if n.startswith("vision_tower"))
    assert "language_model.lm_head.weight" in names
    rest = {n for n in names if n.startswith("language_model.")} - {"language_model.lm_head.weight"}
    assert all(n.startswith("language_model.model.") for n in rest)


def test_an_adapter_loads_onto_its_base(start: Path, batch: dict[str, Any], tmp_path: Path) -> None:
    loaded = load(start, lora())
    stir(loaded)
    trained = logits(loaded.model, batch)
    folder = tmp_path / "final"
    save_weights(loaded, folder, save="adapter", base_name="base_model")
    assert not (folder / "model.safetensors").exists()
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["inference_mode"]) == ("base_model", 4, True)
    tensors = load_file(folder / "adapter_model.safetensors")
    assert sum("multi_modal_projector" in name for name in tensors) == 4  # weight and bias of two layers
    again = load_checkpoint(str(start), None, CPU, torch.float32, adapter=str(folder))
    assert torch.allclose(logits(again.model, batch), trained, atol=1e-5)


@pytest.mark.parametrize("save", ["merged", "adapter"])
def test_the_same_weights_give_the_same_bytes_and_no_path(start: Path, save: Any, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        loaded = load(start, lora())
        stir(loaded)
        save_weights(loaded, tmp_path / name, save=save, base_name="base_model")
        files = sorted((tmp_path / name).iterdir())
        digests.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
        for file in files:
            assert str(start).encode() not in file.read_bytes(), file.name
    assert digests[0] == digests[1]


def test_what_was_tokenized_before_is_not_saved(start: Path, tmp_path: Path) -> None:
    saved = []
    for number, kwargs in enumerate(({}, {"padding": True}, {"truncation": True, "max_length": 3})):
        loaded = load(start, full())
        loaded.processor.tokenizer(["word1 word2", "word3"], **kwargs)
        save_weights(loaded, tmp_path / str(number))
        saved.append((tmp_path / str(number) / "tokenizer.json").read_bytes())
    assert len(set(saved)) == 1


def test_generation_settings_of_the_checkpoint_are_kept(start: Path, tmp_path: Path) -> None:
    loaded = load(start, full())
    save_weights(loaded, tmp_path / "final")
    before, after = (
        json.loads((folder / "generation_config.json").read_text()) for folder in (start, tmp_path / "final")
    )
    assert after == before


def test_tied_words_are_saved_once(start: Path, batch: dict[str, Any], tmp_path: Path) -> None:
    config: Any = LlavaConfig.from_pretrained(start)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    torch.manual_seed(0)
    tied = LlavaForConditionalGeneration(config)
    base = load_base(str(start), None, full(), "cpu", "float32")
    save_weights(
        Loaded(tied, base.processor, base.end_tokens, base.context, torch.float32, base.generation), tmp_path / "tied"
    )
    assert "language_model.lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "tied")
    assert torch.equal(logits(again, batch), logits(tied, batch))


def test_weights_are_saved_in_the_dtype_that_is_computed_in(start: Path, tmp_path: Path) -> None:
    loaded = load_policy(str(start), None, full(), "cpu", "bfloat16")
    assert {param.dtype for param in loaded.model.parameters()} == {torch.float32}  # small steps must count
    save_weights(loaded, tmp_path / "final")
    assert {t.dtype for t in load_file(tmp_path / "final" / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "final" / "config.json").read_text())["dtype"] == "bfloat16"


def test_lora_keeps_the_base_in_the_dtype_that_is_computed_in(start: Path) -> None:
    loaded = load_policy(str(start), None, lora(projector=False), "cpu", "bfloat16")
    trained = {param.dtype for param in loaded.model.parameters() if param.requires_grad}
    frozen = {param.dtype for param in loaded.model.parameters() if not param.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})


def test_a_processor_without_weights_is_the_checkpoint_s(start: Path) -> None:
    processor, ends, context = load_processor(str(start), None)
    whole = load_checkpoint(str(start), None, CPU, torch.float32)
    assert (ends, context) == (whole.end_tokens, whole.context)
    assert processor.tokenizer.padding_side == whole.processor.tokenizer.padding_side
    assert processor.tokenizer.pad_token_id == whole.pad_token
    with pytest.raises(EngineError, match="can't be loaded"):
        load_processor(str(start / "nowhere"), None)


def test_full_tuning_has_no_adapter(start: Path) -> None:
    assert lora_config(load_base(str(start), None, full(), "cpu", "float32").model, full()) is None
