"""Conversations to tokens and tokens to texts, as the `transformers` engine does it; no weights are read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from spavl_dag.inference.engines.loading import load_processor
from spavl_dag.inference.engines.prompts import ChatFormat, UnsupportedMessagesError
from spavl_dag.inference.engines.vllm.messages import Row
from spavl_dag.inference.request import Message, Messages


class PromptTokens:
    """A checkpoint's tokenizer and chat template.

    Attributes:
        chat: Its chat format.
        end_tokens: Token ids that end a text.
    """

    def __init__(self, model: str, revision: str | None) -> None:
        """Load it.

        Args:
            model: Local folder or hub id.
            revision: Branch, tag or commit on the hub.

        Raises:
            EngineError: It isn't there, or of a kind that can't be asked.
        """
        processor, self.end_tokens = load_processor(model, revision)
        self._tokenizer = processor.tokenizer
        self.chat = ChatFormat(processor, model)
        self._image_id = _image_token_id(processor, self._of_text(self.chat.image_prompt))

    @property
    def sees(self) -> bool:
        """Whether the model takes images."""
        return bool(self.chat.image_prompt)

    def of(self, messages: Messages) -> tuple[int, ...]:
        """The prompt of a conversation; each image is one token, which vLLM makes as many of as the model sees.

        Raises:
            UnsupportedMessagesError: The template can't put it, or doesn't place its images.
            EngineError: There is no template.
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
        rows = [Row(-1, self.of((Message("raw", ("hello",)),)), (), 0)]
        if self.sees:
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
