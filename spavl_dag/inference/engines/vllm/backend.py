"""vLLM itself, in the worker process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from vllm import EngineArgs, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.llm_engine import LLMEngine

from spavl_dag.inference.engines.vllm.messages import FOLDER, Ask, BackendSettings, Outcome, Row
from spavl_dag.inference.engines.vllm.pictures import Pictures
from spavl_dag.inference.engines.vllm.row_sampling import BROKEN_ROWS, RowSampling, extra_args
from spavl_dag.inference.engines.vllm.worker import words
from spavl_dag.inference.request import Decoding
from spavl_dag.media.decode import UnreadableImageError


class _Prepared(NamedTuple):
    row: Row
    decoding: Decoding
    prompt: Any
    prompt_tokens: int


class VllmBackend:
    """vLLM's engine, fed row by row and stepped.

    A row whose logits are not finite leaves such numbers in the cache of keys and values, where they can spread to rows
    that get its place, whatever those attend to. So rows that broke are suspects: when the others have ended, the cache
    is cleared and each suspect is tried alone.

    Args:
        settings: How it is started.
    """

    def __init__(self, settings: BackendSettings) -> None:
        """Load the model.

        Raises:
            Exception: Whatever vLLM says.
        """
        self._settings = settings
        self._broken = Path(os.environ[FOLDER]) / "broken_rows"
        self._broken.touch()
        os.environ[BROKEN_ROWS] = str(self._broken)  # before vLLM starts processes of its own
        self._engine = LLMEngine.from_engine_args(EngineArgs(**settings.engine_args, logits_processors=[RowSampling]))
        self.context: int = self._engine.model_config.max_model_len
        self._adapter = None
        if settings.adapter is not None:
            self._adapter = LoRARequest("adapter", 1, settings.adapter)
            self._engine.add_lora(self._adapter)  # now, not with the first row, whose failure would be the engine's
        self._running: dict[str, _Prepared] = {}
        self._suspects: list[_Prepared] = []
        self._held: list[_Prepared] = []  # rows that came meanwhile
        self._pictures = Pictures(settings.max_pixels)
        self._rendering = Lock()  # two threads do it, and vLLM's cache of processed pictures is made for one
        for probe in settings.probes:
            self._render(probe)

    @property
    def is_busy(self) -> bool:
        """Whether rows were added that haven't come out yet."""
        return bool(self._running or self._suspects)

    def prepare(self, row: Row, ask: Ask) -> Outcome | _Prepared:
        """Decode its pictures and make the model's inputs; refuse what can't be computed."""
        room = self.context - ask.decoding.max_new_tokens
        try:
            # Text alone first: vLLM would take its time with a huge one.
            length = len(row.tokens)
            if length <= room:
                prompt = self._render(row)
                length = len(prompt["prompt_token_ids"])
        except UnreadableImageError as error:
            return Outcome(row.number, error=error.message)
        except (OSError, MemoryError) as error:
            return Outcome(row.number, error=words(error), is_permanent=False)
        except Exception as error:  # of model-specific code; the probes went through it
            return Outcome(row.number, error=words(error))
        if length > room:
            message = f"prompt has {length} tokens, context is {self.context} with {room} for the prompt"
            return Outcome(row.number, error=message)
        return _Prepared(row, ask.decoding, prompt, length)

    def add(self, prepared: _Prepared) -> Outcome | None:
        """Take in a row; what is wrong with it, if anything is."""
        if self._suspects:
            self._held.append(prepared)
            return None
        row, name = prepared.row, str(prepared.row.number)
        try:
            sampling = self._sampling(row, prepared.decoding)
            self._engine.add_request(name, prepared.prompt, sampling, lora_request=self._adapter)
        except (ValueError, VLLMValidationError) as error:  # such as a structured output that can't be
            return Outcome(row.number, error=words(error))
        self._running[name] = prepared._replace(prompt=None)  # vLLM has it now, and it is large
        return None

    def step(self) -> list[Outcome]:
        """Compute a token of every row that is running; the rows that ended."""
        if not self._running:
            return self._try_suspects()
        outcomes, broken = self._step()
        self._suspects += broken
        return outcomes

    def abort(self) -> None:
        """Forget all rows."""
        self._engine.abort_request(list(self._running))
        for rows in (self._running, self._suspects, self._held):
            rows.clear()

    def _step(self) -> tuple[list[Outcome], list[_Prepared]]:
        """The rows that ended, and those that broke."""
        ended = [output for output in self._engine.step() if output.finished]
        if not ended:
            return [], []
        broken = set(self._broken.read_text().split()) if self._broken.stat().st_size else set()
        rows = [(self._running.pop(output.request_id), output) for output in ended]
        return (
            [_outcome(row, output) for row, output in rows if output.request_id not in broken],
            [row for row, output in rows if output.request_id in broken],
        )

    def _try_suspects(self) -> list[Outcome]:
        suspects, self._suspects = self._suspects, []
        ended = []
        for suspect in suspects:
            self._clear_cache()
            self.add(suspect._replace(prompt=self._render(suspect.row)))
            while self._running:
                outcomes, broken = self._step()
                ended += outcomes
                ended += [Outcome(one.row.number, error="the model's logits are not finite (NaN)") for one in broken]
        self._clear_cache()
        held, self._held = self._held, []
        return ended + [outcome for prepared in held if (outcome := self.add(prepared)) is not None]

    def _clear_cache(self) -> None:
        self._broken.write_text("")
        self._engine.reset_prefix_cache()
        self._engine.collective_rpc(_zero_caches)

    def _render(self, row: Row) -> Any:
        """The model's inputs: the prompt with its image tokens, and what the processor made of the pictures."""
        with self._rendering:
            return self._rendered(row)

    def _rendered(self, row: Row) -> Any:
        prompt = TokensPrompt(prompt_token_ids=list(row.tokens))
        if row.images:
            prompt["multi_modal_data"] = {"image": [self._pictures.get(sha256, data) for sha256, data in row.images]}
            prompt["multi_modal_uuids"] = {"image": [sha256 for sha256, _ in row.images]}  # saves hashing pixels
        renderer = self._engine.renderer
        (rendered,) = renderer.render_cmpl([parse_model_prompt(self._engine.model_config, prompt)])
        return rendered

    def _sampling(self, row: Row, decoding: Decoding) -> SamplingParams:
        ends = self._settings.end_tokens
        return SamplingParams(
            temperature=0.0,  # `RowSampling` leaves one token
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=list(ends),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=_structured(row.structured_output),
            extra_args=extra_args(row.number, row.seed, decoding, ends[0] if ends else None),
        )


def _outcome(prepared: _Prepared, output: Any) -> Outcome:
    row, (text,) = prepared.row, output.outputs
    if text.finish_reason in ("stop", "length"):
        return Outcome(row.number, tuple(text.token_ids), text.finish_reason, prepared.prompt_tokens)
    why = f"vLLM ended it: {text.finish_reason}"
    if row.structured_output is not None:
        why += " (the vocabulary may not spell what the structured output asks for)"
    return Outcome(row.number, error=why)


def _zero_caches(worker: Any) -> None:
    """Clear the keys and values that a worker of vLLM's holds."""
    for cache in worker.model_runner.kv_caches:
        for tensor in cache if isinstance(cache, (list, tuple)) else [cache]:
            tensor.zero_()


def _structured(wanted: str | None) -> StructuredOutputsParams | None:
    return None if wanted is None else StructuredOutputsParams(**json.loads(wanted))
