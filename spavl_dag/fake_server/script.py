"""What the test server answers, and when it fails: decided by the request, so that a rehearsal can be repeated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spavl_dag.errors import ParamsError
from spavl_dag.yamls import load_yaml

Outcome = Literal[
    "ok",
    "rate_limit",
    "server_error",
    "reset",
    "slow",
    "endless",
    "malformed",
    "truncated",
    "empty",
    "content_filter",
    "bad_request",
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

PERMANENT: frozenset[Outcome] = frozenset({"content_filter", "bad_request"})
"""Failures that belong to the request: asked again, it fails again. The others are drawn anew for each attempt."""

DEFAULT_ANSWER = "This is a scripted answer of a test server."


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Answer(_Part):
    """A text for the requests whose last message a pattern is found in."""

    match: str = ""
    text: str

    @model_validator(mode="after")
    def _compiles(self) -> Answer:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"match is no regular expression: {error}") from error
        return self


class Script(_Part):
    """All that the server does.

    Attributes:
        answers: The first that matches is given; `DEFAULT_ANSWER` where none does.
        failures: Share of requests that end so, by outcome.
        retry_after: Seconds that a 429 asks to wait.
        latency: Seconds until an answer.
        slow: Seconds until an answer of outcome `slow`.
        seed: Other seed, other failures.
        usd_per_million_prompt_tokens: What the server counts as money.
        usd_per_million_completion_tokens: Likewise.
    """

    answers: list[Answer] = Field(default_factory=list)
    failures: dict[Outcome, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    retry_after: Annotated[float, Field(ge=0)] = 1.0
    latency: Annotated[float, Field(ge=0)] = 0.0
    slow: Annotated[float, Field(ge=0)] = 5.0
    seed: int = 0
    usd_per_million_prompt_tokens: Annotated[float, Field(ge=0)] = 0.0
    usd_per_million_completion_tokens: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _shares(self) -> Script:
        if "ok" in self.failures or sum(self.failures.values()) > 1:
            raise ValueError("failures are shares of all requests: together at most 1, without 'ok'")
        return self

    def outcome(self, body: bytes, attempt: int) -> Outcome:
        """What becomes of a request.

        Args:
            body: As it was sent.
            attempt: How often this very body was sent before.
        """
        # Two draws of one stretch of shares: what is permanent doesn't depend on the attempt.
        for drawn, kinds in ((self._draw(body, 0), PERMANENT), (self._draw(body, attempt + 1), None)):
            reached = 0.0
            for outcome, share in self.failures.items():
                reached += share
                if drawn < reached:
                    if (outcome in PERMANENT) == (kinds is PERMANENT):
                        return outcome
                    break
        return "ok"

    def text(self, prompt: str) -> str:
        """The answer to a prompt."""
        return next((answer.text for answer in self.answers if re.search(answer.match, prompt)), DEFAULT_ANSWER)

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What an answer costs."""
        return (
            prompt_tokens * self.usd_per_million_prompt_tokens
            + completion_tokens * self.usd_per_million_completion_tokens
        ) / 1e6

    def _draw(self, body: bytes, number: int) -> float:
        digest = hashlib.blake2b(body, digest_size=8, key=f"{self.seed}/{number}".encode()).digest()
        return int.from_bytes(digest, "big") / 2**64


def read_script(file: Path | None, options: Mapping[str, Any]) -> Script:
    """A script from a YAML file and options that come before it.

    Raises:
        ParamsError: The file can't be read, or something in it isn't right.
    """
    said: Any = {}
    if file is not None:
        try:
            said = load_yaml(file.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError) as error:
            raise ParamsError(
                f"{file} can't be read: {error}", "Name a YAML file (spavl fake-server --help)."
            ) from error
    try:
        return Script.model_validate({**said, **options})
    except (ValidationError, TypeError) as error:
        words = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'script'}: {one['msg']}" for one in error.errors()
        ) if isinstance(error, ValidationError) else str(error)  # fmt: skip
        raise ParamsError(f"the script isn't right: {words}", f"Outcomes are {', '.join(OUTCOMES)}.") from error
