"""How a sequence of requests is cut into batches: in a fixed way that only the requests themselves decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spavl_dag.inference.request import Request


def prompt_length(request: Request) -> int:
    """Characters of all turns; they stand in for tokens, which would need the tokenizer twice."""
    return sum(map(len, request.texts))


def plan_batches(requests: Sequence[Request], batch_size: int) -> Iterator[list[Request]]:
    """Cut requests into batches of like kind and like length.

    Requests with different numbers of images never share a batch.  Within each kind they are sorted by length, so
    that little is padded, and then by key, so that the order they came in has no effect.

    Args:
        requests: All requests, in any order; keys are distinct.
        batch_size: Upper bound of a batch, at least 1.

    Yields:
        The batches; the same requests always give the same ones.
    """
    kinds: dict[int, list[Request]] = {}
    for request in requests:
        kinds.setdefault(len(request.images), []).append(request)
    for _, rows in sorted(kinds.items()):
        rows.sort(key=lambda request: (prompt_length(request), request.key))
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]
