"""Requests per second of the engine `openai`, against a bare asyncio client of the same library, in turns.

    python benchmarks/hosted.py [--json]

Both ask one `spavl fake-server` with the same latency at the same concurrency. Target: at least 0.9 of the bare client;
and 1,000 at once without an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from httpx2 import Limits
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.hosted.engine import OpenAIEngine
from spavl_dag.inference.request import Decoding, Request, single_turn
from spavl_dag.params.engines import OpenAIEngineParams, OpenAIRuntime
from spavl_dag.states import CallState

TARGET = 0.9
LATENCY = 0.25  # seconds
TOKENS = 16


def through_engine(url: str, count: int, at_once: int) -> float:
    """Requests per second of the engine."""
    params = OpenAIEngineParams(kind="openai", endpoint=url)
    runtime = OpenAIRuntime(kind="openai", concurrency=at_once, max_retries=0)
    engine = OpenAIEngine(EngineSettings("openai", "scripted", params=params, runtime=runtime))
    requests = [
        Request(number.to_bytes(16, "big"), single_turn(f"question {number}"), number) for number in range(count)
    ]
    started = time.perf_counter()
    made = [one for batch in engine.generate(requests, Decoding(max_new_tokens=TOKENS)) for one in batch]
    assert len(made) == count
    assert all(one.state is CallState.OK for one in made)
    return count / (time.perf_counter() - started)


def bare(url: str, count: int, at_once: int) -> float:
    """Requests per second of the library alone, with a semaphore."""

    async def ask_all() -> None:
        limits = Limits(max_connections=at_once, max_keepalive_connections=at_once)
        http = DefaultAsyncHttpxClient(limits=limits)
        async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0, http_client=http) as client:
            free = asyncio.Semaphore(at_once)

            async def one(number: int) -> None:
                async with free:
                    await client.chat.completions.create(
                        model="scripted",
                        messages=[{"role": "user", "content": f"question {number}"}],
                        max_tokens=TOKENS,
                        temperature=0.0,
                        seed=number,
                    )

            await asyncio.gather(*map(one, range(count)))

    started = time.perf_counter()
    asyncio.run(ask_all())
    return count / (time.perf_counter() - started)


def measure(url: str, at_once: int, turns: int) -> dict[str, Any]:
    """Both in turns; the ratio is the median of the turns' own."""
    count = 4 * at_once
    pairs = []
    for turn in range(turns):
        order: list[Callable[[str, int, int], float]] = [through_engine, bare]
        rates = {run.__name__: run(url, count, at_once) for run in (order if turn % 2 else order[::-1])}
        pairs.append((rates["through_engine"], rates["bare"]))
    return {
        "at_once": at_once,
        "engine_per_s": round(median(ours for ours, _ in pairs)),
        "bare_per_s": round(median(theirs for _, theirs in pairs)),
        "ratio": round(median(ours / theirs for ours, theirs in pairs), 3),
    }


def main() -> None:
    """Print a table, or JSON; end with 1 where the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "spavl_dag", "fake-server", "--port", "0", "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+/v1", server.stdout.readline())
        assert found
        try:
            rows = [measure(found[0], at_once, arguments.turns) for at_once in (32, 128, 1000)]
        finally:
            server.terminate()
    if arguments.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(", ".join(f"{name} {value}" for name, value in row.items()))
    sys.exit(any(row["ratio"] < TARGET for row in rows))


if __name__ == "__main__":
    main()
