"""The `vllm` engine, this side of its worker processes.

Prompts are made here, by the same chat format as in the `transformers` engine, and go to the workers as tokens; tokens
come back and become texts here. vLLM batches continuously: a row that ends makes room for another at once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.checkpoint_files import check_model_files
from spavl_dag.inference.engines.gpus import GpuLease, pick_gpus, take_gpus, visible_gpus
from spavl_dag.inference.engines.prompts import UnsupportedMessagesError
from spavl_dag.inference.engines.vllm.fleet import Fleet
from spavl_dag.inference.engines.vllm.messages import BackendSettings, Outcome, Row, Start
from spavl_dag.inference.engines.vllm.options import VllmOptions, engine_args, is_cpu_build, worker_environment
from spavl_dag.inference.engines.vllm.prompt_tokens import PromptTokens
from spavl_dag.inference.request import ChangedImageError, Decoding, Generation, Request
from spavl_dag.states import CallState

BACKEND = "spavl_dag.inference.engines.vllm.backend:VllmBackend"

_AHEAD = 64
"""Rows that wait, prepared, beside those that a worker computes."""

_SECONDS = 1.0
"""After so long, rows that ended are handed on, however few they are."""


class VllmEngine:
    """A model in vLLM, in one process or, with data parallelism, in several that share the rows.

    Args:
        settings: Which model, and how it runs.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """Load the model; waits for GPUs where other processes hold those that it may use.

        Raises:
            EngineError: It can't be loaded, a setting makes no sense, or there are no such GPUs.
        """
        options = VllmOptions.of(settings)
        on_cpu = is_cpu_build()
        check_model_files(settings.model, settings.revision)
        arguments = engine_args(settings, options, on_cpu=on_cpu)
        self._name = settings.model
        self._batch_size = settings.batch_size
        self._numbers = itertools.count()
        self._lease = None if on_cpu else _lease(settings, options)
        self._fleet: Fleet | None = None
        self._stopped = False
        try:
            self._prompts = PromptTokens(settings.model, settings.revision)
            start = BackendSettings(
                arguments,
                settings.adapter,
                self._prompts.end_tokens,
                options.params.max_pixels,
                self._prompts.probes(),
            )
            environments = [
                worker_environment(settings, gpus, on_cpu=on_cpu)
                for gpus in options.shares(self._lease.names if self._lease else ())
            ]
            self._fleet = Fleet(self._name, Start(BACKEND, start), environments, options.max_num_seqs + _AHEAD)
            self._context = self._fleet.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[Generation]]:
        """Yield the results of all requests as they end, in batches of at most `batch_size`.

        Args:
            requests: The calls to make; keys are distinct.
            decoding: Shared by all of them.

        Raises:
            EngineError: The engine was closed, the decoding asks for too many tokens, the model has no system turn and
                every request brings one, or vLLM failed twice.
        """
        self._stopped = False
        fleet = self._checked(requests, decoding)
        asked: dict[int, Request] = {}
        ended: list[Generation] = []
        handed_on = time.monotonic()
        # Rows about one picture together: vLLM finds the beginning of their prompts in its cache.
        ordered = sorted(requests, key=lambda row: ([image.sha256 for image in row.images], row.texts, row.key))
        failure: EngineError | None = None
        with closing(fleet.run(self._rows(ordered, asked, ended), decoding)) as outcomes:
            while True:
                try:
                    some = next(outcomes, None)
                except EngineError as error:
                    some, failure = None, error
                ended += [self._generation(asked.pop(outcome.number), outcome) for outcome in some or ()]
                late = some is None or time.monotonic() - handed_on >= _SECONDS
                while len(ended) >= self._batch_size or (ended and late):
                    batch = ended[: self._batch_size]
                    del ended[: self._batch_size]  # in place: `_rows` adds to it
                    handed_on = time.monotonic()
                    yield batch
                if some is None:
                    break
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Hand vLLM no more rows; what it has is finished."""
        self._stopped = True

    def close(self) -> None:
        """End the processes, which frees their memory; the engine can't be used again."""
        if self._fleet is not None:
            self._fleet.close()
            self._fleet = None
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs that it holds; none on the CPU."""
        return self._lease.names if self._lease else ()

    def _checked(self, requests: Sequence[Request], decoding: Decoding) -> Fleet:
        if self._fleet is None:
            raise EngineError(f"the engine of {self._name} was closed", "Open it again.")
        if decoding.max_new_tokens >= self._context:
            raise EngineError(
                f"max_new_tokens is {decoding.max_new_tokens}, but the context of {self._name} is {self._context}",
                "Ask for fewer tokens.",
            )
        if not self._prompts.sees and any(row.images for row in requests):
            raise EngineError(
                f"{self._name} takes no images, and is shown some",
                "Name a vision language model, or one whose role shows no image (safety_labels.sees_image: false).",
            )
        brings_system = all(message.role == "system" for row in requests for message in row.messages[:1])
        if requests and brings_system and not self._prompts.chat.has_system_turn:
            raise EngineError(
                f"the chat template of {self._name} has no system turn",
                "Leave the system prompt out, or put it into the prompt template.",
            )
        return self._fleet

    def _rows(self, requests: Sequence[Request], asked: dict[int, Request], refused: list[Generation]) -> Iterator[Row]:
        """Requests as tokens, when there is room for them; what can't be put goes to `refused`."""
        read: tuple[str, bytes] | None = None
        for request in requests:
            if self._stopped:
                return
            images = []
            try:
                tokens = self._prompts.of(request.messages)
                for image in request.images:
                    if read is None or read[0] != image.sha256:
                        read = (image.sha256, image.read())
                    images.append(read)
            except UnsupportedMessagesError as error:
                refused.append(_failed(request, CallState.PERMANENT_ERROR, str(error)))
            except ChangedImageError as error:
                refused.append(_failed(request, CallState.TRANSIENT_ERROR, f"{error.message}. {error.hint}"))
            except OSError as error:
                refused.append(_failed(request, CallState.TRANSIENT_ERROR, f"image can't be read: {error}"))
            else:
                row = Row(next(self._numbers), tokens, tuple(images), request.seed, request.structured_output)
                asked[row.number] = request
                yield row

    def _generation(self, request: Request, outcome: Outcome) -> Generation:
        if outcome.error is not None:
            state = CallState.PERMANENT_ERROR if outcome.is_permanent else CallState.TRANSIENT_ERROR
            return _failed(request, state, outcome.error)
        return Generation(
            key=request.key,
            state=CallState.OK,
            text=self._prompts.text(outcome.tokens),
            finish_reason=outcome.finish_reason,
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=len(outcome.tokens),
        )


def _lease(settings: EngineSettings, options: VllmOptions) -> GpuLease:
    count = options.runtime.gpu_count
    return take_gpus(pick_gpus(options.runtime.gpus, count, visible_gpus()), count, wait=settings.wait_for_gpus)


def _failed(request: Request, state: CallState, error: str) -> Generation:
    line = next(iter(error.strip().splitlines()), "")[:300]
    return Generation(key=request.key, state=state, text="", finish_reason="error", error=line)
