"""Asks a model about many items, each at most once in the project's life.

Belongs here: from items to rendered prompts, to keys, to the calls the ledger lacks, to answers in the items' order.
What an answer means (label, verdict, question) is parsed elsewhere, from the text the ledger holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spavl_dag.errors import EngineError
from spavl_dag.inference.budget import SPENT, Budget
from spavl_dag.inference.engines.base import Engine
from spavl_dag.inference.judges import SAFE_UNSAFE
from spavl_dag.inference.keys import CallKeys, row_seed
from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.inference.request import (
    Generation,
    ImageRef,
    Messages,
    ModelSpec,
    Request,
    as_single_turn,
    readable,
    single_turn,
)
from spavl_dag.inference.templates import compile_template
from spavl_dag.progress import Progress, no_progress
from spavl_dag.states import CallState

Classify = Callable[[str], CallState]
"""Says of a text whether it is an answer, a refusal or unparsable."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing to ask a role: the template's variables, and the image if the model is to see one.

    Attributes:
        variables: What the template is filled with.
        image: Stands before the text.
        sample_index: Number of the sample, where the same is asked several times for several answers.
    """

    variables: Mapping[str, Any]
    image: ImageRef | None = None
    sample_index: int = 0


class Judged(NamedTuple):
    """An answer that is to be labelled.

    Attributes:
        question: What was asked.
        answer: What was said.
        image: What the judge is shown.
    """

    question: str
    answer: str
    image: ImageRef | None = None


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
        engines: Engine families of all calls.
    """

    asked: int = 0
    made: int = 0
    saved: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    engines: set[str] = field(default_factory=set)

    def add(self, made: Generation) -> None:
        """Count a call that was just made."""
        self.made += 1
        self.failed += not made.state.has_text
        self.prompt_tokens += made.prompt_tokens
        self.completion_tokens += made.completion_tokens
        self.cost_usd += made.cost_usd


def answered(_text: str) -> CallState:
    """The plainest classification: whatever came back is an answer."""
    return CallState.OK


class ModelClient:
    """Asks one model in one role, through the ledger.

    Attributes:
        form: How it is asked for a label, where it judges.

    Args:
        spec: Who is asked, and how.
        ledger: Where calls are looked up and kept.
        engine: Opens the engine; called only when a call must be made.
        artifact: For whom; noted with the calls.
        partition: Part of the artifact.
        seed: The project's seed; part of every key.
        counts: Where calls are counted.
        progress: Told about calls made, under the role's name.
        budget: How much this process may ask; None for any number.
        retry_failed: Whether calls that ended in a permanent error are made again.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        ledger: Ledger,
        engine: Callable[[], Engine],
        artifact: str,
        partition: str | None,
        seed: int,
        counts: CallCounts,
        progress: Progress = no_progress,
        budget: Budget | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Compile the template; nothing is asked yet."""
        self.form = SAFE_UNSAFE
        self._budget = budget or Budget()
        self._retry_failed = retry_failed
        self.spec = spec
        self._ledger = ledger
        self._engine = engine
        self._artifact = artifact
        self._partition = partition
        self._counts = counts
        self._progress = progress
        self._keys = CallKeys(spec, seed)
        self._render = compile_template(spec.template, spec.role)
        self._profile = spec.as_json()

    def ask(self, prompts: Sequence[Prompt], classify: Classify = answered) -> list[Generation]:
        """Generations in the prompts' order; only what the ledger lacks is asked.

        Args:
            prompts: What to ask; equal ones share one call.
            classify: Names the state of a returned text; the state is kept with the call.

        Raises:
            EngineError: The model can't be run, or calls failed in a way that another run may fix.
            BudgetError: No more may be asked; what was answered is in the ledger.
            ParamsError: The template needs a variable that this role doesn't have.
        """
        conversations = [single_turn(self._render(each.variables), each.image, self.spec.system) for each in prompts]
        return self._ask(conversations, [each.sample_index for each in prompts], classify)

    def ask_label(self, judged: Sequence[Judged], classify: Classify = answered) -> list[Generation]:
        """As `ask`, for labels of answers, in the form of this judge."""
        conversations = [
            self.form.messages(one.question, one.answer, one.image, self._render, self.spec.system) for one in judged
        ]
        return self._ask(conversations, [0] * len(conversations), classify)

    def ask_messages(self, conversations: Sequence[Messages], classify: Classify = answered) -> list[Generation]:
        """As `ask`, for conversations of any shape; template and system turn of the role have no part in them."""
        return self._ask(conversations, [0] * len(conversations), classify)

    def _ask(self, conversations: Sequence[Messages], samples: Sequence[int], classify: Classify) -> list[Generation]:
        keys = list(map(self._keys.key, conversations, samples))
        first_of: dict[bytes, int] = {}
        for index, key in enumerate(keys):
            first_of.setdefault(key, index)
        missing = self._ledger.missing(list(first_of), retry_failed=self._retry_failed)
        self._counts.asked += len(keys)
        self._counts.engines.add(self.spec.engine)
        self._counts.saved += len(first_of) - len(missing)
        requests = [
            Request(key, conversations[first_of[key]], row_seed(key), self.spec.structured_output) for key in missing
        ]
        if requests:
            self._make(requests, {key: samples[first_of[key]] for key in missing}, classify)
        generations = self._results(list(first_of), requests)
        return [generations[key] for key in keys]

    def _results(self, keys: Sequence[bytes], _made: Sequence[Request]) -> Mapping[bytes, Generation]:
        """What the ledger holds of all calls, those that were just made among them."""
        return self._ledger.fetch_outputs(keys)

    def _make(self, requests: Sequence[Request], samples: Mapping[bytes, int], classify: Classify) -> None:
        """Make the calls and keep each batch as it comes: a batch is in the ledger whole or not at all."""
        by_key = {request.key: request for request in requests}
        done, transient = 0, ""
        failed = 0
        self._budget.refuse(self.spec.role, 0, len(requests))
        engine = self._engine()
        for batch in engine.generate(requests[: self._budget.calls_left()], self.spec.decoding):
            self._ledger.append([self._row(by_key[made.key], samples[made.key], made, classify) for made in batch])
            for made in batch:
                self._counts.add(made)
                SPENT.calls += 1
                SPENT.usd += made.cost_usd
                if not made.state.is_final:
                    failed, transient = failed + 1, made.error or ""
            done += len(batch)
            self._progress(self.spec.role, done, len(requests))
            if self._budget.reached():
                engine.stop()  # what is under way is paid for, and kept
        if done < len(requests):
            self._budget.refuse(self.spec.role, done, len(requests))
        if failed:
            raise EngineError(
                f"{failed} of {len(requests)} calls of {self.spec.role} failed for the moment: {transient}",
                "Run it again: only these are asked, the others are in the ledger.",
            )

    def _row(self, request: Request, sample_index: int, made: Generation, classify: Classify) -> CallRow:
        single = as_single_turn(request.messages)
        images = request.images if single is None else (single.image,)
        return CallRow(
            key=made.key,
            state=classify(made.text) if made.state is CallState.OK else made.state,
            text=made.text,
            finish_reason=made.finish_reason,
            prompt_tokens=made.prompt_tokens,
            completion_tokens=made.completion_tokens,
            cost_usd=made.cost_usd,
            error=made.error,
            artifact=self._artifact,
            partition=self._partition,
            role=self.spec.role,
            profile=self._profile,
            prompt=single.prompt if single and single.system == self.spec.system else readable(request.messages),
            image_sha256=images[0].sha256 if len(images) == 1 and images[0] else None,
            sample_index=sample_index,
            seed=request.seed,
        )
