"""The test server: `/v1/chat/completions`, `/v1/completions`, `/v1/models`, and `/stats`, which says what it did."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from typing import Any

from aiohttp import web

from spavl_dag.fake_server.script import Outcome, Script

MODEL = "scripted"
_MOST_BYTES = 512 * 2**20
_ENDLESS = 0.2  # seconds between two blanks of an answer that never ends


class FakeServer:
    """Counts and answers.

    Args:
        script: What is answered, and when it fails.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._attempts: Counter[bytes] = Counter()
        self._outcomes: Counter[Outcome] = Counter()
        self._served = {"answers": 0, "prompt_tokens": 0, "completion_tokens": 0, "usd": 0.0}
        self._under_way = self._most_under_way = 0

    def app(self) -> web.Application:
        """The application to be run."""
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, chat=True)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, chat=False)

    async def _serve(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        body = await request.read()
        self._under_way += 1
        self._most_under_way = max(self._most_under_way, self._under_way)
        try:
            return await self._answer(request, body, chat=chat)
        finally:
            self._under_way -= 1

    async def _answer(self, request: web.Request, body: bytes, *, chat: bool) -> web.StreamResponse:
        try:
            asked = json.loads(body)
            prompt = _last_text(asked["messages"]) if chat else str(asked["prompt"])
        except (ValueError, KeyError, TypeError, IndexError):
            return _error(400, "invalid_request_error", "the body is no request")
        known = hashlib.blake2b(body, digest_size=16).digest()
        outcome = self._script.outcome(body, self._attempts[known])
        self._attempts[known] += 1
        self._outcomes[outcome] += 1
        await asyncio.sleep(self._script.slow if outcome == "slow" else self._script.latency)
        match outcome:
            case "rate_limit":
                wait = {"Retry-After": f"{self._script.retry_after:g}"}
                return _error(429, "rate_limit_exceeded", "too many requests", wait)
            case "server_error":
                return _error(500, "internal_error", "scripted failure")
            case "bad_request":
                return _error(400, "invalid_request_error", "scripted: this request is wrong")
            case "reset":
                _drop(request)
                return web.Response()
            case "malformed":
                return web.Response(text='{"choices": [{"message": {"content": "cut', content_type="application/json")
            case "endless":
                return await _never_end(request)
        answer = self._completion(asked, prompt, outcome, chat=chat)
        if outcome == "truncated":
            return await _cut(request, answer)
        if outcome != "empty":
            usage = answer["usage"]
            self._served["answers"] += 1
            self._served["prompt_tokens"] += usage["prompt_tokens"]
            self._served["completion_tokens"] += usage["completion_tokens"]
            self._served["usd"] += self._script.usd(usage["prompt_tokens"], usage["completion_tokens"])
        return web.json_response(answer)

    def _completion(self, asked: dict[str, Any], prompt: str, outcome: Outcome, *, chat: bool) -> dict[str, Any]:
        text, finish = self._script.text(prompt), "stop"
        if outcome == "content_filter":
            text, finish = "", "content_filter"
        words = text.split()
        most = asked.get("max_tokens") or asked.get("max_completion_tokens")
        if isinstance(most, int) and len(words) > most:
            text, finish, words = " ".join(words[:most]), "length", words[:most]
        message = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        sent = len(json.dumps(asked.get("messages", asked.get("prompt", ""))).split())
        choice = {"index": 0, "finish_reason": finish, "logprobs": None, **message}
        return {
            "id": "scripted",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": asked.get("model", MODEL),
            "choices": [] if outcome == "empty" else [choice],
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": len(words),
                "total_tokens": sent + len(words),
            },
        }

    async def _models(self, _request: web.Request) -> web.Response:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "spavl fake-server"}
        return web.json_response({"object": "list", "data": [model]})

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": self._outcomes.total(),
                "outcomes": dict(self._outcomes),
                "most_at_once": self._most_under_way,
                **self._served,
            }
        )


def _last_text(messages: Any) -> str:
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    said = {"error": {"message": message, "type": code, "code": code, "param": None}}
    return web.json_response(said, status=status, headers=headers)


def _drop(request: web.Request) -> None:
    """End the connection in the middle of nothing."""
    if request.transport is not None:
        request.transport.abort()


async def _cut(request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    """Send half of what was announced."""
    data = json.dumps(answer).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    _drop(request)
    return response


async def _never_end(request: web.Request) -> web.StreamResponse:
    """Blanks until the client goes."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(_ENDLESS)
