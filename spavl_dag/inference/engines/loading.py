"""Load a checkpoint of transformers: safetensors only, no code from the checkpoint, nothing missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
)

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.checkpoint_files import check_adapter_files, check_model_files
from spavl_dag.inference.engines.progress_bars import hide_loading_bars

hide_loading_bars()

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to generate.

    Attributes:
        model: The model, in evaluation mode, on its device.
        processor: Its processor; the tokenizer pads on the left.
        pad_token: Token id used for padding.
        end_tokens: Token ids that end a text.
        context: Most tokens of prompt and text together, or None if unknown.
    """

    model: Any
    processor: Any
    pad_token: int
    end_tokens: tuple[int, ...]
    context: int | None

    def generation_config(self, max_new_tokens: int) -> GenerationConfig:
        """Decoding that takes the most likely token, with none of the checkpoint's own sampling settings."""
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(self.end_tokens) or None,
            pad_token_id=self.pad_token,
            bos_token_id=self.processor.tokenizer.bos_token_id,
        )


def pick_device(device: str) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:<n>" into a device that is there.

    Raises:
        EngineError: It isn't.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise EngineError(f"device {device!r} is unknown", "Use auto, cpu, cuda or cuda:<n>.") from error
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise EngineError(
            f"device {device!r} is not there: torch sees {torch.cuda.device_count()} GPUs",
            "Use `device: auto`.",
        )
    return picked


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Turn "auto" or a name into a dtype.

    Raises:
        EngineError: The name is unknown.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in _DTYPES:
        raise EngineError(f"dtype {dtype!r} is unknown", f"Use auto, {', '.join(_DTYPES)}.")
    return _DTYPES[dtype]


def load_checkpoint(
    model: str, revision: str | None, device: torch.device, dtype: torch.dtype, adapter: str | None = None
) -> Checkpoint:
    """Load a model and its processor.

    Args:
        model: Local folder or hub id.
        revision: Branch, tag or commit on the hub; no more than a name for the state of a local folder.
        device: Where the weights go.
        dtype: Type of the weights.
        adapter: Folder of a LoRA adapter, merged into the weights, or None.

    Raises:
        EngineError: The checkpoint is not there, not safe, not whole, or of a kind that can't be asked.
    """
    _check_folder(model)
    where = f"{model} at revision {revision}" if revision else model
    on_hub = not Path(model).is_dir()
    if adapter is not None:
        check_adapter_files(adapter)
    common: dict[str, Any] = {"revision": revision if on_hub else None, "trust_remote_code": False}
    try:
        family = _family_of(model, common)
        processor = family.processor(model, common)
        check_model_files(model, common["revision"])
        loaded: Any = family.model.from_pretrained(
            model, **common, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
        network, report = loaded
    except EngineError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, ImportError, KeyError, RuntimeError, …
        raise EngineError(f"model {where} can't be loaded: {type(error).__name__}: {error}", _mend(error)) from error
    if report["missing_keys"]:
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise EngineError(
            f"model {where} lacks {len(report['missing_keys'])} weights ({names}, …)",
            "They would be random numbers. Save the checkpoint again with its whole model.",
        )
    lacks_images = family.sees and getattr(processor, "image_processor", None) is None
    if getattr(processor, "tokenizer", None) is None or lacks_images:
        raise EngineError(
            f"model {where} has no processor with a tokenizer and an image processor",
            "Save the processor beside the weights: processor.save_pretrained(folder).",
        )
    if adapter is not None:
        network = _with_adapter(network, adapter, where)
    try:
        network.to(device).eval()
    except RuntimeError as error:
        raise EngineError(
            f"model {where} does not fit on {device}: {error}", "Use a smaller model or dtype."
        ) from error
    return _assemble(network, processor, where)


def load_processor(model: str, revision: str | None) -> tuple[Any, tuple[int, ...]]:
    """A model's processor and the tokens that end its texts, without its weights.

    Args:
        model: Local folder or hub id.
        revision: Branch, tag or commit on the hub.

    Raises:
        EngineError: It is not there, or of a kind that can't be asked.
    """
    _check_folder(model)
    common: dict[str, Any] = {"revision": None if Path(model).is_dir() else revision, "trust_remote_code": False}
    try:
        processor = _family_of(model, common).processor(model, common)
        try:
            generation = GenerationConfig.from_pretrained(model, revision=common["revision"] or "main")
        except OSError:  # a checkpoint without that file
            generation = GenerationConfig.from_model_config(AutoConfig.from_pretrained(model, **common))
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(
            f"the processor of {model} can't be loaded: {type(error).__name__}: {error}", _mend(error)
        ) from error
    return processor, _end_tokens(generation, processor.tokenizer)


def _end_tokens(generation: GenerationConfig, tokenizer: Any) -> tuple[int, ...]:
    ends = generation.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    return tuple(dict.fromkeys(token for token in (*listed, tokenizer.eos_token_id) if token is not None))


class TextProcessor:
    """Stands in for the processor of a model without images.

    Attributes:
        tokenizer: Its tokenizer.
        chat_template: Its chat template, if it has one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.chat_template = tokenizer.chat_template

    def __call__(self, text: list[str], **options: Any) -> Any:
        """Texts as tokens."""
        return self.tokenizer(text, **options)


@dataclass(frozen=True)
class _Family:
    """How a kind of models is loaded.

    Attributes:
        model: Its class of transformers.
        sees: Whether it takes images.
    """

    model: Any
    sees: bool

    def processor(self, model: str, common: dict[str, Any]) -> Any:
        """What makes inputs of texts, and of images where it sees."""
        if self.sees:
            return AutoProcessor.from_pretrained(model, **common)  # type: ignore[no-untyped-call]
        return TextProcessor(AutoTokenizer.from_pretrained(model, **common))


def _family_of(model: str, common: dict[str, Any]) -> _Family:
    """Whether a model sees, only reads, or is of a kind that can't be asked here; by its config alone."""
    config = AutoConfig.from_pretrained(model, **common)
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return _Family(AutoModelForImageTextToText, sees=True)
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not config.is_encoder_decoder:
        return _Family(AutoModelForCausalLM, sees=False)
    raise EngineError(
        f"model {model} is a {config.model_type}, which neither writes on from a prompt nor sees a picture",
        "Name a vision language model, or a causal language model.",
    )


def _with_adapter(network: Any, adapter: str, where: str) -> Any:
    from peft import PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict

    hint = "It must have been trained on exactly this model; make the checkpoint again."
    try:
        config = PeftConfig.from_pretrained(adapter)
        config.inference_mode = True
        wrapped = PeftModel(network, config)
        # Not PeftModel.from_pretrained: it only warns of what is missing.
        report: Any = set_peft_model_state_dict(wrapped, load_peft_weights(adapter, device="cpu"))
    except Exception as error:  # a missing or foreign adapter ends in OSError, ValueError, RuntimeError, KeyError, …
        raise EngineError(
            f"adapter {adapter} can't be put onto {where}: {type(error).__name__}: {error}", hint
        ) from error
    missing = [name for name in report.missing_keys if "default" in name.split(".")]  # what the adapter adds
    for names, problem in ((missing, "lacks"), (report.unexpected_keys, "holds, beside those of its model,")):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise EngineError(f"adapter {adapter} {problem} {len(names)} weights of {where} ({some}, …)", hint)
    return wrapped.merge_and_unload()


def _assemble(network: Any, processor: Any, where: str) -> Checkpoint:
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    end_tokens = _end_tokens(network.generation_config, tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise EngineError(
            f"the tokenizer of {where} has neither a padding nor an end token", "Set pad_token in its config."
        )
    text_config = network.config.get_text_config()
    checkpoint = Checkpoint(
        model=network,
        processor=processor,
        pad_token=tokenizer.pad_token_id,
        end_tokens=end_tokens,
        context=getattr(text_config, "max_position_embeddings", None),
    )
    # What a call leaves open, generate() takes from here: temperature, max_length and the like of the
    # checkpoint.
    network.generation_config = checkpoint.generation_config(max_new_tokens=1)
    return checkpoint


def _check_folder(model: str) -> None:
    looks_local = model.startswith((".", "~", os.sep)) or model.count("/") > 1
    if looks_local and not Path(model).is_dir():
        raise EngineError(f"model folder {model} does not exist", "Make the artifact first, or name a hub id.")


def _mend(error: Exception) -> str:
    words = str(error)
    if "trust_remote_code" in words:
        return "It brings its own code, which is never run. Use an architecture that transformers has."
    if "safetensors" in words:
        return "Only safetensors weights are read. Convert the checkpoint, or use one that has them."
    if isinstance(error, ImportError):
        return "Install what it asks for."
    return "Check the model id and revision, the network, and HF_TOKEN for gated models; or name a local folder."
