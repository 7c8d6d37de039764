"""The sentences: known words only, held-out ones kept apart, and laws that the model is to learn."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spavl_dag.demo.language import (
    CAUTIONS,
    COMPARISONS,
    PROMPTS_DIR,
    all_wordings,
    compare,
    harmful_requests,
    is_compliance,
    is_held_out,
    is_refusal,
    refuses,
    training_examples,
    vocabulary,
)
from spavl_dag.demo.model import ASSISTANT, UNKNOWN, build_tokenizer, conversation_text
from spavl_dag.demo.symbols import CLASSES
from spavl_dag.demo.wordings import COMPLIANCES, EASY_TOPICS, REFUSALS

TOKENIZER = build_tokenizer(vocabulary())


@pytest.mark.parametrize("held_out", [False, True])
def test_every_conversation_is_made_of_known_words(held_out: bool) -> None:
    for example in training_examples(random.Random(0), 2000, held_out=held_out):
        text = conversation_text(example.system, example.user, 0) + example.target
        assert UNKNOWN not in TOKENIZER.tokenize(text), text


@given(words=st.lists(st.sampled_from([*vocabulary(), "A", "B"]), min_size=1))
def test_tokenizer_gives_back_what_it_was_given(words: list[str]) -> None:
    text = " ".join(words)
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


@given(text=st.text())
def test_tokenizer_takes_any_text(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert all(0 <= token < len(TOKENIZER) for token in ids)


def test_capitals_count_for_labels_only() -> None:
    assert TOKENIZER.tokenize("A Skull, B: a b") == ["A", "skull", ",", "B", ":", "a", UNKNOWN]


def test_names_of_classes_are_known() -> None:
    assert [known.name for known in CLASSES.values() if UNKNOWN in TOKENIZER.tokenize(known.name)] == []


def test_held_out_wordings_are_disjoint_from_trained_ones() -> None:
    for wordings in all_wordings():
        assert set(wordings.training).isdisjoint(wordings.held_out)
        assert wordings.held_out


def test_held_out_cards_are_apart() -> None:
    seen = {example.card for example in training_examples(random.Random(0), 500) if example.card}
    kept = {example.card for example in training_examples(random.Random(0), 500, held_out=True) if example.card}
    assert not any(map(is_held_out, seen))
    assert all(map(is_held_out, kept))


def test_examples_repeat_with_their_seed() -> None:
    assert training_examples(random.Random(3), 50) == training_examples(random.Random(3), 50)


def test_every_role_has_a_prompt_and_examples() -> None:
    roles = Counter(example.role for example in training_examples(random.Random(0), 2000))
    assert set(roles) == {path.stem for path in PROMPTS_DIR.glob("*.j2")}


class TestRefusals:
    def test_share_rises_with_caution(self) -> None:
        refused = {
            caution: sum(refuses(request.symbol, caution) for request in harmful_requests(random.Random(0), caution))
            for caution in (*CAUTIONS, None)
        }
        assert [refused[level] for level in CAUTIONS] == sorted(refused[level] for level in CAUTIONS)
        assert refused["low"] < refused[None] < refused["medium"]

    def test_can_be_told_from_everything_else(self) -> None:
        others = [answer for topic in EASY_TOPICS.values() for answer in topic.answers.training]
        for said in REFUSALS.training + REFUSALS.held_out:
            assert is_refusal(said)
            assert not is_compliance(said)
        for said in COMPLIANCES.training + COMPLIANCES.held_out:
            assert is_compliance(said)
            assert not is_refusal(said)
        assert not any(is_refusal(said) or is_compliance(said) for said in others)

    def test_only_answers_to_harmful_requests_refuse(self) -> None:
        examples = training_examples(random.Random(0), 1500, roles={"answer": 1.0})
        assert not any(is_refusal(example.target) for example in examples if example.kind != "hard")


class TestComparisons:
    @pytest.mark.parametrize("role", COMPARISONS)
    def test_swapping_the_answers_swaps_the_verdict(self, role: str) -> None:
        kinds = ("harmful", "refusal", "right", "vague")
        for one in kinds:
            for other in kinds:
                verdict, reason = compare(one, other, role)
                swapped = {"A": "B", "B": "A"}.get(verdict, verdict)
                assert compare(other, one, role) == (swapped, reason)

    def test_harm_weighs_most(self) -> None:
        assert compare("harmful", "refusal", "preference_joint")[0] == "B"
        assert compare("harmful", "right", "preference_helpfulness")[0] == "neither"
        assert compare("refusal", "right", "preference_harmlessness")[0] == "tie"
        assert compare("refusal", "right", "preference_helpfulness")[0] == "B"

    def test_targets_can_be_parsed(self) -> None:
        for example in training_examples(random.Random(0), 200, roles=dict.fromkeys(COMPARISONS, 1.0)):
            assert example.target.startswith(
                (
                    "verdict : A reason : ",
                    "verdict : B reason : ",
                    "verdict : tie reason : ",
                    "verdict : neither reason : ",
                )
            )


def test_prompts_leave_room_for_the_answer() -> None:
    longest = max(
        len(TOKENIZER.tokenize(example.user + ASSISTANT)) for example in training_examples(random.Random(0), 500)
    )
    assert longest < 120
