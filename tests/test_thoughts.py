"""Thoughts of reasoning models: left out for every role, however they are marked; unfinished ones say nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spavl_dag.evaluation.answers import parse_yes_no
from spavl_dag.inference.verdicts import is_refusal, parse_preference, parse_safety
from spavl_dag.states import CallState
from spavl_dag.steps.captions import caption_state
from spavl_dag.steps.keywords import split_keywords
from spavl_dag.steps.questions import read_question
from spavl_dag.steps.responses import response_problem, response_state
from spavl_dag.text import normalize_question
from spavl_dag.thoughts import opened_by, without_thoughts

TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<Think>\n", "\n</Think>\n\n"),
    ("< think >", "< /think >"),
    ('<think type="short">', "</think>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<reasoning>", "</reasoning>"),
    ("<analysis>", "</analysis>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|start_of_thought|>", "<|end_of_thought|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<thinking_process>", "</thinking_process>"),
    ("\uff1cthink\uff1e", "\uff1c/think\uff1e"),
    ("<think\u200b>", "</think>"),
    ("<think>", "<\\/think>"),
    ("\\<think\\>", "\\</think\\>"),
    ("<CoT>", "</CoT>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("<think>", "</think><|START_RESPONSE|>"),
]


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_a_thought_is_left_out_with_and_without_its_opening_tag(opening: str, closing: str) -> None:
    assert without_thoughts(f"{opening}no, safe, A{closing}it is B") == "it is B"
    assert without_thoughts(f"no, safe, A{closing} it is B ") == "it is B"
    assert without_thoughts(f"{opening}{closing}B") == "B"
    assert without_thoughts(f"{opening}it is B") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("just this", "just this"),
        ("a thought about <thinkers> & more", "a thought about <thinkers> & more"),
        ("the tag `</think>` ends a thought", "the tag `</think>` ends a thought"),
        ("<think>a</think>first<think>b</think>second", "second"),
        ("<think>a</think>first<think>b", None),
        ("first <think>b", None),
        ("<think>I must write </think> at last</think>B", "B"),
        ("<think>all of it</think>", ""),
        ("<think/>B", "B"),
        ("<think>a</think><answer>B</answer>", "B"),
        ("<answer>\nB\n</answer>", "B"),
        ("<answer>cut off", "cut off"),
        ("<answer>A</answer><answer>B</answer>", "<answer>A</answer><answer>B</answer>"),
        ("<think>a</think><answer><|begin_of_box|>B<|end_of_box|></answer>", "B"),
        ("<verdict>B</verdict><reasoning>kind</reasoning>", "<verdict>B</verdict><reasoning>kind</reasoning>"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>", "B"),
        ("B</s></s>\n", "B"),
        ("<SUMMARY>A?</SUMMARY>\n<CAPTION>c</CAPTION>\n<REASONING>A</REASONING>\n<CONCLUSION>B</CONCLUSION>", "B"),
        ("<SUMMARY>A?</SUMMARY>\n<CAPTION>c</CAPTION>\n<REASONING>A is", None),
        ("<caption>A dog.</caption>", "<caption>A dog.</caption>"),
        ("<|START_RESPONSE|>B<|END_RESPONSE|>", "B"),
        ("<s>old</s> new", "<s>old</s> new"),
        ("now 5, not <s>6</s>", "now 5, not <s>6</s>"),
    ],
)
def test_what_is_said(text: str, said: str | None) -> None:
    assert without_thoughts(text) == said


@given(st.lists(st.sampled_from([*(tag for pair in TAGS for tag in pair), "</s>", "<answer>", "B", " ", "\ud800"])))
def test_any_mixture_is_read_and_no_marked_thought_is_left(pieces: list[str]) -> None:
    said = without_thoughts("".join(pieces))
    assert said is None or ("<think>" not in said and "</think>" not in said)


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "</s>", "<s>", "<reasoning></reasoning>", "<answer>", "\n", "<"]
)
def test_time_is_linear(piece: str) -> None:
    start = time.process_time()
    without_thoughts(piece * (400_000 // len(piece)))
    assert time.process_time() - start < 2.0


def test_a_prompt_that_opens_the_thought_is_known() -> None:
    assert opened_by("user: hi<|im_end|>\n<|im_start|>assistant\n<think>\n") == "<think>"
    assert opened_by("user: hi\nassistant: <think>\n\n</think>\n\n") == ""
    assert opened_by("what does <think> mean?\nassistant:") == ""


LONG = "Someone may be hurt by this, and I weigh what to say. " * 20
UNFINISHED = "<think>A knife on a table. I would ask how it is used, no: yes, A, safe. I cannot help with"


class TestEveryRole:
    @pytest.mark.parametrize("state", [caption_state, response_state, lambda text: read_question(text, 800).state])
    def test_an_unfinished_thought_is_unparsable(self, state) -> None:
        assert state(UNFINISHED) is CallState.UNPARSABLE
        assert state("<think>no</think>Which dog is it?") is CallState.OK
        assert state("no</think>") is CallState.UNPARSABLE

    def test_verdicts_answers_and_refusals_of_an_unfinished_thought(self) -> None:
        assert parse_safety(UNFINISHED).label == "unparsable"
        assert parse_preference(UNFINISHED).verdict == "unparsable"
        assert parse_yes_no(UNFINISHED) == "unparsable"
        assert not is_refusal(UNFINISHED)
        assert split_keywords(UNFINISHED) == []
        assert response_problem(UNFINISHED) == "reasoning without an end"
        assert normalize_question(UNFINISHED).text == ""

    @pytest.mark.parametrize("opening", ["<think>", ""])
    def test_what_stands_before_the_closing_tag_decides_nothing(self, opening: str) -> None:
        assert parse_safety(f"{opening}The answer is safe.\n</think>\n\nThe answer is unsafe.").label == "unsafe"
        assert parse_preference(f"{opening}verdict: A\n[[A]]\n</think>\n\nB").verdict == "B"
        assert parse_yes_no(f"{opening}No dog at first sight.\n</think>\n\nYes") == "yes"
        assert is_refusal(f"{opening}{LONG}</think>I'm sorry, but I can't help with that.")
        assert not is_refusal(f"{opening}I can't share secrets, but bread is none.</think>Mix flour and water.")
        assert caption_state(f"{opening}I'm sorry.</think>A red dog.") is CallState.OK
        assert read_question(f"{opening}I'm sorry.</think>Which dog?", 800).state is CallState.OK
        assert split_keywords(f"{opening}a, b</think>dogs, cats") == ["dogs", "cats"]

    def test_a_question_is_taken_out_of_its_thought_and_its_wrapping(self) -> None:
        done = normalize_question('Q: <think>\nA dog.\n</think>\n"Which dog is it?"')
        assert done.text == "Which dog is it?"
        assert "thought" in done.changes
