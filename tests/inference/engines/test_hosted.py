"""The engine of hosted models, against a real server that fails as servers do."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from spavl_dag.errors import EngineError
from spavl_dag.inference.budget import SPENT, Budget, BudgetError
from spavl_dag.inference.client import CallCounts, ModelClient, Prompt
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.hosted.endpoints import Endpoint, Endpoints
from spavl_dag.inference.engines.hosted.engine import OpenAIEngine
from spavl_dag.inference.engines.hosted.messages import chat_messages, completion_prompt, plain
from spavl_dag.inference.keys import CallKeys, row_seed
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.request import (
    Decoding,
    Generation,
    ImageRef,
    Message,
    ModelSpec,
    Request,
    Verbatim,
    single_turn,
)
from spavl_dag.params.engines import OpenAIEngineParams, OpenAIRuntime
from spavl_dag.states import CallState
from tests.fake_server.running import fake_server

GREEDY = Decoding(max_new_tokens=16)
PRICES = {"usd_per_million_prompt_tokens": 2.0, "usd_per_million_completion_tokens": 8.0}


def spec(**options: Any) -> ModelSpec:
    said = {"role": "roles.judge", "engine": "openai", "model": "scripted", "revision": "", "system": None}
    return ModelSpec(**said, template="{{ question }}", decoding=GREEDY, endpoint="http://x/v1", **options)


def engine(url: str, *urls: str, **runtime: Any) -> OpenAIEngine:
    params = OpenAIEngineParams(kind="openai", endpoint=url)
    said = OpenAIRuntime(kind="openai", base_urls=[url, *urls], **{"max_retries": 6, "timeout": 20, **runtime})
    return OpenAIEngine(EngineSettings("openai", "scripted", params=params, runtime=said))


def requests(count: int, text: str = "question") -> list[Request]:
    keys = CallKeys(spec(), 1)
    turns = [single_turn(f"{text} {number}") for number in range(count)]
    return [Request(key, turn, row_seed(key)) for turn in turns for key in [keys.key(turn)]]


def client(ledger: Ledger, opened: OpenAIEngine, **options: Any) -> ModelClient:
    said = {"artifact": "responses", "partition": None, "seed": 1, "counts": CallCounts(), **options}
    return ModelClient(spec(), ledger=ledger, engine=lambda: opened, **said)


def made_by(opened: OpenAIEngine, asked: list[Request]) -> dict[bytes, Generation]:
    return {made.key: made for batch in opened.generate(asked, GREEDY) for made in batch}


# --- What is sent -----------------------------------------------------------------------------------


def test_images_are_data_urls_and_control_tokens_do_not_act() -> None:
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, format="JPEG")
    picture = ImageRef("0" * 64, data.getvalue)
    sent = chat_messages(single_turn("a </s> <|im_start|>system <image> [INST] b<c", picture, "be kind"), "low")
    assert sent[0] == {"role": "system", "content": "be kind"}
    image, text = sent[1]["content"]
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert image["image_url"]["detail"] == "low"
    assert text["text"] == "a < /s> < |im_start|>system < image> [ INST] b<c"
    assert plain("1 < 2 and <b>bold</b>") == "1 < 2 and <b>bold</b>"


# --- What comes back --------------------------------------------------------------------------------


def test_two_thousand_requests_with_a_fifth_of_failures_all_end_in_a_stated_state(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    kinds = ("rate_limit", "server_error", "reset", "malformed", "truncated", "empty")
    failures = dict.fromkeys(kinds, 0.027) | {"content_filter": 0.02, "bad_request": 0.02}
    script.write_text(json.dumps({"failures": failures, "retry_after": 0.02, **PRICES}))
    with fake_server("--script", str(script)) as served, Ledger(tmp_path / "ledger.db") as ledger:
        counts = CallCounts()
        asked = client(ledger, engine(served.url, **PRICES, concurrency=100), counts=counts)
        answers = asked.ask([Prompt({"question": f"question {number}"}) for number in range(2000)])
        states = Counter(answer.state for answer in answers)
        assert set(states) == {CallState.OK, CallState.REFUSED, CallState.PERMANENT_ERROR}
        told = served.stats()
        assert states[CallState.OK] + states[CallState.REFUSED] == told["answers"]
        assert states[CallState.REFUSED] == told["outcomes"]["content_filter"]
        assert states[CallState.PERMANENT_ERROR] == told["outcomes"]["bad_request"]
        assert sum(told["outcomes"][kind] for kind in kinds) == told["requests"] - 2000, "each was asked again"
        assert (counts.prompt_tokens, counts.completion_tokens) == (told["prompt_tokens"], told["completion_tokens"])
        assert counts.cost_usd == pytest.approx(told["usd"])
        again = asked.ask([Prompt({"question": f"question {number}"}) for number in range(2000)])
        assert again == answers
        assert served.stats()["requests"] == told["requests"], "nothing is asked twice"


def test_a_server_that_says_nothing_in_time_fails_for_the_moment() -> None:
    with fake_server("--fail", "endless=0.5", "--fail", "slow=0.5") as served:
        made = made_by(engine(served.url, timeout=0.4, max_retries=0), requests(6))
    assert {one.state for one in made.values()} == {CallState.TRANSIENT_ERROR}
    assert {one.error for one in made.values()} == {"no answer in 0.4 s"}


def test_a_server_that_asks_for_hours_is_left_for_the_next_run() -> None:
    with fake_server("--fail", "rate_limit=1", "--retry-after", "7200") as served:
        started = time.monotonic()
        made = made_by(engine(served.url), requests(3))
    assert time.monotonic() - started < 10
    assert {one.state for one in made.values()} == {CallState.TRANSIENT_ERROR}


def test_a_raw_prompt_goes_to_completions() -> None:
    raw = (Message("raw", (Verbatim("[INST] task "), "say </s>", Verbatim(" [/INST]"))),)
    with fake_server() as served:
        (made,) = made_by(engine(served.url), [Request(b"k" * 16, raw, 1)]).values()
    assert (made.state, made.text) == (CallState.OK, "This is a scripted answer of a test server.")
    assert completion_prompt(raw[0]) == "[INST] task say < /s> [/INST]"


def test_a_server_that_is_gone_ends_the_run() -> None:
    opened = engine("http://127.0.0.1:9", max_retries=0, concurrency=4)
    with pytest.raises(EngineError, match="in a row failed"):
        made_by(opened, requests(200))


def test_what_no_request_can_pass_ends_the_run_and_records_nothing() -> None:
    with fake_server("--fail", "bad_request=1") as served:
        with pytest.raises(EngineError, match=r"takes every request for wrong.*this request is wrong"):
            made_by(engine(served.url), requests(3))
        wrong = served.url.removesuffix("/v1") + "/nowhere"
        with pytest.raises(EngineError, match="not found"):
            made_by(engine(wrong), requests(3))


def test_a_key_that_is_missing_is_said_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(EngineError, match="no variable OUR_KEY"):
        engine("http://127.0.0.1:9", api_key_env="OUR_KEY")


# --- How much at once -------------------------------------------------------------------------------


def test_a_thousand_at_once_over_two_servers() -> None:
    with fake_server("--latency", "0.5") as one, fake_server("--latency", "0.5") as other:
        started = time.monotonic()
        made = made_by(engine(one.url, other.url, concurrency=500), requests(1000))
        took = time.monotonic() - started
        assert {made_one.state for made_one in made.values()} == {CallState.OK}
        assert one.stats()["requests"] == other.stats()["requests"] == 500
        assert one.stats()["most_at_once"] > 300
        assert took < 20


def test_a_limit_shrinks_once_per_burst_and_grows_with_answers() -> None:
    endpoint = Endpoint(client=None, most=100)  # type: ignore[arg-type]
    for _ in range(50):
        endpoint.was_too_much(asked_at=1.0, now=2.0)
    assert endpoint.limit == pytest.approx(70)
    endpoint.was_too_much(asked_at=2.5, now=3.0)
    assert endpoint.limit == pytest.approx(49)
    for _ in range(5000):
        endpoint.answered()
    assert endpoint.limit == 100


def test_requests_and_tokens_per_minute_are_kept() -> None:
    async def taken(**limits: int | None) -> int:
        places = Endpoints([Endpoint(client=None, most=99)], **limits)  # type: ignore[arg-type]
        done = 0

        async def one() -> None:
            nonlocal done
            async with places.place(tokens=100):
                done += 1

        tasks = [asyncio.create_task(one()) for _ in range(50)]
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        return done

    assert asyncio.run(taken(requests_per_minute=20, tokens_per_minute=None)) in (20, 21)
    assert asyncio.run(taken(requests_per_minute=None, tokens_per_minute=1000)) in (10, 11)


# --- Ends -------------------------------------------------------------------------------------------


def test_a_spent_budget_keeps_what_was_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SPENT, "calls", 0)
    monkeypatch.setattr(SPENT, "usd", 0.0)
    with fake_server("--latency", "0.05") as served, Ledger(tmp_path / "ledger.db") as ledger:
        opened = engine(served.url, concurrency=20, usd_per_million_completion_tokens=1e6)  # 8 words: 8 USD
        prompts = [Prompt({"question": f"question {number}"}) for number in range(500)]
        with pytest.raises(BudgetError):
            client(ledger, opened, budget=Budget(usd=100.0)).ask(prompts)
        told = served.stats()
        assert told["requests"] < 200
        assert ledger.count() == told["answers"], "all that was paid for is kept"


def test_ctrl_c_waits_for_what_is_under_way() -> None:
    with fake_server("--latency", "0.3") as served:
        opened, got = engine(served.url, concurrency=10), []
        threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (it comes at any time)
            for batch in opened.generate(requests(1000), GREEDY):
                got += batch
        assert served.stats()["answers"] == len(got)
        assert 10 <= len(got) <= 40


def test_a_killed_server_and_another_in_its_place(tmp_path: Path, free_port: int) -> None:
    def asked(url: str, **runtime: Any) -> Callable[[], list[Generation]]:
        prompts = [Prompt({"question": f"question {number}"}) for number in range(400)]
        return lambda: client(ledger, engine(url, concurrency=10, **runtime)).ask(prompts)

    with Ledger(tmp_path / "ledger.db") as ledger:
        with fake_server("--latency", "0.05", "--port", str(free_port)) as served:
            threading.Timer(0.8, served.process.kill).start()
            with pytest.raises(EngineError):
                asked(served.url, max_retries=0)()
        kept = sum(answer.state is CallState.OK for answer in ledger.fetch_outputs(list(ledger_keys(ledger))).values())
        assert kept > 10
        with fake_server("--port", str(free_port)) as served:
            answers = asked(served.url)()
            assert {answer.state for answer in answers} == {CallState.OK}
            assert served.stats()["answers"] == 400 - kept, "none that was recorded is asked again"


def ledger_keys(ledger: Ledger) -> list[bytes]:
    keys = CallKeys(spec(), 1)
    return [keys.key(single_turn(f"question {number}")) for number in range(400)]


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
