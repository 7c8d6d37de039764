"""What a model is asked and what comes back: the words that clients, keys, engines and the ledger share.

Belongs here: plain data. How a request becomes text or tokens is an engine's business, what its answer means is a
parser's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from spavl_dag.errors import SpavlError
from spavl_dag.states import CallState


class ChangedImageError(SpavlError):
    """An image file of an artifact doesn't hold the bytes that the artifact's table names."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Decoding parameters, normalized; all of them are part of a call's key.

    Attributes:
        max_new_tokens: Upper bound of generated tokens.
        temperature: 0 is greedy; then top_p and top_k have no effect.
        top_p: Nucleus mass in (0, 1].
        top_k: Number of candidates kept; 0 keeps all.
        repetition_penalty: 1 is none.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Who is asked, and how.

    Role and template are not in a call's key (the rendered prompt is); everything else is, what has a default here
    only where it differs from it.

    Attributes:
        role: Key path in params.yaml, such as `roles.judge` or `models.m01`.
        engine: Engine family.
        model: Hub id, or the artifact's name for a model made here.
        revision: Commit on the hub, or the content hash of local weights.
        system: System turn of prompts made from the template, or None for no such turn.
        template: Source of the prompt template.
        decoding: Decoding parameters.
        precision: Type or quantization of the weights, such as `bfloat16` or `awq`; None for the engine's default.
        endpoint: Address of a hosted model, without credentials; None where the model runs on this machine.
        adapters: Content hashes of adapters put onto the weights, in their order.
        structured_output: What the text is held to: JSON with one of the keys `choice` (a list of texts), `json` (a
            schema), `regex` and `grammar`.
        engine_options: What else `engines.<name>` says that changes texts, as JSON.
    """

    role: str
    engine: str
    model: str
    revision: str
    system: str | None
    template: str
    decoding: Decoding
    precision: str | None = None
    endpoint: str | None = None
    adapters: tuple[str, ...] = ()
    structured_output: str | None = None
    engine_options: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The fields that have a default and differ from it."""
        return {
            field.name: value
            for field in fields(self)
            if field.default is not MISSING and (value := getattr(self, field.name)) != field.default
        }

    def as_json(self) -> str:
        """What the ledger keeps once for all calls of this spec."""
        content = {
            "engine": self.engine,
            "model": self.model,
            "revision": self.revision,
            "system": self.system,
            "decoding": asdict(self.decoding),
        }
        return json.dumps(content | self.options, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image by its content, read only when it is needed.

    Attributes:
        sha256: Hex digest of the encoded bytes (64 characters).
        read: Returns the encoded bytes (PNG, JPEG, …).
    """

    sha256: str
    read: Callable[[], bytes]

    @classmethod
    def of_file(cls, path: Path | str, sha256: str) -> ImageRef:
        """An image file of an artifact, `<artifact>/files/<name>`, with the hash that the artifact's table names."""
        return cls(sha256, CheckedFile(str(path), sha256))


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """Reads a file and gives its bytes only if they are those with the hash.

    What is made of an image is kept under its hash, so that other bytes would be answered for once and for all.

    Attributes:
        path: The file, `<artifact>/files/<name>`.
        sha256: Hex digest of its bytes.
    """

    path: str  # a million of them are made before one is read, and a Path takes ten times as long
    sha256: str

    def __call__(self) -> bytes:
        """The file's bytes.

        Raises:
            ChangedImageError: It holds other bytes, or can't be read.
        """
        path = Path(self.path)
        artifact = path.parent.parent.name
        hint = f"Run `spavl run {artifact}` again."
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ChangedImageError(f"{self.path} can't be read any more ({error.strerror})", hint) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ChangedImageError(f"{self.path} changed since `{artifact}` was made", hint)
        return data


class Verbatim(str):
    """A text of a prompt that a model was trained on: in a raw conversation its control tokens act."""

    __slots__ = ()


class Message(NamedTuple):
    """One turn of a conversation.

    A conversation that is one turn of `raw` is put to the model without a chat template: its parts one after another,
    those that are `Verbatim` as they are, the others with their control tokens defused. A last turn that is `judged` is
    the assistant's for a chat template that asks about it, as Llama Guard's does.

    Attributes:
        role: Who speaks.
        parts: Texts and images, in the order in which the model reads them.
    """

    role: Literal["system", "user", "assistant", "judged", "raw"]
    parts: tuple[str | ImageRef, ...]


Messages = tuple[Message, ...]


class SingleTurn(NamedTuple):
    """The parts of a conversation that `single_turn` made."""

    prompt: str
    image: ImageRef | None
    system: str | None


def single_turn(prompt: str, image: ImageRef | None = None, system: str | None = None) -> Messages:
    """The usual conversation: a system turn or none, then a user turn of at most one image and a text.

    Args:
        prompt: Text of the user turn.
        image: Stands before the text.
        system: Text of the system turn; None for no such turn.
    """
    user = Message("user", (prompt,) if image is None else (image, prompt))
    return (user,) if system is None else (Message("system", (system,)), user)


def as_single_turn(messages: Messages) -> SingleTurn | None:
    """What `single_turn` was given, or None for any other conversation."""
    # Asked for every key, also of calls that the ledger has: twice as fast as `match`.
    if not messages or len(messages) > 2:
        return None
    system: str | None = None
    if len(messages) == 2:
        role, parts = messages[0]
        if role != "system" or len(parts) != 1 or not isinstance(parts[0], str):
            return None
        system = parts[0]
    role, parts = messages[-1]
    if role != "user" or not parts or len(parts) > 2 or not isinstance(prompt := parts[-1], str):
        return None
    if len(parts) == 1:
        return SingleTurn(prompt, None, system)
    return SingleTurn(prompt, image, system) if isinstance(image := parts[0], ImageRef) else None


@dataclass(frozen=True, slots=True)
class Request:
    """One model call.

    Attributes:
        key: Ledger key (16 bytes); engines give it back with what they generated.
        messages: The conversation up to where the model speaks.
        seed: Seed of this call's sampling (unsigned 64 bit); the same
            seed gives the same text whatever stands beside it.
        structured_output: What the text is held to, as in `ModelSpec`.
    """

    key: bytes
    messages: Messages
    seed: int
    structured_output: str | None = None

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """All images, in order."""
        return tuple(part for message in self.messages for part in message.parts if isinstance(part, ImageRef))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, in order."""
        return tuple(part for message in self.messages for part in message.parts if isinstance(part, str))


class Generation(NamedTuple):
    """What came of a request.

    Attributes:
        key: The request's key (16 bytes).
        state: `ok` when text came back, else `permanent_error` or `transient_error`; in the ledger also what a parser
            made of the text: `refused` or `unparsable`.
        text: Decoded output without special tokens, exactly as the model wrote it ("" on errors).
        finish_reason: "stop", "length", or "error".
        prompt_tokens: Tokens of the prompt, image tokens included.
        completion_tokens: Generated tokens, end-of-sequence included.
        cost_usd: Price of the call; 0 for local engines.
        error: What went wrong, for the two error states.
    """

    key: bytes
    state: CallState
    text: str
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    error: str | None = None

    @property
    def call_key(self) -> str:
        """The key as tables hold it: 32 hex digits."""
        return self.key.hex()


def readable(messages: Sequence[Message]) -> str:
    """Any conversation as JSON for people; images by their hashes."""
    turns = [
        {
            "role": role,
            "content": [{"image": part.sha256} if isinstance(part, ImageRef) else {"text": part} for part in parts],
        }
        for role, parts in messages
    ]
    return json.dumps(turns, ensure_ascii=False)
