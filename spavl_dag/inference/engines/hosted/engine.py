"""The engine of hosted models: many requests at once, each answer handed on as it comes.

An event loop in a thread asks; what came waits until `generate` takes all that is there. So the
ledger has an answer a moment after it arrived, and a killed run loses only what was under way. What a server answers
may differ from run to run, greedy and seeded or not: the ledger keeps the first answer.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from httpx2 import Limits
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.hosted.calls import Caller, RefusedRequestError, filtered, is_content_filter, permanent
from spavl_dag.inference.engines.hosted.endpoints import Endpoint, Endpoints
from spavl_dag.inference.request import Decoding, Generation, Request, single_turn
from spavl_dag.params.engines import OpenAIEngineParams, OpenAIRuntime
from spavl_dag.states import CallState

_NO_KEY = "none"  # servers without keys want some word all the same
_BATCH = 256
_PATIENCE = 30.0  # seconds that an interrupted run waits for what is under way
_LOOK = 1.0
_GIVEN_UP = 20
"""So many requests in a row that failed through all their retries: the server is gone."""


class OpenAIEngine:
    """A model behind an OpenAI-compatible address.

    Args:
        settings: Which one, and how it is asked.

    Raises:
        EngineError: The environment lacks the key.
    """

    def __init__(self, settings: EngineSettings) -> None:
        params, runtime = settings.params, settings.runtime
        assert isinstance(params, OpenAIEngineParams), "an engine of this kind has an entry of it"
        self._model = settings.model
        self._params = params
        self._runtime = runtime if isinstance(runtime, OpenAIRuntime) else OpenAIRuntime(kind="openai")
        self._key = _key(self._runtime.api_key_env)
        self._stopping = threading.Event()

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[Generation]]:
        """Yield results as they come, a few at a time, in no order.

        Args:
            requests: The calls to make; keys are distinct.
            decoding: Shared by all of them.

        Raises:
            EngineError: No access, no such model, no money left, a server that is gone, or one that takes every
                request for wrong.
        """
        self._stopping.clear()
        come = _Come()
        thread = threading.Thread(target=self._run, args=(requests, decoding, come), daemon=True)
        thread.start()
        try:
            yield from come.batches()
        except KeyboardInterrupt:
            # What is under way is paid for: it is waited for a while. Who can't wait interrupts again.
            self._stopping.set()
            yield from come.batches(time.monotonic() + _PATIENCE)
            raise
        finally:
            self._stopping.set()

    def stop(self) -> None:
        """Ask nothing more; what is under way still comes out of `generate`."""
        self._stopping.set()

    def close(self) -> None:
        """End what is under way."""
        self._stopping.set()

    def _run(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        come: _Come,
    ) -> None:
        try:
            asyncio.run(self._ask_all(requests, decoding, come))
        except BaseException as error:  # told where it is waited for
            come.end(error)
        else:
            come.end(None)

    async def _ask_all(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        come: _Come,
    ) -> None:
        addresses = self._runtime.base_urls or [self._params.endpoint]
        most = self._runtime.concurrency
        limits = Limits(max_connections=most, max_keepalive_connections=most)
        clients = [
            AsyncOpenAI(
                api_key=self._key, base_url=url, max_retries=0, http_client=DefaultAsyncHttpxClient(limits=limits)
            )
            for url in addresses
        ]
        endpoints = Endpoints(
            [Endpoint(client, most) for client in clients],
            self._runtime.requests_per_minute,
            self._runtime.tokens_per_minute,
        )
        caller = Caller(self._model, self._params, self._runtime, endpoints)
        try:
            await _Round(caller, decoding, come, self._stopping).run(requests, endpoints.most)
        finally:
            await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)


class _Round:
    """All requests of one `generate`, so many at once."""

    def __init__(
        self,
        caller: Caller,
        decoding: Decoding,
        come: _Come,
        stopping: threading.Event,
    ) -> None:
        self._caller = caller
        self._decoding = decoding
        self._come = come
        self._stopping = stopping
        self._answered = False
        self._in_a_row = 0
        self._probe: asyncio.Task[None] | None = None

    async def run(self, requests: Sequence[Request], at_once: int) -> None:
        """Ask all; an error that ends the run ends all of them."""
        waiting = iter(requests)
        workers = [asyncio.create_task(self._work(waiting)) for _ in range(min(at_once, len(requests)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, waiting: Iterator[Request]) -> None:
        for request in waiting:
            if self._stopping.is_set():
                return
            self._come.put(await self._one(request))
            if self._in_a_row >= _GIVEN_UP:
                raise EngineError(
                    f"{self._in_a_row} requests in a row failed with all their retries",
                    "Is the server up? Run it again: what was answered is in the ledger.",
                )

    async def _one(self, request: Request) -> Generation:
        try:
            made = await self._caller.ask(request, self._decoding)
        except RefusedRequestError as error:
            if is_content_filter(error):
                return filtered(request)
            await self._make_sure(str(error))
            return permanent(request, str(error))
        self._in_a_row = 0 if made.state is not CallState.TRANSIENT_ERROR else self._in_a_row + 1
        self._answered = self._answered or made.state.has_text
        return made

    async def _make_sure(self, refused: str) -> None:
        """Make sure that it is the row and not the set-up that is wrong: its error is recorded for good."""
        if self._answered:
            return
        if self._probe is None:
            self._probe = asyncio.create_task(self._greet(refused))
        await asyncio.shield(self._probe)

    async def _greet(self, refused: str) -> None:
        probe = Request(b"probe", single_turn("Say yes."), 0)
        try:
            await self._caller.ask(probe, Decoding(max_new_tokens=self._decoding.max_new_tokens))
        except RefusedRequestError:
            raise EngineError(
                f"the server takes every request for wrong: {refused}",
                "Check what engines.<name> says of it (max_tokens_name, send_seed, extra_body).",
            ) from None


def _key(variable: str | None) -> str:
    if variable is None:
        return _NO_KEY
    if not (key := os.environ.get(variable, "").strip()):
        raise EngineError(
            f"the environment has no variable {variable}, which holds the key of the endpoint",
            f"Set it (export {variable}=...), or name another one as api_key_env.",
        )
    return key


class _Come:
    """What came and wasn't taken yet. Nothing leaves before it was handed on: an interrupt loses no answer."""

    def __init__(self) -> None:
        self._generations: deque[Generation] = deque()
        self._news = threading.Event()
        self._ended = False
        self._error: BaseException | None = None

    def put(self, made: Generation) -> None:
        """Add one."""
        self._generations.append(made)
        self._news.set()

    def end(self, error: BaseException | None) -> None:
        """Say that no more comes, and why, if it isn't that all came."""
        self._error, self._ended = error, True
        self._news.set()

    def batches(self, until: float = math.inf) -> Iterator[list[Generation]]:
        """What came so far, again and again, until all came, an error ends it, or it is too late (monotonic clock)."""
        while (left := until - time.monotonic()) > 0:
            ended = self._ended  # before looking: what came by then is there
            if batch := list(islice(self._generations, _BATCH)):
                yield batch
                for _ in batch:
                    self._generations.popleft()
            elif ended:
                if self._error is not None:
                    raise self._error
                return
            else:
                self._news.wait(min(left, _LOOK))
                self._news.clear()
