from dataclasses import fields, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spavl_dag.inference.engines.base import Decoding
from spavl_dag.inference.keys import CallIdentity, call_key, row_seed

PLAIN = CallIdentity(
    model="llava-hf/llava-1.5-7b-hf",
    revision="b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
    system=None,
    prompt="What is shown?",
    image_sha256="ab" * 32,
    decoding=Decoding(max_new_tokens=512),
    sample_index=0,
    seed=42,
)
SAMPLED = Decoding(max_new_tokens=512, temperature=0.7, top_p=0.9, top_k=50, repetition_penalty=1.1)

# Another key here means that every call is made and paid for again: raise KEY_SCHEMA if that is meant.
GOLDEN = [
    (PLAIN, "fcadd51f982a9c95d42a4f4ee676d5ce"),
    (replace(PLAIN, decoding=SAMPLED), "f64874b9b01e8d99a32ad9af59e0717b"),
    (replace(PLAIN, system="", image_sha256=None), "3ae2542d322bf582cf989c6d47f8e780"),
    (
        replace(PLAIN, prompt="¿Qué es 😀?\n\ud800", sample_index=3, seed=-1),
        "78b5fe0424a3733ae7de1cc68964427f",
    ),
]

texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=12)  # surrogates too
integers = st.integers(-(2**63), 2**64)
decodings = st.builds(
    Decoding,
    max_new_tokens=st.integers(1, 4096),
    temperature=st.one_of(st.just(0.0), st.floats(0.01, 2)),
    top_p=st.floats(0.01, 1),
    top_k=st.integers(0, 100),
    repetition_penalty=st.floats(0.5, 2),
)
identities = st.builds(
    CallIdentity,
    model=texts,
    revision=texts,
    system=st.none() | texts,
    prompt=texts,
    image_sha256=st.none() | texts,
    decoding=decodings,
    sample_index=integers,
    seed=integers,
)


def counts(decoding: Decoding) -> tuple[float, ...]:
    """What of the decoding parameters has an effect."""
    nucleus = (1.0, 0) if decoding.greedy else (decoding.top_p, decoding.top_k)
    return (decoding.max_new_tokens, decoding.temperature, *nucleus, decoding.repetition_penalty)


@pytest.mark.parametrize(("identity", "key"), GOLDEN)
def test_golden_keys_stay(identity: CallIdentity, key: str) -> None:
    assert call_key(identity).hex() == key


@given(identities)
def test_equal_identities_have_equal_keys(identity: CallIdentity) -> None:
    assert call_key(identity) == call_key(replace(identity))
    assert len(call_key(identity)) == 16


@given(identities, identities, st.sampled_from([field.name for field in fields(CallIdentity)]))
def test_any_changed_field_changes_the_key(identity: CallIdentity, other: CallIdentity, name: str) -> None:
    changed = replace(identity, **{name: getattr(other, name)})
    assume(changed != identity)
    assume(name != "decoding" or counts(changed.decoding) != counts(identity.decoding))
    assert call_key(changed) != call_key(identity)


@given(texts, texts, texts, st.integers(0, 12))
def test_field_boundaries_count(model: str, revision: str, prompt: str, cut: int) -> None:
    both = model + revision
    assume(cut != len(model) and cut <= len(both))
    one = replace(PLAIN, model=model, revision=revision, prompt=prompt)
    assert call_key(replace(one, model=both[:cut], revision=both[cut:])) != call_key(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"system": None}, {"system": ""}),
        ({"system": "-"}, {"system": None}),
        ({"image_sha256": None}, {"image_sha256": ""}),
        ({"prompt": "a1:b", "image_sha256": None}, {"prompt": "a", "image_sha256": "b"}),
        ({"prompt": "a-", "image_sha256": None}, {"prompt": "a", "image_sha256": "-"}),
        ({"sample_index": 1, "seed": 23}, {"sample_index": 12, "seed": 3}),
        ({"prompt": "\ud83d\ude00"}, {"prompt": "😀"}),
    ],
)
def test_lookalikes_differ(one: dict[str, object], other: dict[str, object]) -> None:
    assert call_key(replace(PLAIN, **one)) != call_key(replace(PLAIN, **other))


def test_greedy_decoding_ignores_what_has_no_effect() -> None:
    wide = replace(PLAIN, decoding=Decoding(512, temperature=0.0, top_p=0.5, top_k=7))
    assert call_key(wide) == call_key(PLAIN)
    assert call_key(replace(PLAIN, decoding=SAMPLED)) != call_key(replace(PLAIN, decoding=replace(SAMPLED, top_p=0.5)))


def test_numbers_that_are_equal_make_equal_keys() -> None:
    # YAML gives 1 or 1.0 for the same choice.
    assert call_key(replace(PLAIN, decoding=Decoding(512, 1, 1, 0, 1))) == call_key(
        replace(PLAIN, decoding=Decoding(512, 1.0, 1.0, 0, 1.0))
    )
    assert call_key(replace(PLAIN, decoding=Decoding(512, -0.0))) == call_key(PLAIN)


@given(identities)
def test_row_seeds_fit_63_bits(identity: CallIdentity) -> None:
    assert 0 <= row_seed(call_key(identity)) < 2**63


def test_row_seeds_differ_between_samples() -> None:
    seeds = {row_seed(call_key(replace(PLAIN, sample_index=index))) for index in range(1_000)}
    assert len(seeds) == 1_000
