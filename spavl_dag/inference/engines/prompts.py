"""Requests to prompt text: the model's own chat template, and text that can't pose as its control tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import Request
from spavl_dag.thoughts import opened_by

_PROBE = "seventeen"
"""A text that no template contains, to see what a template does with it."""


class ChatFormat:
    """A checkpoint's chat template.

    Attributes:
        add_special_tokens: Whether the tokenizer adds its own begin token, because the template writes none.
        opening: The tag that opens a thought, where the template ends every prompt with it: a part of what the model
            says, without which a thought that is cut off can't be told from an answer.
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
        self._template = _template_of(processor, model)
        self._control = _control_pattern(processor, self._template)
        try:
            plain = self._render([self._conversation(_PROBE, None, None, with_image=False)])[0]
        except Exception as error:
            raise EngineError(
                f"the chat template of {model} does not render a user turn: {error}",
                "Use a checkpoint whose chat template takes content parts, as those for transformers do.",
            ) from error
        bos = self._tokenizer.bos_token
        self.add_special_tokens = not (bos and plain.startswith(bos))
        self.opening = opened_by(plain)
        self._system_as_parts = self._probe_system()

    def texts(self, requests: Sequence[Request]) -> list[str]:
        """Render the prompt of each request, ending where the model's turn begins.

        Control tokens written out in a prompt (`<image>`, `</s>`, `<|im_start|>`) come from model-written or
        foreign text and must not act as such: a space after their first character makes them ordinary text.
        (A zero-width character would be stripped by some tokenizers' normalization, which would bring the
        token back.)

        Raises:
            EngineError: A request has a system turn and the template has none.
        """
        conversations = []
        for request in requests:
            system = None if request.system is None else self._plain(request.system)
            if system is not None and self._system_as_parts is None:
                raise EngineError(
                    f"the chat template of {self._model} has no system turn",
                    "Leave the system prompt out, or put it into the prompt template.",
                )
            conversations.append(
                self._conversation(
                    self._plain(request.prompt),
                    system,
                    self._system_as_parts,
                    with_image=request.image is not None,
                )
            )
        return self._render(conversations)

    def _plain(self, text: str) -> str:
        # The pattern matches at every place where a control token begins, overlapping ones included.
        return self._control.sub(r"\1 ", text) if self._control else text

    def _render(self, conversations: list[list[dict[str, Any]]]) -> list[str]:
        texts: list[str] = self._tokenizer.apply_chat_template(
            conversations, chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        return texts

    @staticmethod
    def _conversation(
        prompt: str, system: str | None, system_as_parts: bool | None, *, with_image: bool
    ) -> list[dict[str, Any]]:
        user: list[dict[str, str]] = [{"type": "image"}] if with_image else []
        turns: list[dict[str, Any]] = [{"role": "user", "content": [*user, {"type": "text", "text": prompt}]}]
        if system is not None:
            content = [{"type": "text", "text": system}] if system_as_parts else system
            turns.insert(0, {"role": "system", "content": content})
        return turns

    def _probe_system(self) -> bool | None:
        """Whether a system turn is taken as content parts (True), as a string (False), or never (None)."""
        for as_parts in (True, False):
            try:
                text = self._render([self._conversation("x", _PROBE, as_parts, with_image=False)])[0]
            except Exception:  # a template refuses by raising; any exception means that it can't do this
                continue
            # A template that expects a string may print the list of parts as Python would.
            if _PROBE in text and "'type'" not in text:
                return as_parts
        return None


def _template_of(processor: Any, model: str) -> str:
    template = getattr(processor, "chat_template", None) or processor.tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise EngineError(
            f"model {model} has no chat template",
            "Use an instruction-tuned checkpoint, or put a chat_template.jinja beside its weights.",
        )
    return str(template)


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
