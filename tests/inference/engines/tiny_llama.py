"""Tiny language models without images, made offline: one of random weights, and one that says a word and ends."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LLAMA_GUARD = (
    "{{ bos_token }}<|user|> Task: check the last {{ messages[-1]['role'] }} message . <conversation> "
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] | trim }} {% endfor %}"
    "</conversation> <|assistant|>"
)
"""Of the kind of Llama Guard's: turns are strings, all of them stand in one task."""

_TEXT = "safe unsafe task check the last assistant user message . : conversation how what card is it a sure first"
_WORDS = _TEXT.split(" ")
_CONTROL = ["<s>", "</s>", "<|user|>", "<|assistant|>", "[INST]", "[/INST]"]


def tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """A word level tokenizer that begins texts with `<s>`."""
    vocabulary = {word: number for number, word in enumerate([*_CONTROL, "<unk>", *_WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])])
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, **special, additional_special_tokens=_CONTROL[2:], clean_up_tokenization_spaces=False
    )
    wrapped.chat_template = template
    return wrapped


def save_llama(folder: Path, template: str | None = LLAMA_GUARD, says: str | None = None, hidden: int = 32) -> Path:
    """A model of the Llama family.

    Args:
        folder: Made here.
        template: Chat template; None for a model without one.
        says: What it answers to everything; random weights where None.
        hidden: Its width; vLLM needs 128 on the CPU.
    """
    words = tokenizer(template)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=hidden,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
        )
    )
    if says is not None:
        _always(model, words, says)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _always(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, says: str) -> None:
    """Every token leads to the word, and the word to the end: nothing else reaches the output."""
    word = words.convert_tokens_to_ids(says)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedded, out = model.model.embed_tokens.weight, model.lm_head.weight
        embedded.zero_()
        out.zero_()
        embedded[:, 0] = 1.0
        embedded[word] = 0.0
        embedded[word, 1] = 1.0
        out[word, 0] = 1.0
        out[words.eos_token_id, 1] = 1.0
