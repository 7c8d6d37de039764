"""Asks a model about many items, each at most once in the project's life.

Belongs here: from items to rendered prompts, to keys, to the calls the ledger lacks, to answers in the items' order.
What an answer means (label, verdict, question) is parsed elsewhere, from the text the ledger holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import Decoding, Engine, ImageRef, Request, Result
from spavl_dag.inference.keys import CallIdentity, call_key, row_seed
from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.inference.templates import compile_template
from spavl_dag.states import CallState

Progress = Callable[[int, int], None]
"""Told how many of how many calls are done."""

Classify = Callable[[str], CallState]
"""Says of a text whether it is an answer, a refusal or unparsable."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Who is asked, and how.

    Attributes:
        role: Key path in params.yaml, such as `roles.judge` or `models.m01`.
        engine: Engine name.
        model: Hub id, or the artifact's name for a model made here.
        revision: Revision, or the content hash of local weights.
        system: System turn.
        template: Source of the prompt template.
        decoding: Decoding parameters.
    """

    role: str
    engine: str
    model: str
    revision: str
    system: str | None
    template: str
    decoding: Decoding

    def as_json(self) -> str:
        """What the ledger keeps once for all calls of this profile."""
        content = {
            "engine": self.engine,
            "model": self.model,
            "revision": self.revision,
            "system": self.system,
            "decoding": asdict(self.decoding),
        }
        return json.dumps(content, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing to ask: the template's variables, and the image if the model is to see one."""

    variables: Mapping[str, Any]
    image: ImageRef | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for an item.

    Attributes:
        key: The call's key in the ledger, 32 hex digits.
        state: How the call ended.
        text: Raw model output.
        finish_reason: "stop", "length" or "error".
        error: What went wrong, for error states.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens generated.
    """

    key: str
    state: CallState
    text: str
    finish_reason: str
    error: str | None
    prompt_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class CallCounts:
    """What a run asked for and what it cost.

    Attributes:
        asked: Items, the same call counted as often as it was asked for.
        made: Calls made now.
        saved: Distinct calls that the ledger already had.
        failed: Calls made now that ended in an error.
        prompt_tokens: Of the calls made now.
        completion_tokens: Of the calls made now.
        cost_usd: Of the calls made now.
    """

    asked: int = 0
    made: int = 0
    saved: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def add(self, result: Result) -> None:
        """Count a call that was just made."""
        self.made += 1
        self.failed += not result.state.has_text
        self.prompt_tokens += result.prompt_tokens
        self.completion_tokens += result.completion_tokens
        self.cost_usd += result.cost_usd


def answered(_text: str) -> CallState:
    """The plainest classification: whatever came back is an answer."""
    return CallState.OK


class ModelClient:
    """Asks one profile, through the ledger.

    Args:
        profile: Who is asked, and how.
        ledger: Where calls are looked up and kept.
        engine: Opens the engine; called only when a call must be made.
        artifact: For whom; noted with the calls.
        partition: Part of the artifact.
        seed: The project's seed; part of every key.
        counts: Where calls are counted.
        progress: Told about calls made.
    """

    def __init__(
        self,
        profile: ModelSpec,
        *,
        ledger: Ledger,
        engine: Callable[[], Engine],
        artifact: str,
        partition: str | None,
        seed: int,
        counts: CallCounts,
        progress: Progress | None = None,
    ) -> None:
        """Compile the template; nothing is asked yet."""
        self.profile = profile
        self._ledger = ledger
        self._engine = engine
        self._artifact = artifact
        self._partition = partition
        self._seed = seed
        self._counts = counts
        self._progress = progress
        self._render = compile_template(profile.template, profile.role)

    def ask(self, items: Sequence[Prompt], classify: Classify = answered) -> list[Generation]:
        """Answers in the items' order; only what the ledger lacks is asked.

        Args:
            items: What to ask; equal items share one call.
            classify: Names the state of a returned text; the state is kept with the call.

        Raises:
            EngineError: The model can't be run, or calls failed in a way that another run may fix.
            ParamsError: The template needs a variable that this role doesn't have.
        """
        prompts = [self._render(item.variables) for item in items]
        keys = [self._key(prompt, item) for prompt, item in zip(prompts, items, strict=True)]
        first_of: dict[bytes, int] = {}
        for index, key in enumerate(keys):
            first_of.setdefault(key, index)
        missing = self._ledger.missing(list(first_of))
        self._counts.asked += len(items)
        self._counts.saved += len(first_of) - len(missing)
        if missing:
            requests = [
                Request(key, prompts[i], self.profile.system, items[i].image, row_seed(key))
                for key, i in ((key, first_of[key]) for key in missing)
            ]
            self._make(requests, classify)
        outputs = self._ledger.fetch_outputs(list(first_of))
        answers = {
            key: Generation(key.hex(), o.state, o.text, o.finish_reason, o.error, o.prompt_tokens, o.completion_tokens)
            for key, o in outputs.items()
        }
        return [answers[key] for key in keys]

    def _key(self, prompt: str, item: Prompt) -> bytes:
        profile = self.profile
        return call_key(
            CallIdentity(
                model=profile.model,
                revision=profile.revision,
                system=profile.system,
                prompt=prompt,
                image_sha256=item.image.sha256 if item.image else None,
                decoding=profile.decoding,
                sample_index=0,
                seed=self._seed,
            )
        )

    def _make(self, requests: Sequence[Request], classify: Classify) -> None:
        """Make the calls and keep each batch as it comes: a batch is in the ledger whole or not at all."""
        by_key = {request.key: request for request in requests}
        done, transient = 0, ""
        failed = 0
        for batch in self._engine().generate(requests, self.profile.decoding):
            rows = [self._row(by_key[result.key], result, classify) for result in batch]
            self._ledger.append(rows)
            for result in batch:
                self._counts.add(result)
                if not result.state.is_final:
                    failed, transient = failed + 1, result.error or ""
            done += len(batch)
            if self._progress:
                self._progress(done, len(requests))
        if failed:
            raise EngineError(
                f"{failed} of {len(requests)} calls of {self.profile.role} failed for the moment: {transient}",
                "Run it again: only these are asked, the others are in the ledger.",
            )

    def _row(self, request: Request, result: Result, classify: Classify) -> CallRow:
        state = classify(result.text) if result.state is CallState.OK else result.state
        return CallRow(
            key=result.key,
            state=state,
            text=result.text,
            finish_reason=result.finish_reason,
            prompt_tokens=result.prompt_tokens,
            completion_tokens=result.completion_tokens,
            cost_usd=result.cost_usd,
            error=result.error,
            artifact=self._artifact,
            partition=self._partition,
            role=self.profile.role,
            profile=self.profile.as_json(),
            prompt=request.prompt,
            image_sha256=request.image.sha256 if request.image else None,
            sample_index=0,
            seed=request.seed,
        )
