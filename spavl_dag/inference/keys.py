"""The key of a model call: a fingerprint of everything that can change the answer, and of nothing else.

What counts: the schema version, model and revision, system turn, rendered prompt, the image's bytes (by
sha256), the decoding parameters that have an effect, sample index and seed. What doesn't: paths, row order,
batch size, device, the artifact or partition that asks. Two artifacts that ask the same thing share the call.

Encoding: every field is written as its length and its characters (None has a mark of its own), all of them as
UTF-8, so no two identities write the same bytes. The hash is blake2b with 128 bits: among a billion calls the
chance of one clash is about 1e-21.

Changing anything here changes every key, and every call is made, and paid, again. Where that is meant, raise
`KEY_SCHEMA`; `tests/inference/test_keys.py` holds golden keys so that it can't happen by accident.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from spavl_dag.inference.engines.base import Decoding

KEY_SCHEMA = 1
KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """Everything that decides what a model call answers.

    Attributes:
        model: Model id, or a name of the weights' content for local models.
        revision: Commit or md5 of the weights.
        system: System turn, or None for no such turn (which differs from an empty one).
        prompt: Rendered user turn.
        image_sha256: Hex digest of the encoded image, or None for text only.
        decoding: Decoding parameters.
        sample_index: Number of the sample, where one prompt is sampled several times.
        seed: The project's seed for this kind of call (not the row's own seed, which `row_seed` derives).
    """

    model: str
    revision: str
    system: str | None
    prompt: str
    image_sha256: str | None
    decoding: Decoding
    sample_index: int
    seed: int


def call_key(identity: CallIdentity) -> bytes:
    """The ledger key of a call: 16 bytes, the same on every machine and Python version."""
    # One model's calls share these four: hash them once and continue from a copy.
    state = _hash_of_model(identity.model, identity.revision, identity.system, identity.decoding).copy()
    prompt, image = _field(identity.prompt), _field(identity.image_sha256)
    state.update(_bytes(f"{prompt}{image}{identity.sample_index},{identity.seed}"))
    return state.digest()


def row_seed(key: bytes) -> int:
    """The sampling seed of a call, from its key: unsigned 63 bit, which SQLite and every engine can hold."""
    return int.from_bytes(key[:8], "big") >> 1


@lru_cache(maxsize=256)
def _hash_of_model(model: str, revision: str, system: str | None, decoding: Decoding) -> blake2b:
    """Hash state after the fields that all calls of one model share; never updated in place."""
    fields = (f"spavl-call {KEY_SCHEMA}", model, revision, system, _canonical(decoding))
    return blake2b(_bytes("".join(map(_field, fields))), digest_size=KEY_BYTES)


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
