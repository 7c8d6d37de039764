"""Short answers: what they say, in every wording and in none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spavl_dag.evaluation.answers import (
    exact_match,
    normalize_answer,
    normalize_caption,
    parse_yes_no,
    vqa_accuracy,
)
from tests.steps.test_hostile_outputs import HOSTILE


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("yes", "yes"),
        ("No", "no"),
        ("Yes, there is a dog in the image.", "yes"),
        ("No, there is no dog.", "no"),
        ("**Yes**", "yes"),
        ("Answer: no", "no"),
        ("no .", "no"),
        ("There is a dog in the image.", "yes"),
        ("There is no dog in the image. Yes, I looked.", "no"),
        ("The image does not show a skull.", "no"),
        ("I can't see one, so there isn't.", "no"),
        ("The answer is yes.", "yes"),
        ("Well, yes. No doubt about it.", "yes"),
        ("yes or no", "unparsable"),
        ("Yes/No", "unparsable"),
        ("I see a yes and a no.", "unparsable"),
        ("a red skull on a white card .", "unparsable"),
        ("notable eyes", "unparsable"),
        ("", "unparsable"),
        ("I\u2019m sorry, I can\u2019t help with that.", "unparsable"),
        ("I'm not sure.", "unparsable"),
        ("I do not know.", "unparsable"),
        ("I can't see the picture.", "unparsable"),
        ("No image was provided.", "unparsable"),
        ("There is no image attached to your message.", "unparsable"),
        ("The image did not load.", "unparsable"),
        ("It isn't possible to tell.", "unparsable"),
        ("I cannot determine whether there is a dog.", "unparsable"),
        ("No idea.", "unparsable"),
        ("No, I can't say.", "unparsable"),
        ("There might be a dog.", "unparsable"),
        ("Neither.", "unparsable"),
        ("Please upload the image.", "unparsable"),
        ("No - wait, yes.", "unparsable"),
        ("Yes: false", "unparsable"),
        ('{"yes": false}', "unparsable"),
        ('{"answer": "no"}', "no"),
        ("I don't see a dog in the image.", "no"),
        ("No dog is present.", "no"),
        ("No, there is no picture on the wall.", "no"),
        ("A dog cannot be seen in the image.", "no"),
        ("There is a cat, but no dog.", "no"),
        ("It is not a dog but a cat.", "no"),
        ("The image shows that there is no dog.", "no"),
        ("There are two dogs, and neither of them is asleep.", "yes"),
        ("There is a dog that is not moving.", "yes"),
        ("There's a dog, but it isn't asleep.", "yes"),
        ("Yes. No doubt about it.", "yes"),
        ("Yes, though it is unclear what breed it is.", "yes"),
        ("I don't know.", "unparsable"),
        ("I can't see the image.", "unparsable"),
        ("There are two dogs, and none of them is asleep.", "yes"),
        ("There is no dog at first sight.\n</think>\n\nYes", "yes"),
        # Neither yes nor no.
        ("Not possible.", "unparsable"),
        ("Not applicable.", "unparsable"),
        ("No problem.", "unparsable"),
        # What is denied is not that there is one.
        ("There is a dog with no collar.", "yes"),
        ("There is a dog without a collar.", "yes"),
        ("There is a dog not far from the tree.", "yes"),
        ("There is a no parking sign.", "yes"),
        ("It is not only a dog but a big one.", "unparsable"),
        # It is denied in other words.
        ("There is hardly any dog.", "unparsable"),
        ("There are zero dogs.", "unparsable"),
        ("There is a lack of dogs.", "unparsable"),
        ("It is impossible that there is a dog.", "unparsable"),
        ("It's false that there is a dog.", "unparsable"),
        ("There is a cat rather than a dog.", "unparsable"),
        ("There are no dogs, only cats.", "no"),
        # The question before the answer.
        ("Is there a dog? Yes.", "yes"),
        ("Q: Is there no dog? A: Yes", "yes"),
        ("Yes? No.", "unparsable"),
    ],
)
def test_yes_no(text: str, meant: str) -> None:
    assert parse_yes_no(text) == meant


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_answers_are_read_without_harm(text: str) -> None:
    assert parse_yes_no(text) in ("yes", "no", "unparsable")
    assert 0 <= vqa_accuracy(text, ["skull"]) <= 1
    assert exact_match(text, ["a red skull"]) is False
    normalize_caption(text)


@given(text=st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert parse_yes_no(text) in ("yes", "no", "unparsable")
    assert normalize_answer(normalize_answer(text)) == normalize_answer(text)
    assert normalize_caption(normalize_caption(text)) == normalize_caption(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The dog.", "dog"),
        ("A red, red car!", "red red car"),
        ("Two", "2"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("It's the 10.", "it's 10"),
        ("dont", "don't"),
        ("yes / no", "yes no"),
        (" Large\n", "large"),
    ],
)
def test_answers_are_normalized_as_vqa_does(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("agreeing", "accuracy"),
    # Leaving out one of ten: of k agreeing, k times k-1 are left, else k; min(left / 3, 1), then the mean.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_accuracy_is_agreement_with_ten_people(agreeing: int, accuracy: float) -> None:
    references = ["a cat"] * agreeing + ["dog"] * (10 - agreeing)
    assert vqa_accuracy("Cat.", references) == pytest.approx(accuracy)


def test_with_one_reference_an_answer_is_right_or_wrong() -> None:
    assert vqa_accuracy("red", ["red"]) == 1
    assert vqa_accuracy("it is red", ["red"]) == 0
    with pytest.raises(ValueError, match="without references"):
        vqa_accuracy("red", [])


def test_captions_match_but_for_case_and_punctuation() -> None:
    assert exact_match("A red skull on a white card", ["a red skull on a white card ."])
    assert not exact_match("a red skull", ["a red skull on a white card ."])
    assert not exact_match("...", ["..."])
