"""Conversations to tokens and tokens to texts, as the `transformers` engine does it; no weights are read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.prompts import ChatFormat, UnsupportedMessagesError
from spavl_dag.inference.engines.vllm.messages import Row
from spavl_dag.inference.request import Messages, single_turn


class PromptTokens:
    """A checkpoint's tokenizer and chat template.

    Attributes:
        chat: Its chat format.
        end_tokens: Token ids that end a text.
    """

    def __init__(self, processor: Any, end_tokens: tuple[int, ...], model: str) -> None:
        self.end_tokens = end_tokens
        self._tokenizer = processor.tokenizer
        self._takes_images = getattr(processor, "image_processor", None) is not None
        self.chat = ChatFormat(processor, model)
        self._image_id = _image_token_id(processor, self._of_text(self.chat.image_prompt))

    @classmethod
    def of_model(cls, model: str, revision: str | None) -> PromptTokens:
        """Load it.

        Raises:
            EngineError: It isn't there, or has no chat template.
        """
        from transformers import AutoConfig, AutoProcessor, GenerationConfig

        try:
            revision = None if Path(model).is_dir() else revision
            named: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
            processor: Any = AutoProcessor.from_pretrained(model, **named)  # type: ignore[no-untyped-call]
            try:
                generation = GenerationConfig.from_pretrained(model, revision=revision or "main")
            except OSError:  # a checkpoint without the file
                config = AutoConfig.from_pretrained(model, **named)
                generation = GenerationConfig.from_model_config(config)
        except Exception as error:
            raise EngineError(f"the processor of {model} can't be loaded: {type(error).__name__}: {error}") from error
        ids = generation.eos_token_id
        ends = [*(ids if isinstance(ids, list) else [ids]), processor.tokenizer.eos_token_id]
        return cls(processor, tuple(dict.fromkeys(token for token in ends if token is not None)), model)

    def of(self, messages: Messages) -> tuple[int, ...]:
        """The prompt of a conversation; each image is one token, which vLLM makes as many of as the model sees.

        Raises:
            UnsupportedMessagesError: The template can't put it, or doesn't place its images.
        """
        tokens = self._of_text(self.chat.text(messages))
        images = sum(not isinstance(part, str) for message in messages for part in message.parts)
        if self._image_id is not None and tokens.count(self._image_id) != images:
            raise UnsupportedMessagesError(f"the chat template doesn't place {images} images")
        return tokens

    def text(self, tokens: Sequence[int]) -> str:
        """What the model said, without special tokens, exactly as it wrote it."""
        said = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return f"{self.chat.opening}{said}"

    def probes(self) -> tuple[Row, ...]:
        """Rows that any working model takes."""
        rows = [Row(-1, self._of_text(self.chat.text(single_turn("hello"))), (), 0)]
        if self._takes_images:
            rows.append(Row(-2, self._of_text(self.chat.image_prompt), (("grey", _grey_png()),), 0))
        return tuple(rows)

    def _of_text(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=self.chat.add_special_tokens).input_ids)


def _image_token_id(processor: Any, prompt: Sequence[int]) -> int | None:
    """The token that stands for an image, where it can be counted in a prompt that has one."""
    number = getattr(processor, "image_token_id", None)
    return number if number is not None and list(prompt).count(number) == 1 else None


def _grey_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()
