"""The keys of calls: golden ones that may never change, and that everything which decides an answer is in them."""

from dataclasses import fields, replace
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spavl_dag.inference import engines
from spavl_dag.inference.keys import CallKeys, row_seed
from spavl_dag.inference.request import (
    Decoding,
    ImageRef,
    Message,
    Messages,
    ModelSpec,
    as_single_turn,
    single_turn,
)


class Call(NamedTuple):
    """All that a key is made of."""

    spec: ModelSpec
    messages: Messages
    sample_index: int = 0
    seed: int = 42


def call_key(call: Call) -> bytes:
    return CallKeys(call.spec, call.seed).key(call.messages, call.sample_index)


def image(sha256: str) -> ImageRef:
    return ImageRef(sha256, no_bytes)


def no_bytes() -> bytes:
    raise AssertionError("a key needs no bytes")


def asks(prompt: str = "What is shown?", sha256: str | None = "ab" * 32, system: str | None = None) -> Messages:
    return single_turn(prompt, None if sha256 is None else image(sha256), system)


def with_spec(call: Call, **changes: Any) -> Call:
    return call._replace(spec=replace(call.spec, **changes))


SPEC = ModelSpec(
    role="roles.judge",
    engine="transformers",
    model="llava-hf/llava-1.5-7b-hf",
    revision="b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
    system=None,
    template="{{ question }}",
    decoding=Decoding(max_new_tokens=512),
)
PLAIN = Call(SPEC, asks())
SAMPLED = Decoding(max_new_tokens=512, temperature=0.7, top_p=0.9, top_k=50, repetition_penalty=1.1)

# Another key here means that every call is made and paid for again: raise KEY_SCHEMA if that is meant.
GOLDEN = [
    (PLAIN, "fcadd51f982a9c95d42a4f4ee676d5ce"),
    (with_spec(PLAIN, decoding=SAMPLED), "f64874b9b01e8d99a32ad9af59e0717b"),
    (Call(SPEC, asks(sha256=None, system="")), "3ae2542d322bf582cf989c6d47f8e780"),
    (Call(SPEC, asks("¿Qué es 😀?\n\ud800"), sample_index=3, seed=-1), "78b5fe0424a3733ae7de1cc68964427f"),
    # Since keys are sparse:
    (with_spec(PLAIN, engine="vllm"), "ee601189b4366e7c615bd0d20e0c7f0f"),
    (with_spec(PLAIN, precision="bfloat16", adapters=("0f" * 16, "1e" * 16)), "eb9d5651db9ee50346e3d10363fdc853"),
    (
        with_spec(PLAIN, endpoint="https://example.org/v1", structured_output='{"type": "object"}'),
        "c971e96b1498c4ba5b2037271ba3bf83",
    ),
    (
        Call(
            SPEC,
            (
                Message("system", ("Be brief.",)),
                Message("user", (image("ab" * 32), "Which is older?", image("cd" * 32), "\ud800 😀")),
                Message("assistant", ("The first.",)),
                Message("user", ("Sure?",)),
            ),
        ),
        "c20508b35cd3cb068b7802e57fca667b",
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
specs = st.builds(
    ModelSpec,
    role=texts,
    engine=st.sampled_from(["transformers", "vllm", "openai"]),
    model=texts,
    revision=texts,
    system=st.none(),
    template=texts,
    decoding=decodings,
    precision=st.none() | texts,
    endpoint=st.none() | texts,
    adapters=st.lists(texts, max_size=2).map(tuple),
    structured_output=st.none() | texts,
)
single_turns = st.builds(asks, texts, st.none() | texts, st.none() | texts)
conversations = st.lists(
    st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant"]),
        st.lists(texts | st.builds(image, texts), max_size=3).map(tuple),
    ),
    max_size=3,
).map(tuple)
calls = st.builds(Call, specs, single_turns | conversations, integers, integers)


def counts(decoding: Decoding) -> tuple[float, ...]:
    """What of the decoding parameters has an effect."""
    nucleus = (1.0, 0) if decoding.greedy else (decoding.top_p, decoding.top_k)
    return (decoding.max_new_tokens, decoding.temperature, *nucleus, decoding.repetition_penalty)


@pytest.mark.parametrize(("call", "key"), GOLDEN)
def test_golden_keys_stay(call: Call, key: str) -> None:
    assert call_key(call).hex() == key


@given(calls)
def test_equal_calls_have_equal_keys(call: Call) -> None:
    assert call_key(call) == call_key(call._replace(spec=replace(call.spec)))
    assert len(call_key(call)) == 16


@given(calls, calls, st.sampled_from(["messages", "sample_index", "seed"]))
def test_any_change_to_what_is_asked_changes_the_key(call: Call, other: Call, name: str) -> None:
    changed = call._replace(**{name: getattr(other, name)})
    assume(changed != call)
    assert call_key(changed) != call_key(call)


IN_THE_KEY = sorted({field.name for field in fields(ModelSpec)} - {"role", "template", "system"})


@given(calls, calls, st.sampled_from(IN_THE_KEY))
def test_any_change_to_who_is_asked_changes_the_key(call: Call, other: Call, name: str) -> None:
    changed = with_spec(call, **{name: getattr(other.spec, name)})
    assume(changed != call)
    assume(name != "decoding" or counts(changed.spec.decoding) != counts(call.spec.decoding))
    assert call_key(changed) != call_key(call)


@given(calls, texts)
def test_role_and_template_are_not_in_the_key_but_the_text_is(call: Call, other: str) -> None:
    # The system turn is one of the messages.
    assert call_key(with_spec(call, role=other, template=other, system=other)) == call_key(call)


@given(texts, texts, texts, st.integers(0, 12))
def test_field_boundaries_count(model: str, revision: str, prompt: str, cut: int) -> None:
    both = model + revision
    assume(cut != len(model) and cut <= len(both))
    one = with_spec(PLAIN, model=model, revision=revision)._replace(messages=asks(prompt))
    assert call_key(with_spec(one, model=both[:cut], revision=both[cut:])) != call_key(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (asks(system=None), asks(system="")),
        (asks(system="-"), asks(system=None)),
        (asks(sha256=None), asks(sha256="")),
        (asks("a1:b", None), asks("a", "b")),
        (asks("a-", None), asks("a", "-")),
        (asks("\ud83d\ude00"), asks("😀")),
        ((Message("user", ("a", "b")),), (Message("user", ("ab",)),)),
        ((Message("user", ("a", image("b"))),), (Message("user", (image("b"), "a")),)),
        ((Message("user", ("a", image("b"))),), (Message("user", ("a", "b")),)),
        ((Message("user", ("a",)), Message("user", ("b",))), (Message("user", ("a", "b")),)),
        ((Message("user", ("\ud83d\ude00", "")),), (Message("user", ("😀", "")),)),
        ((), asks("", None)),
    ],
)
def test_lookalikes_differ(one: Messages, other: Messages) -> None:
    assert call_key(Call(SPEC, one)) != call_key(Call(SPEC, other))


def test_sample_and_seed_are_two_numbers() -> None:
    assert call_key(Call(SPEC, asks(), 1, 23)) != call_key(Call(SPEC, asks(), 12, 3))


def test_one_maker_makes_the_keys_of_all_its_calls() -> None:
    keys = CallKeys(SPEC, 42)
    asked = [asks(system=None), asks(system="s"), asks(system=""), asks(system=None), asks("other", system="s")]
    assert [keys.key(each) for each in asked] == [call_key(Call(SPEC, each)) for each in asked]


@given(single_turns)
def test_a_single_turn_is_taken_apart_as_it_was_put_together(messages: Messages) -> None:
    turn = as_single_turn(messages)
    assert turn is not None
    assert single_turn(*turn) == messages


def test_greedy_decoding_ignores_what_has_no_effect() -> None:
    assert call_key(with_spec(PLAIN, decoding=Decoding(512, temperature=0.0, top_p=0.5, top_k=7))) == call_key(PLAIN)
    assert call_key(with_spec(PLAIN, decoding=SAMPLED)) != call_key(
        with_spec(PLAIN, decoding=replace(SAMPLED, top_p=0.5))
    )


def test_numbers_that_are_equal_make_equal_keys() -> None:
    # YAML gives 1 or 1.0 for the same choice.
    assert call_key(with_spec(PLAIN, decoding=Decoding(512, 1, 1, 0, 1))) == call_key(
        with_spec(PLAIN, decoding=Decoding(512, 1.0, 1.0, 0, 1.0))
    )
    assert call_key(with_spec(PLAIN, decoding=Decoding(512, -0.0))) == call_key(PLAIN)


def test_a_raised_engine_version_asks_again_and_the_first_one_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    family = engines.ENGINES["transformers"]
    monkeypatch.setitem(engines.ENGINES, "transformers", replace(family, version=1))
    assert call_key(PLAIN).hex() == GOLDEN[0][1]
    monkeypatch.setitem(engines.ENGINES, "transformers", replace(family, version=2))
    assert call_key(PLAIN).hex() != GOLDEN[0][1]


def test_what_the_ledger_notes_of_a_model_grows_only_by_what_is_used() -> None:
    assert SPEC.as_json() == (
        '{"decoding": {"max_new_tokens": 512, "repetition_penalty": 1.0, "temperature": 0.0, "top_k": 0, '
        '"top_p": 1.0}, "engine": "transformers", "model": "llava-hf/llava-1.5-7b-hf", '
        '"revision": "b234b804b114d9e37bb655e11cbbb5f5e971b7a9", "system": null}'
    )
    assert '"precision": "awq"' in replace(SPEC, precision="awq").as_json()


@given(calls)
def test_row_seeds_fit_63_bits(call: Call) -> None:
    assert 0 <= row_seed(call_key(call)) < 2**63


def test_row_seeds_differ_between_samples() -> None:
    keys = CallKeys(SPEC, 42)
    assert len({row_seed(keys.key(asks(), index)) for index in range(1_000)}) == 1_000
