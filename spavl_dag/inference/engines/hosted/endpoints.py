"""Who is asked, and how many requests are under way: several servers, limits per minute, and a limit that adapts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiolimiter import AsyncLimiter
from openai import AsyncOpenAI

_SHRINK = 0.7
_MINUTE = 60.0


@dataclass(eq=False)
class Endpoint:
    """One server.

    Attributes:
        client: Asks it.
        most: Requests at once, at most.
        limit: The same, as the server bears it now: less after each 429, slowly more after answers.
        under_way: Requests that it hasn't answered.
    """

    client: AsyncOpenAI
    most: int
    limit: float = field(init=False)
    under_way: int = 0
    _shrunk_at: float = field(default=-1.0, repr=False)

    def __post_init__(self) -> None:
        """Begin with what may be at most."""
        self.limit = float(self.most)

    def answered(self) -> None:
        """An answer came: a little more may be asked at once."""
        self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def was_too_much(self, asked_at: float, now: float) -> None:
        """The server said that it was asked too much; requests of one burst count once."""
        if asked_at >= self._shrunk_at:
            self.limit = max(1.0, self.limit * _SHRINK)
            self._shrunk_at = now


class Endpoints:
    """All servers of one model, and what may be asked of them in a minute.

    Args:
        endpoints: At least one.
        requests_per_minute: Of all together; None for any number.
        tokens_per_minute: Likewise.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], requests_per_minute: int | None, tokens_per_minute: int | None
    ) -> None:
        self._endpoints = list(endpoints)
        self._free = asyncio.Condition()
        self._requests = AsyncLimiter(requests_per_minute, _MINUTE) if requests_per_minute else None
        self._tokens = AsyncLimiter(tokens_per_minute, _MINUTE) if tokens_per_minute else None

    @property
    def most(self) -> int:
        """How many requests may be under way at once."""
        return sum(endpoint.most for endpoint in self._endpoints)

    @asynccontextmanager
    async def place(self, tokens: int) -> AsyncIterator[Endpoint]:
        """The least loaded server, once there is room for a request.

        Args:
            tokens: About how many the request and its answer have.
        """
        if self._requests:
            await self._requests.acquire()
        if self._tokens:
            await self._tokens.acquire(min(tokens, int(self._tokens.max_rate)))
        async with self._free:
            await self._free.wait_for(lambda: self._with_room() is not None)
            endpoint = self._with_room()
            assert endpoint is not None
            endpoint.under_way += 1
        try:
            yield endpoint
        finally:
            endpoint.under_way -= 1
            async with self._free:
                self._free.notify(2)

    def _with_room(self) -> Endpoint | None:
        free = [endpoint for endpoint in self._endpoints if endpoint.under_way < max(1, int(endpoint.limit))]
        return min(free, key=lambda endpoint: endpoint.under_way / endpoint.limit, default=None)
