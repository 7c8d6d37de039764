"""Conversations to prompt text: the model's own chat template, and text that can't pose as its control tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from spavl_dag.errors import EngineError
from spavl_dag.inference.request import ImageRef, Message, Messages, Verbatim, as_single_turn, single_turn
from spavl_dag.thoughts import opened_by

PROBE = "seventeen"
"""A text that no template contains, to see what a template does with it."""

_PICTURE = ImageRef(sha256="", read=lambda: b"")
"""Stands for an image where only the text is rendered."""


class UnsupportedMessagesError(Exception):
    """A conversation that the chat template can't render, in a few words."""


class ChatFormat:
    """A checkpoint's chat template.

    Attributes:
        add_special_tokens: Whether the tokenizer adds its own begin token, because the template writes none.
        opening: The tag that opens a thought, where the template ends every prompt with it: a part of what the model
            says, without which a thought that is cut off can't be told from an answer.
        image_prompt: A short prompt with one image, up to where the model speaks.
    """

    def __init__(self, processor: Any, model: str) -> None:
        """Find the template and what it can do.

        Args:
            processor: The model's processor, with a `tokenizer`.
            model: Name of the model, for messages.

        Raises:
            EngineError: There is no template, or it doesn't render a user turn.
        """
        self._tokenizer = processor.tokenizer
        self._model = model
        self._template = _template_of(processor)
        self._control = _control_pattern(processor, self._template or "")
        # Whether the turns of a role are taken as content parts (True), as a string (False), or never (None).
        self._as_parts: dict[str, bool | None] = {}
        self._image_token: str | None = None
        self.image_prompt, self.opening = "", ""
        bos = self._tokenizer.bos_token
        if self._template is None:
            # It may still be put raw prompts; a conversation says what is missing.
            self.add_special_tokens = True
            return
        try:
            plain = self.text(single_turn(PROBE))
            if getattr(processor, "image_processor", None) is not None:
                self.image_prompt = self.text(single_turn("x", _PICTURE))
        except Exception as error:
            raise EngineError(
                f"the chat template of {model} does not render a user turn: {error}",
                "Use a checkpoint whose chat template takes content parts, as those for transformers do.",
            ) from error
        token = getattr(processor, "image_token", None)
        # Some processors' placeholder is not what the template writes; then it can't be counted.
        self._image_token = token if token and self.image_prompt.count(token) == 1 else None
        self.add_special_tokens = not (bos and plain.startswith(bos))
        self.opening = opened_by(plain)

    @cached_property
    def has_system_turn(self) -> bool:
        """Whether the template takes a system turn."""
        return self._takes_parts("system") is not None

    def text(self, messages: Messages) -> str:
        """The prompt of a conversation, ending where the model's turn begins.

        Raises:
            UnsupportedMessagesError: The template can't render it, or would leave out a part of it.
            EngineError: There is no template.
        """
        if [message.role for message in messages] == ["raw"]:
            return self._raw(messages[0])
        if self._template is None:
            raise EngineError(
                f"model {self._model} has no chat template",
                "Use an instruction-tuned checkpoint, or put a chat_template.jinja beside its weights.",
            )
        if not messages or messages[-1].role not in ("user", "judged"):
            raise UnsupportedMessagesError("the last turn isn't the user's")
        turns = self.turns(messages)
        if as_single_turn(messages) is not None:
            return self._render(turns)
        try:
            text = self._render(turns)
        except Exception as error:  # a template refuses by raising; any exception means that it can't do this
            raise UnsupportedMessagesError(f"the chat template can't render these turns: {error}") from error
        for message in messages:
            for part in message.parts:
                if isinstance(part, str) and self._plain(part).strip() not in text:
                    raise UnsupportedMessagesError(f"the chat template leaves out a text of a {message.role} turn")
        images = sum(isinstance(part, ImageRef) for message in messages for part in message.parts)
        if self._image_token and text.count(self._image_token) != images:
            raise UnsupportedMessagesError(f"the chat template doesn't place {images} images")
        return text

    def _raw(self, message: Message) -> str:
        """A prompt without the chat template; with the begin token, where the tokenizer isn't asked to add it."""
        if any(isinstance(part, ImageRef) for part in message.parts):
            raise UnsupportedMessagesError("an image in a raw prompt")
        text = "".join(part if isinstance(part, Verbatim) else self._plain(str(part)) for part in message.parts)
        bos = self._tokenizer.bos_token
        if not bos or not self._adds_begin:
            return text
        text = text.removeprefix(bos)
        return text if self.add_special_tokens else bos + text

    @cached_property
    def _adds_begin(self) -> bool:
        """Whether the tokenizer begins a text with its begin token by itself."""
        ids = self._tokenizer("x").input_ids
        return bool(ids) and ids[0] == self._tokenizer.bos_token_id

    def turns(self, messages: Messages) -> list[dict[str, Any]]:
        """A conversation as chat templates take it; its image parts hold no picture.

        Control tokens written out in a text (`<image>`, `</s>`, `<|im_start|>`) come from model-written or
        foreign text and must not act as such: a space after their first character makes them ordinary text.
        (A zero-width character would be stripped by some tokenizers' normalization, which would bring the
        token back.)

        Raises:
            UnsupportedMessagesError: The template has no turns of a role, or takes no images there.
        """
        return [self._turn(message) for message in messages]

    def _turn(self, message: Message) -> dict[str, Any]:
        role = "assistant" if message.role == "judged" else message.role
        as_parts = self._takes_parts(role)
        if as_parts is None:
            raise UnsupportedMessagesError(f"the chat template has no {role} turn")
        if message.role != "user" and any(isinstance(part, ImageRef) for part in message.parts):
            raise UnsupportedMessagesError(f"an image in a {role} turn")
        content = [
            {"type": "image"} if isinstance(part, ImageRef) else {"type": "text", "text": self._plain(part)}
            for part in message.parts
        ]
        return {
            "role": role,
            "content": content if as_parts else "\n".join(part["text"] for part in content),
        }

    def _plain(self, text: str) -> str:
        # The pattern matches at every place where a control token begins, overlapping ones included.
        return self._control.sub(r"\1 ", text) if self._control else text

    def _render(self, turns: Sequence[dict[str, Any]]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                turns, chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        )

    def _around(self, role: str, turn: dict[str, Any]) -> list[dict[str, Any]]:
        """A turn with those that it may need beside it."""
        if role == "user":
            return [turn]
        user = {"role": "user", "content": [{"type": "text", "text": "x"}] if self._takes_parts("user") else "x"}
        if role == "system":
            return [turn, user]
        return [user, turn]

    def _takes_parts(self, role: str) -> bool | None:
        """How the turns of a role are taken; tried out when it is first asked."""
        if role not in self._as_parts:
            self._as_parts[role] = next(filter(lambda form: self._renders(role, form), (True, False)), None)
        return self._as_parts[role]

    def _renders(self, role: str, as_parts: bool) -> bool:
        """Whether a turn in this form comes out as text."""
        turn = {"role": role, "content": [{"type": "text", "text": PROBE}] if as_parts else PROBE}
        try:
            text = self._render(self._around(role, turn))
        except Exception:  # a template refuses by raising; any exception means that it can't do this
            return False
        # A template that expects a string may print the list of parts as Python would.
        return PROBE in text and "'type'" not in text


def _template_of(processor: Any) -> str | None:
    template = getattr(processor, "chat_template", None) or processor.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return str(template) if template else None


def _control_pattern(processor: Any, template: str) -> re.Pattern[str] | None:
    """A pattern for the first character of every control token in a text.

    Control tokens are the tokenizer's special tokens, the processor's placeholders, and added tokens that the
    template writes.  Role words that are ordinary text (`USER:`) are none: no one can tell them from a prompt
    that has them.
    """
    tokenizer = processor.tokenizer
    tokens = set(tokenizer.all_special_tokens)
    tokens |= {str(value) for name, value in vars(processor).items() if name.endswith("_token") and value}
    for token in tokenizer.added_tokens_decoder.values():
        if token.special or (token.content.strip() and token.content in template):
            tokens.add(token.content)
    words = sorted(token for token in tokens if len(token) > 1)
    if not words:
        return None
    return re.compile(f"(?=(?:{'|'.join(map(re.escape, words))}))(.)", re.DOTALL)
