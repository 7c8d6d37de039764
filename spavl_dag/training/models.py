"""Policies: loaded with the right weights trainable, and saved so that both engines load them again.

The vision tower is never trained (paper, 'Training'). What is neither vision nor language is the projector.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoProcessor, GenerationConfig, LlavaForConditionalGeneration

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.llava_names import published_names
from spavl_dag.inference.engines.loading import load_checkpoint, pick_device, pick_dtype
from spavl_dag.params.training import TuningParams

if TYPE_CHECKING:
    from peft import LoraConfig

_PROJECTORS = re.compile(r"(projector|connector|merger|aligner|resampler|qformer)", re.IGNORECASE)
_ADAPTER_FILE = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy that is ready to be trained.

    Attributes:
        model: The network, with a PEFT wrapper where LoRA is used; what is trained has float32 weights.
        processor: Its processor; the tokenizer has a padding token.
        end_tokens: Token ids that end a text.
        context: Most tokens the model takes, or None if unknown.
        dtype: What is computed in, and what is saved.
        generation: The checkpoint's own generation settings, to be saved with the weights again.
    """

    model: Any
    processor: Any
    end_tokens: tuple[int, ...]
    context: int | None
    dtype: torch.dtype
    generation: GenerationConfig


def load_policy(
    model: str, revision: str | None, tuning: TuningParams, device: str = "auto", dtype: str = "auto"
) -> Loaded:
    """Load a model with what is to be trained made trainable, and LoRA adapters put in.

    New adapters draw their weights from torch's global generator: seed it before.

    Args:
        model: Folder or hub id.
        revision: Hub revision.
        tuning: What is trained.
        device: "auto", "cpu", "cuda" or "cuda:<n>".
        dtype: "auto", "float32" or "bfloat16": what is computed in.

    Raises:
        EngineError: The checkpoint can't be loaded, or names nothing of what is to be trained.
    """
    loaded = load_base(model, revision, tuning, device, dtype)
    config = lora_config(loaded.model, tuning)
    if config is None:
        return loaded
    from peft import get_peft_model

    wrapped = get_peft_model(loaded.model, config)
    return Loaded(wrapped, loaded.processor, loaded.end_tokens, loaded.context, loaded.dtype, loaded.generation)


def load_base(
    model: str, revision: str | None, tuning: TuningParams, device: str = "auto", dtype: str = "auto"
) -> Loaded:
    """The same without adapters, for trainers that put them in themselves.

    Raises:
        EngineError: The checkpoint can't be loaded, or has nothing of what is to be trained.
    """
    place = pick_device(device)
    compute = pick_dtype(dtype, place)
    # AdamW's small steps get lost in bfloat16 weights: what is trained is kept in float32 and cast for computing.
    stored = torch.float32 if tuning.mode == "full" else compute
    checkpoint = load_checkpoint(model, revision, place, stored)
    _set_trainable(checkpoint.model, tuning)
    return Loaded(
        model=checkpoint.model,
        processor=checkpoint.processor,
        end_tokens=checkpoint.end_tokens,
        context=checkpoint.context,
        dtype=compute,
        generation=_own_generation(model, revision, checkpoint.model),
    )


def lora_config(model: Any, tuning: TuningParams) -> LoraConfig | None:
    """How LoRA is put into a model; None for full tuning.

    Adapters go onto linear layers of the language model, never onto its output head. A trained projector is copied
    whole (`modules_to_save`), so that switching the adapter off gives the model as it was.

    Raises:
        EngineError: No layer of the language model has one of the named ends.
    """
    if tuning.lora is None or tuning.mode != "lora":
        return None
    from peft import LoraConfig

    prefix = _name_of(model, model.get_decoder())
    head = model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(f"{prefix}.") and module is not head
    ]
    wanted = tuning.lora.targets
    ends = sorted({name.rsplit(".", 1)[1] for name in linear})
    if wanted != "all-linear":
        unknown = sorted(set(wanted) - set(ends))
        if unknown:
            raise EngineError(
                f"lora.targets names {', '.join(unknown)}, which no linear layer of the language model is called",
                f"Use all-linear, or some of: {', '.join(ends)}.",
            )
        ends = sorted(set(wanted))
    return LoraConfig(
        r=tuning.lora.rank,
        lora_alpha=tuning.lora.alpha,
        lora_dropout=tuning.lora.dropout,
        target_modules=rf"{re.escape(prefix)}\.(?:.*\.)?(?:{'|'.join(map(re.escape, ends))})",
        modules_to_save=_projector_names(model) if tuning.train_projector else None,
        task_type="CAUSAL_LM",
    )


def frozen_copy(model: Any, dtype: torch.dtype) -> Any:
    """A copy of a fully tuned policy to compare it with: not trained, in the dtype that is computed in."""
    reference = copy.deepcopy(model).to(dtype)
    reference.requires_grad_(requires_grad=False)
    return reference.eval()


def save_weights(
    loaded: Loaded, folder: Path, *, save: Literal["merged", "adapter"] = "merged", base_name: str = ""
) -> None:
    """Save a trained policy; the same weights give the same bytes. The policy can't be trained on afterwards.

    Args:
        loaded: The policy; its model may be wrapped by PEFT.
        folder: Where to; it is made.
        save: With LoRA: whole weights, or the adapter alone (with a trained projector). vLLM takes adapters only
            where the projector was not trained.
        base_name: What an adapter calls its base model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wrapped = hasattr(loaded.model, "peft_config")
    if save == "adapter" and wrapped:
        _save_adapter(loaded, folder, base_name)
    else:
        network = loaded.model.merge_and_unload() if wrapped else loaded.model
        _save_merged(network, loaded, folder)
    # A fast tokenizer is saved with the padding and truncation of its last call, whatever that was.
    backend = getattr(loaded.processor.tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()
    loaded.processor.save_pretrained(folder)


def _save_merged(network: Any, loaded: Loaded, folder: Path) -> None:
    network.to(loaded.dtype)
    network.config.dtype = loaded.dtype
    network.generation_config = loaded.generation
    if not isinstance(network, LlavaForConditionalGeneration):
        network.save_pretrained(folder)
        return
    # Only the description; transformers' names for the weights are not those that vLLM reads.
    network.config.save_pretrained(folder)
    network.generation_config.save_pretrained(folder)
    tensors = {name: tensor.detach().cpu() for name, tensor in _published(network).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _published(network: LlavaForConditionalGeneration) -> Mapping[str, torch.Tensor]:
    """Tensors by the names of published LLaVA checkpoints; a head of its own, where the words aren't tied, included."""
    tensors = published_names(network)
    if not network.config.tie_word_embeddings:
        tensors["language_model.lm_head.weight"] = network.lm_head.weight.contiguous()
    return tensors


def _save_adapter(loaded: Loaded, folder: Path, base_name: str) -> None:
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(loaded.model)
    plain = {name: tensor.detach().to(loaded.dtype).cpu().contiguous() for name, tensor in sorted(tensors.items())}
    save_file(plain, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = loaded.model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": base_name, "inference_mode": True}
    listed = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    text = json.dumps(listed, indent=2, sort_keys=True, default=str)
    (folder / _ADAPTER_FILE).write_text(f"{text}\n", encoding="utf-8")


def _set_trainable(model: Any, tuning: TuningParams) -> None:
    model.requires_grad_(requires_grad=False)
    if tuning.mode == "lora":
        return  # PEFT makes trainable what it adds
    trained = [model.get_decoder(), model.get_output_embeddings()]
    if tuning.train_projector:
        trained += [model.get_submodule(name) for name in _projector_names(model)]
    for module in trained:
        module.requires_grad_(requires_grad=True)


def _projector_names(model: Any) -> list[str]:
    """Full names of the modules that turn what the vision tower sees into the language model's words.

    Raises:
        EngineError: No module is called like one.
    """
    language = _name_of(model, model.get_decoder())
    names: list[str] = []
    for name, _ in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in (language, *names))
        if not inside and _PROJECTORS.search(name.rsplit(".", 1)[-1]):
            names.append(name)
    if not names:
        raise EngineError(
            f"no projector was found in {type(model).__name__}", "Set tuning.train_projector to false for this model."
        )
    return names


def _name_of(model: Any, module: Any) -> str:
    for name, candidate in model.named_modules():
        if candidate is module and name:
            return str(name)
    raise EngineError(
        f"{type(model).__name__} has no language model of its own", "Use a vision language model of transformers."
    )


def _own_generation(model: str, revision: str | None, network: Any) -> GenerationConfig:
    """The generation settings that the checkpoint came with; loading replaces them by neutral ones."""
    try:
        return _generation_config(model, revision)
    except OSError:  # it has none
        return network.generation_config  # type: ignore[no-any-return]


def _generation_config(model: str, revision: str | None) -> GenerationConfig:
    where: dict[str, Any] = {} if revision is None or Path(model).is_dir() else {"revision": revision}
    return GenerationConfig.from_pretrained(model, **where)


def load_processor(model: str, revision: str | None) -> tuple[Any, tuple[int, ...], int | None]:
    """A model's processor without its weights, set up as for training.

    Args:
        model: Folder or hub id.
        revision: Hub revision.

    Returns:
        The processor, the token ids that end a text, and the most tokens the model takes (None if unknown).

    Raises:
        EngineError: It can't be loaded.
    """
    where: dict[str, Any] = {"revision": None if Path(model).is_dir() else revision, "trust_remote_code": False}
    try:
        processor: Any = AutoProcessor.from_pretrained(model, **where)  # type: ignore[no-untyped-call]
        config = AutoConfig.from_pretrained(model, **where)
    except Exception as error:  # transformers raises OSError, ValueError, ImportError, KeyError, …
        raise EngineError(
            f"the processor of {model} can't be loaded: {type(error).__name__}: {error}",
            "Check the model id and revision, the network, and HF_TOKEN for gated models.",
        ) from error
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    try:
        ends = _generation_config(model, revision).eos_token_id
    except OSError:  # it has none
        ends = None
    listed = ends if isinstance(ends, list) else [ends]
    end_tokens = tuple(dict.fromkeys(token for token in (*listed, tokenizer.eos_token_id) if token is not None))
    return processor, end_tokens, getattr(config.get_text_config(), "max_position_embeddings", None)
