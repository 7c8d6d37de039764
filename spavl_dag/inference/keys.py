"""The key of a model call: a fingerprint of everything that can change the answer, and of nothing else.

What counts, always: model and revision, the conversation (texts, and images by the sha256 of their bytes), the
decoding parameters that have an effect, the sample's index and the project's seed. What counts only where it differs
from its default: the engine's family (default `transformers`) and version (1), precision, endpoint, adapters,
structured output, and whatever field with a default `ModelSpec` and `Decoding` get later. What doesn't count: role and
template (the text they give does), paths, row order, batch size, device, the artifact or partition that asks. Two
artifacts that ask the same thing share the call.

The sample's index is real: `Prompt.sample_index` asks the same thing several times and keeps each answer. It has its
place in every key and its column in the ledger since the first version, and a prompt that is sampled n times (best of
n, agreement of a judge with itself) can't be told from n repeated calls without it.

Encoding: every field is written as its length and its characters (None has a mark of its own), all of them as
UTF-8, so no two identities write the same bytes. A conversation of one user turn with at most one image in front, which
is all that could be asked at first, is written as three fields: system, prompt, image. Any other is one more field at
the end, where the fields that differ from their defaults follow by name. So a new field leaves the keys of all calls
that don't use it as they are. The hash is blake2b with 128 bits: among a billion calls the chance of one clash is about
1e-21.

Changing the encoding, or the default of a field, changes every key, and every call is made, and paid, again. Where
that is meant, raise `KEY_SCHEMA`: old rows then stay in the ledger and are never found again.
`tests/inference/test_keys.py` holds golden keys so that it can't happen by accident. A field that is added with a
default, and an engine's raised version, need no such step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from hashlib import blake2b
from typing import Any

from spavl_dag.inference.engines import engine_version
from spavl_dag.inference.request import Decoding, ImageRef, Messages, ModelSpec, as_single_turn

KEY_SCHEMA = 1
KEY_BYTES = 16

_DEFAULT_ENGINE = "transformers"
_FIRST_DECODING = frozenset({"max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty"})
"""Written in every key, at a place of their own."""


class CallKeys:
    """Makes the keys of calls to one model.

    Args:
        spec: Who is asked, and how.
        seed: The project's seed (not the call's own, which `row_seed` derives).
    """

    def __init__(self, spec: ModelSpec, seed: int) -> None:
        self._spec = spec
        self._seed = f",{seed}"
        self._options = _named(_options(spec))
        self._system: str | None = None
        self._start = self._hash_of_model(None)

    def key(self, messages: Messages, sample_index: int = 0) -> bytes:
        """The ledger key of a call: 16 bytes, the same on every machine and Python version.

        Args:
            messages: The conversation.
            sample_index: Number of the sample, where the same is asked several times.
        """
        single = as_single_turn(messages)
        if single is None:
            system, more = None, _named({"messages": _conversation(messages)})
            text = f"--{sample_index}{self._seed}{more}{self._options}"
        else:
            prompt, image, system = single
            sha256 = "-" if image is None else _field(image.sha256)
            text = f"{len(prompt)}:{prompt}{sha256}{sample_index}{self._seed}{self._options}"
        if system != self._system:
            self._system, self._start = system, self._hash_of_model(system)
        state = self._start.copy()
        state.update(_bytes(text))
        return state.digest()

    def _hash_of_model(self, system: str | None) -> blake2b:
        """Hash state after the fields that most calls share; never updated in place."""
        spec = self._spec
        shared = (f"spavl-call {KEY_SCHEMA}", spec.model, spec.revision, system, _canonical(spec.decoding))
        return blake2b(_bytes("".join(map(_field, shared))), digest_size=KEY_BYTES)


def row_seed(key: bytes) -> int:
    """The sampling seed of a call, from its key: unsigned 63 bit, which SQLite and every engine can hold."""
    return int.from_bytes(key[:8], "big") >> 1


def _options(spec: ModelSpec) -> dict[str, Any]:
    """All that differs from its default and has no place of its own."""
    options = dict(spec.options)
    if spec.engine != _DEFAULT_ENGINE:
        options["engine"] = spec.engine
    if (version := engine_version(spec.engine)) > 1:
        options["engine_version"] = version
    for field in fields(Decoding):
        value = getattr(spec.decoding, field.name)
        if field.name not in _FIRST_DECODING and value != field.default:
            options[f"decoding.{field.name}"] = value
    return options


def _named(options: Mapping[str, Any]) -> str:
    """Fields by name, as JSON; nothing for no fields."""
    return "".join(
        f";{_field(name)}{_field(json.dumps(value, sort_keys=True, ensure_ascii=False))}"
        for name, value in sorted(options.items())
    )


def _conversation(messages: Messages) -> list[Any]:
    """Turns as lists; an image is told from a text by being a list."""
    return [
        [role, *([part.sha256] if isinstance(part, ImageRef) else part for part in parts)] for role, parts in messages
    ]


def _canonical(decoding: Decoding) -> str:
    """Decoding parameters as text; greedy decoding has no use for top_p and top_k: they don't count then."""
    top_p, top_k = (1.0, 0) if decoding.greedy else (decoding.top_p, decoding.top_k)
    # float() and + 0.0: 1 and 1.0, and 0.0 and -0.0, are equal parameters but print differently.
    floats = (float(x) + 0.0 for x in (decoding.temperature, top_p, decoding.repetition_penalty))
    return f"{int(decoding.max_new_tokens)} {int(top_k)} " + " ".join(map(repr, floats))


def _field(text: str | None) -> str:
    """One field, readable in one way only: its length, a colon, its characters; a dash for None."""
    return "-" if text is None else f"{len(text)}:{text}"


def _bytes(text: str) -> bytes:
    """UTF-8; lone surrogates, which some decoders write into texts that become prompts, are let through."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
