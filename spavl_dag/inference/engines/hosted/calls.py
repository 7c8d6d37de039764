"""One request over the API: put, asked again where it failed for the moment, and read.

What is permanent for a row (the server refuses this very request) is told from what ends the run (no access, no such
model, no money left) and from what passes (too many requests, a server's error, no answer in time).
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.hosted.endpoints import Endpoint, Endpoints
from spavl_dag.inference.engines.hosted.messages import chat_messages, completion_prompt
from spavl_dag.inference.request import ChangedImageError, Decoding, Generation, Request
from spavl_dag.params.engines import OpenAIEngineParams, OpenAIRuntime
from spavl_dag.states import CallState

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0  # seconds
_PATIENCE = 900.0
"""Seconds that a server may ask to wait; who asks for more is asked again by the next run."""
_IMAGE_TOKENS = 800  # about what hosted models count for a picture
_SHOWN = 300


class MomentaryError(Exception):
    """A request that failed in a way that passes.

    Attributes:
        wait: Seconds that the server asks for; None where it says nothing.
        too_much: Whether the server was asked too much.
    """

    def __init__(self, words: str, wait: float | None = None, *, too_much: bool = False) -> None:
        super().__init__(words)
        self.wait = wait
        self.too_much = too_much


class RefusedRequestError(Exception):
    """A request that the server will never take."""


@dataclass(frozen=True)
class Caller:
    """Asks one model.

    Attributes:
        model: Its name on the server.
        params: What is part of a call's key.
        runtime: How it is asked.
        endpoints: Its servers.
    """

    model: str
    params: OpenAIEngineParams
    runtime: OpenAIRuntime
    endpoints: Endpoints

    async def ask(self, request: Request, decoding: Decoding) -> Generation:
        """What came of a request; an error of the row is a state.

        Raises:
            EngineError: No request can succeed.
            RefusedRequestError: The server takes this request for wrong.
        """
        try:
            body = self._body(request, decoding)
        except (ChangedImageError, OSError) as error:
            return _failed(request, CallState.TRANSIENT_ERROR, str(error))
        tokens = sum(map(len, request.texts)) // 4 + _IMAGE_TOKENS * len(request.images) + decoding.max_new_tokens
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(MomentaryError),
            stop=self._is_enough,
            wait=_wait,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with self.endpoints.place(tokens) as endpoint:
                        return self._read(request, await self._put(endpoint, body))
        except MomentaryError as error:
            return _failed(request, CallState.TRANSIENT_ERROR, str(error))
        raise AssertionError("an attempt returns or raises")

    def _is_enough(self, state: RetryCallState) -> bool:
        """Whether a request is left for the next run: asked often enough, or the server asks for too much patience."""
        error = state.outcome.exception() if state.outcome else None
        too_long = isinstance(error, MomentaryError) and (error.wait or 0.0) > _PATIENCE
        return too_long or state.attempt_number > self.runtime.max_retries

    def _body(self, request: Request, decoding: Decoding) -> dict[str, Any]:
        extra: dict[str, Any] = dict(self.params.extra_body)
        form = json.loads(request.structured_output) if request.structured_output else {}
        if form and "json" not in form:
            extra["structured_outputs"] = form  # as vLLM's server takes what the API itself has no name for
        if not decoding.greedy and decoding.top_k:
            extra["top_k"] = decoding.top_k
        if decoding.repetition_penalty != 1:
            extra["repetition_penalty"] = decoding.repetition_penalty
        raw = request.messages[0].role == "raw"
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens" if raw else self.params.max_tokens_name: decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "extra_body": extra,
        }
        if raw:
            body["prompt"] = completion_prompt(request.messages[0])
        else:
            body["messages"] = chat_messages(request.messages, self.params.image_detail)
        if "json" in form:
            schema = {"name": "answer", "schema": form["json"], "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if not decoding.greedy:
            body["top_p"] = decoding.top_p
        if self.params.send_seed:
            body["seed"] = request.seed
        return body

    async def _put(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Any:
        """Ask once, and say what an error means."""
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(self.runtime.timeout):  # of the whole answer: a server may go on for ever
                api = endpoint.client.completions if "prompt" in body else endpoint.client.chat.completions
                answer: Any = await api.create(**body)
        except (TimeoutError, openai.APITimeoutError):
            raise MomentaryError(f"no answer in {self.runtime.timeout:g} s") from None
        except openai.APIConnectionError as error:
            raise MomentaryError(f"the connection failed: {_words(error.__cause__ or error)}") from None
        except openai.APIStatusError as error:
            failure = _meaning(error)
            if isinstance(failure, MomentaryError) and failure.too_much:
                endpoint.was_too_much(asked_at, time.monotonic())
            raise failure from None
        except (openai.APIError, ValueError) as error:  # what isn't JSON, or not the API's
            raise MomentaryError(f"the answer can't be read: {_words(error)}") from None
        endpoint.answered()
        return answer

    def _read(self, request: Request, answer: Any) -> Generation:
        choice = next(iter(getattr(answer, "choices", None) or ()), None)
        message = getattr(choice, "message", None)
        text = getattr(choice, "text", None) if message is None else message.content
        if choice is None or (message is None and text is None):
            raise MomentaryError("the answer has no choices")
        usage = answer.usage
        prompt, completion = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        usd = (
            prompt * self.runtime.usd_per_million_prompt_tokens
            + completion * self.runtime.usd_per_million_completion_tokens
        ) / 1e6
        refusal = getattr(message, "refusal", None)
        if choice.finish_reason == "content_filter" or refusal:
            # What the provider holds back is a refusal: paid for, final, and never an answer.
            return Generation(request.key, CallState.REFUSED, text or refusal or "", "stop", prompt, completion, usd)
        finish = "length" if choice.finish_reason == "length" else "stop"
        return Generation(request.key, CallState.OK, text or "", finish, prompt, completion, usd)


def _meaning(error: openai.APIStatusError) -> Exception:
    """What a status means for the row and for the run."""
    status, words = error.status_code, _words(error)
    code = error.body.get("code") if isinstance(error.body, Mapping) else None
    if status in (401, 403):
        return EngineError(f"no access ({status}): {words}", "Check the key that runtime.engines names (api_key_env).")
    if status == 404:
        return EngineError(f"not found (404): {words}", "Check the model's name and the endpoint.")
    if code == "insufficient_quota" or status == 402:
        return EngineError(f"nothing may be spent any more ({status}): {words}", "Raise the provider's limit.")
    if status == 429:
        return MomentaryError(f"too many requests (429): {words}", _asked_wait(error), too_much=True)
    if status in (408, 409, 425) or status >= 500:
        return MomentaryError(f"the server failed ({status}): {words}", _asked_wait(error))
    return RefusedRequestError(f"refused ({status}): {words}")


def is_content_filter(error: RefusedRequestError) -> bool:
    """Whether the provider's filter held the prompt itself back."""
    return "content_filter" in str(error) or "content management policy" in str(error)


def _asked_wait(error: openai.APIStatusError) -> float | None:
    """Seconds of a header Retry-After, which holds a number or a date."""
    said = error.response.headers.get("retry-after")
    if said is None:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: as the server asks, else doubling; jitter keeps them apart."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, MomentaryError) else None
    backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (state.attempt_number - 1))
    if asked is not None:
        return asked + random.uniform(0, min(1.0, backoff))
    return random.uniform(backoff / 2, backoff)


def _words(error: BaseException) -> str:
    """The first line; a provider's message may repeat the prompt, so no more than that."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, Mapping) else None
    text = said if isinstance(said, str) else str(error)
    if code := (body.get("code") if isinstance(body, Mapping) else None):
        text = f"{code}: {text}"
    line = next(iter(text.strip().splitlines()), type(error).__name__)
    return json.dumps(line[:_SHOWN], ensure_ascii=False)[1:-1]


def _failed(request: Request, state: CallState, error: str) -> Generation:
    return Generation(request.key, state, "", "error", error=error)


def permanent(request: Request, error: str) -> Generation:
    """A row that the server takes for wrong."""
    return _failed(request, CallState.PERMANENT_ERROR, error)


def filtered(request: Request) -> Generation:
    """A row whose prompt the provider's filter held back: a refusal without a text."""
    return Generation(request.key, CallState.REFUSED, "", "stop")
