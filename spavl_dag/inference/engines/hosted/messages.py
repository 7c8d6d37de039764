"""Conversations as the API takes them."""

from __future__ import annotations

import base64
import re
from typing import Any

from spavl_dag.inference.request import ImageRef, Message, Messages, Verbatim

_TYPES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}

# What chat templates write between turns and for images. A server takes them for what they are wherever they stand.
_CONTROL = re.compile(
    r"(?=<\|[^<>|\s]{1,40}\|>|</?s>|<image>|<image_soft_token>|<(?:start|end)_of_(?:turn|image)>|\[/?INST\]|<</?SYS>>)(.)"
)


def plain(text: str) -> str:
    """A text in which no control token of a chat template acts: a space follows its first character."""
    return _CONTROL.sub(r"\1 ", text)


def chat_messages(messages: Messages, detail: str | None) -> list[dict[str, Any]]:
    """The `messages` of a chat completion; images as data URLs.

    Args:
        messages: The conversation.
        detail: Of images, as the API takes it.

    Raises:
        ChangedImageError: An image isn't what it was.
    """
    return [
        {"role": "assistant" if message.role == "judged" else message.role, "content": _content(message, detail)}
        for message in messages
    ]


def completion_prompt(message: Message) -> str:
    """The `prompt` of a completion: a raw conversation's text, in which only what is `Verbatim` acts."""
    return "".join(part if isinstance(part, Verbatim) else plain(str(part)) for part in message.parts)


def _content(message: Message, detail: str | None) -> str | list[dict[str, Any]]:
    if all(isinstance(part, str) for part in message.parts):
        return "\n".join(plain(str(part)) for part in message.parts)
    return [_image(part, detail) if isinstance(part, ImageRef) else {"type": "text", "text": plain(part)}
            for part in message.parts]  # fmt: skip


def _image(image: ImageRef, detail: str | None) -> dict[str, Any]:
    data = image.read()
    kind = next((name for start, name in _TYPES.items() if data.startswith(start)), "png")
    url: dict[str, Any] = {"url": f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"}
    return {"type": "image_url", "image_url": url | ({"detail": detail} if detail else {})}
