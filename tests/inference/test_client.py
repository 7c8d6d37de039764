"""Asking through the ledger: each thing once, in order, and nothing lost when something fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spavl_dag.errors import EngineError, ParamsError
from spavl_dag.inference.budget import Budget, BudgetError, Spending
from spavl_dag.inference.client import Prompt
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.request import ImageRef, Message, single_turn
from spavl_dag.inference.templates import compile_template, read_template
from spavl_dag.states import CallState
from tests.steps.scripted import client


def test_equal_items_share_a_call_and_answers_keep_their_order(tmp_path: Path):
    ask, engine = client(tmp_path, "{{ q }}", lambda request: request.prompt.upper())
    answers = ask.ask([Prompt({"q": q}) for q in ("a", "b", "a", "c")])
    assert [answer.text for answer in answers] == ["A", "B", "A", "C"]
    assert sorted(request.prompt for request in engine.asked) == ["a", "b", "c"]


def test_nothing_is_asked_twice(tmp_path: Path):
    first, _ = client(tmp_path, "{{ q }}", lambda request: request.prompt)
    first.ask([Prompt({"q": str(i)}) for i in range(20)])
    second, engine = client(tmp_path, "{{ q }}", lambda request: "something else")
    answers = second.ask([Prompt({"q": str(i)}) for i in range(25)])
    assert [answer.text for answer in answers[:20]] == [str(i) for i in range(20)]
    assert len(engine.asked) == 5


def test_what_failed_for_the_moment_is_asked_again_and_nothing_else(tmp_path: Path):
    def flaky(request) -> str | Exception:
        return TimeoutError("no answer in 5 s") if request.prompt == "7" else request.prompt

    items = [Prompt({"q": str(i)}) for i in range(12)]
    ask, _ = client(tmp_path, "{{ q }}", flaky)
    with pytest.raises(EngineError, match=r"1 of 12 calls of roles\.test failed for the moment"):
        ask.ask(items)
    again, engine = client(tmp_path, "{{ q }}", lambda request: request.prompt)
    assert [answer.text for answer in again.ask(items)] == [str(i) for i in range(12)]
    assert [request.prompt for request in engine.asked] == ["7"]


def test_a_permanent_error_is_an_answer_and_is_not_asked_again(tmp_path: Path):
    ask, _ = client(tmp_path, "{{ q }}", lambda request: ValueError("too long"))
    (answer,) = ask.ask([Prompt({"q": "x"})])
    assert (answer.state, answer.error, answer.text) == (CallState.PERMANENT_ERROR, "too long", "")
    again, engine = client(tmp_path, "{{ q }}", lambda request: "fine now")
    assert again.ask([Prompt({"q": "x"})])[0].state is CallState.PERMANENT_ERROR
    assert engine.asked == []


def test_what_failed_for_good_is_asked_again_where_someone_wants_it(tmp_path: Path):
    items = [Prompt({"q": q}) for q in ("a", "b", "c")]
    ask, _ = client(tmp_path, "{{ q }}", lambda request: ValueError("no") if request.prompt != "b" else "B")
    assert [answer.text for answer in ask.ask(items)] == ["", "B", ""]

    retry, engine = client(
        tmp_path, "{{ q }}", lambda request: "A" if request.prompt == "a" else ValueError("still"), retry_failed=True
    )
    assert [(answer.text, answer.error) for answer in retry.ask(items)] == [("A", None), ("B", None), ("", "still")]
    assert [request.prompt for request in engine.asked] == ["a", "c"]

    later, engine = client(tmp_path, "{{ q }}", lambda request: "not asked")
    assert [answer.text for answer in later.ask(items)] == ["A", "B", ""]
    assert engine.asked == []


@pytest.fixture
def nothing_spent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spavl_dag.inference.client.SPENT", spent := Spending())
    monkeypatch.setattr("spavl_dag.inference.budget.SPENT", spent)


@pytest.mark.parametrize(
    ("budget", "first", "told"),
    [
        (Budget(calls=10), 10, r"10 calls of runtime.budget_calls 10; 10 of 30 missing calls of roles.test were made"),
        (Budget(usd=3.0), 16, r"4.00 USD of runtime.budget_usd 3.00; 16 of 30"),
        (Budget(hours=1e-9), 0, r"hours of runtime.budget_hours 1e-09; 0 of 30"),
    ],
)
def test_a_budget_stops_between_batches_and_what_was_answered_is_kept(
    tmp_path: Path, nothing_spent: None, budget: Budget, first: int, told: str
):
    items = [Prompt({"q": str(i)}) for i in range(30)]
    ask, engine = client(tmp_path, "{{ q }}", lambda request: request.prompt, budget=budget)
    with pytest.raises(BudgetError, match=told):
        ask.ask(items)
    assert len(engine.asked) == first
    with pytest.raises(BudgetError):
        ask.ask(items)
    assert len(engine.asked) == first, "it is spent for all that this process still wants"

    again, engine = client(tmp_path, "{{ q }}", lambda request: request.prompt)
    assert [answer.text for answer in again.ask(items)] == [str(i) for i in range(30)]
    assert len(engine.asked) == 30 - first


def test_a_budget_that_is_just_enough_is_enough(tmp_path: Path, nothing_spent: None):
    ask, _ = client(tmp_path, "{{ q }}", lambda request: request.prompt, budget=Budget(calls=30))
    assert len(ask.ask([Prompt({"q": str(i)}) for i in range(30)])) == 30


def test_the_state_a_parser_gives_is_kept_with_the_call(tmp_path: Path):
    ask, _ = client(tmp_path, "{{ q }}", lambda request: request.prompt)
    answers = ask.ask(
        [Prompt({"q": q}) for q in ("fine", "bad")],
        lambda text: CallState.OK if text == "fine" else CallState.UNPARSABLE,
    )
    assert [answer.state for answer in answers] == [CallState.OK, CallState.UNPARSABLE]


@pytest.mark.parametrize(("template", "told"), [("{{ nobody }}", "can't be filled"), ("{% if %}", "is not valid")])
def test_a_template_that_can_t_be_filled_is_named(template: str, told: str):
    with pytest.raises(ParamsError, match=told):
        compile_template(template, "roles.judge")({"question": "x"})


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.popen('echo ran').read() }}",
        "{{ question.__class__.__mro__ }}",
        "{{ question | attr('__class__') }}",
        "{{ '{0.__class__}'.format(question) }}",
        "{{ seen.append(1) }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{{ question | join(1, 2, 3, 4) }}",
        "{{ question | unknown }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{% include 'other.j2' %}",
        "{% if question %}x{% else %}{% import 'other.j2' as other %}{% endif %}",
        "{% from 'other.j2' import other %}",
        "{% extends 'other.j2' %}",
    ],
)
def test_a_template_runs_in_a_sandbox_and_its_every_error_names_it(template: str):
    seen: list[int] = []
    with pytest.raises(ParamsError, match=r"the prompt template of roles\.judge (can't be filled|is not valid): \w"):
        compile_template(template, "roles.judge")({"question": "x", "seen": seen})
    assert not seen


def test_a_byte_order_mark_is_no_part_of_a_template(tmp_path: Path):
    file = tmp_path / "answer.j2"
    file.write_bytes("\ufeff{{ question }}\r\n".encode())
    assert compile_template(read_template(file), "roles.answer")({"question": "Which dog?"}) == "Which dog?"


def test_braces_in_model_output_are_not_templates():
    assert compile_template("{{ answer }}", "r")({"answer": "{{ 7 * 7 }} {% raise %}"}) == "{{ 7 * 7 }} {% raise %}"


def test_the_same_can_be_asked_several_times(tmp_path: Path):
    said = iter("abc")
    ask, _ = client(tmp_path, "{{ q }}", lambda request: next(said))
    prompts = [Prompt({"q": "x"}, sample_index=index) for index in (0, 1, 0, 2)]
    answers = ask.ask(prompts)
    assert answers[0] == answers[2]
    assert sorted(answer.text for answer in answers) == ["a", "a", "b", "c"]
    again, engine = client(tmp_path, "{{ q }}", lambda request: "never")
    assert again.ask(prompts) == answers
    assert again.ask([Prompt({"q": "x"})]) == [answers[0]]
    assert engine.asked == []
    with Ledger(tmp_path / "ledger.db") as ledger:
        rows = ledger.fetch([answer.key for answer in answers]).values()
    assert sorted(row.sample_index for row in rows) == [0, 1, 2]


def test_a_conversation_of_any_shape_is_asked_once_and_can_be_read_in_the_ledger(tmp_path: Path):
    picture = ImageRef("ab" * 32, lambda: b"")
    turns = (
        Message("user", (picture, "Which?", ImageRef("cd" * 32, lambda: b""))),
        Message("assistant", ("The first.",)),
        Message("user", ("Sure?",)),
    )
    ask, engine = client(tmp_path, "unused", lambda asked: f"{len(getattr(asked, 'images', ()))} images")
    (answer,) = ask.ask_messages([turns])
    assert answer.text == "2 images"
    assert ask.ask_messages([turns, single_turn("unused")])[0] == answer
    assert ask.ask([Prompt({})])[0] == ask.ask_messages([single_turn("unused")])[0]
    assert len(engine.asked) == 2
    with Ledger(tmp_path / "ledger.db") as ledger:
        (row,) = ledger.fetch([answer.key]).values()
    assert json.loads(row.prompt)[0] == {
        "role": "user",
        "content": [{"image": "ab" * 32}, {"text": "Which?"}, {"image": "cd" * 32}],
    }
    assert row.image_sha256 is None


def test_progress_names_the_role(tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    ask, _ = client(tmp_path, "{{ q }}", lambda request: "x", progress=lambda *values: told.append(values))
    ask.ask([Prompt({"q": str(i)}) for i in range(10)])
    assert told == [("roles.test", 8, 10), ("roles.test", 10, 10)]
