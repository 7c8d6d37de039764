"""The tiny LLaVA: tokenizer, processor and untrained model, and the folder they are saved in."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from spavl_dag.inference.engines.llava_names import published_names
from spavl_dag.inference.engines.progress_bars import hide_loading_bars
from spavl_dag.params.pictograms import PictogramModelParams

PAD, BOS, EOS, UNKNOWN, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
SYSTEM, USER, ASSISTANT = "<system>", "<user>", "<assistant>"
LABELS = ("A", "B")
"""The names of compared answers: the only words whose capitals count."""

# The backgrounds of the cards lie around this mean, so an empty patch is nearly zero and ink stands out.
_IMAGE_MEAN = (0.95, 0.92, 0.85)
_IMAGE_STD = (0.25, 0.25, 0.25)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ {'system': '<system> ', 'user': '<user> ', 'assistant': '<assistant> '}[message['role']] }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<image> {% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def conversation_text(system: str | None, user: str, image_tokens: int) -> str:
    """What the chat template makes of one question, its picture already expanded to `image_tokens` tokens.

    Much quicker than the template, which matters when tens of thousands of conversations are made in a
    training.
    """
    turn = "" if system is None else f"{SYSTEM} {system}"
    return f"{BOS}{turn}{USER} {IMAGE * image_tokens} {user}{ASSISTANT} "


def build_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words and single marks; what it doesn't know becomes the unknown token."""
    specials = [PAD, BOS, EOS, UNKNOWN, IMAGE, SYSTEM, USER, ASSISTANT]
    table = {word: index for index, word in enumerate([*specials, *LABELS, *words])}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    # Added tokens are found before the text is lower-cased: so "A" is a label and "a" the article.
    tokenizer.add_tokens([AddedToken(label, single_word=True, normalized=False) for label in LABELS])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast, params: PictogramModelParams) -> LlavaProcessor:
    """Tokenizer, picture preparation and chat template in one."""
    size = {"height": params.image_size, "width": params.image_size}
    pictures = CLIPImageProcessorPil(
        do_resize=True,
        size=size,
        # Box: halving a card is then the mean of two by two pixels, which the training computes itself.
        resample=4,
        do_center_crop=False,
        crop_size=size,
        do_rescale=True,
        do_normalize=True,
        image_mean=list(_IMAGE_MEAN),
        image_std=list(_IMAGE_STD),
        do_convert_rgb=True,
    )
    return LlavaProcessor(  # type: ignore[no-untyped-call]
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=params.patch_size,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=1,  # the tower's class token, which the "default" strategy drops again
    )


def normalize_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """What the processor makes of colours in 0 to 255, shape (cards, 3, height, width)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (_IMAGE_MEAN, _IMAGE_STD))
    return (pixels / 255 - mean) / std


def build_model(tokenizer: PreTrainedTokenizerFast, params: PictogramModelParams) -> LlavaForConditionalGeneration:
    """The model with fresh weights, drawn from torch's global generator."""
    ids: dict[str, Any] = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = CLIPVisionConfig(
        hidden_size=params.vision_width,
        intermediate_size=2 * params.vision_width,
        projection_dim=params.vision_width,
        num_hidden_layers=params.vision_layers,
        num_attention_heads=params.heads,
        image_size=params.image_size,
        patch_size=params.patch_size,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=params.text_width,
        intermediate_size=params.text_inner_width,
        num_hidden_layers=params.text_layers,
        num_attention_heads=params.heads,
        max_position_embeddings=params.context,
        tie_word_embeddings=True,
        **ids,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=cast(int, tokenizer.convert_tokens_to_ids(IMAGE)),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=image_tokens(params),
        tie_word_embeddings=True,
        **ids,
    )
    model = LlavaForConditionalGeneration(config)
    # The defaults are meant for wide models. Tied words need a scale at which the first logits differ, and
    # the place of a patch must not drown in its ink.
    with torch.no_grad():
        word_table(model).normal_(std=0.1)
        for name, param in model.named_parameters():
            if name.endswith("position_embedding.weight"):
                param.normal_(std=0.5)
        # Most roles ask whether two places name the same thing. Keys that start as copies of the queries make every
        # word attend to its like, in the text or in the picture, from the first step.
        for layer in model.model.language_model.layers:
            layer.self_attn.q_proj.weight.normal_(std=0.06)
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    generation = GenerationConfig(do_sample=False, max_new_tokens=64, **ids)  # type: ignore[no-untyped-call]
    model.generation_config = generation
    return model


def image_tokens(params: PictogramModelParams) -> int:
    """How many tokens a picture takes."""
    return (params.image_size // params.patch_size) ** 2


def word_table(model: LlavaForConditionalGeneration) -> torch.nn.Parameter:
    """The vectors of the words, which the model's output uses too, shape (words, text width)."""
    return cast(torch.nn.Parameter, model.get_input_embeddings().weight)


def save_checkpoint(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Write the folder that the Auto classes load; the same weights give the same bytes.

    The tensors get the names they have in published LLaVA checkpoints, with `vision_tower.vision_model.*`,
    which transformers and vLLM both read; transformers 5 would leave the middle out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hide_loading_bars()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    (folder / "model.safetensors").write_bytes(save(published_names(model), metadata={"format": "pt"}))
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text("utf-8"))
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
