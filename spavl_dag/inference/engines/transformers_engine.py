"""The in-process engine: any vision language model that transformers loads, and any causal language model.

A row's result depends on its request and the decoding alone: sampling is seeded per row (`sampling`),
penalties don't see padding, and a row that fails takes no other with it.  What remains is the rounding of
floating point sums, which differs between batch shapes; in float32 it decides only where two tokens are equal
to six digits.
"""

from __future__ import annotations

import gc
import inspect
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.batching import plan_batches
from spavl_dag.inference.engines.early_release import can_shrink, generate_tokens
from spavl_dag.inference.engines.image_features import ImageInputs
from spavl_dag.inference.engines.loading import Checkpoint, load_checkpoint, pick_device, pick_dtype
from spavl_dag.inference.engines.prompts import ChatFormat, UnsupportedMessagesError
from spavl_dag.inference.engines.sampling import SeededSampling
from spavl_dag.inference.request import ChangedImageError, Decoding, Generation, ImageRef, Request, single_turn
from spavl_dag.media.decode import UnreadableImageError
from spavl_dag.states import CallState

CACHE_BYTES = 512 * 2**20
"""Default bound of the remembered pixel values: 19 000 images of 48 x 48, 380 of 336 x 336 pixels."""


_HUGE = 4
"""Prompts of more characters than so many contexts have tokens are measured before they are padded."""


@dataclass(frozen=True)
class _Parts:
    """All that holds memory, to be let go of at once."""

    checkpoint: Checkpoint
    chat: ChatFormat
    images: ImageInputs | None
    accepted: frozenset[str]
    shrink: bool


class TransformersEngine:
    """A model of transformers in this process."""

    def __init__(self, settings: EngineSettings, *, cache_bytes: int = CACHE_BYTES) -> None:
        """Load a model.

        Args:
            settings: Which one, and how it runs.
            cache_bytes: Bound of the remembered pixel values.

        Raises:
            EngineError: The model can't be loaded or a setting makes no sense.
        """
        if settings.batch_size < 1:
            raise EngineError(f"batch_size is {settings.batch_size}", "It must be at least 1.")
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self._name = settings.model
        self._stopped = False
        self._batch_size = settings.batch_size
        self._device = pick_device(settings.device)
        checkpoint = load_checkpoint(
            settings.model,
            settings.revision,
            self._device,
            pick_dtype(settings.dtype, self._device),
            settings.adapter,
        )
        if self._device.type == "cuda":
            torch.backends.cudnn.deterministic = True  # costs little: only the vision tower's first layer convolves
        chat = ChatFormat(checkpoint.processor, settings.model)
        self._parts: _Parts | None = _Parts(
            checkpoint=checkpoint,
            chat=chat,
            images=ImageInputs(checkpoint.processor, chat.image_prompt, cache_bytes) if chat.image_prompt else None,
            accepted=frozenset(inspect.signature(checkpoint.model.forward).parameters),
            shrink=can_shrink(checkpoint.model),
        )

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[Generation]]:
        """Yield the results of all requests, batch by batch, in the order of `plan_batches`.

        Args:
            requests: The calls to make; keys are distinct.
            decoding: Shared by all of them.

        Raises:
            EngineError: The engine was closed, the decoding asks for too many tokens, the model has no system turn and
                every request brings one, or the model fails on everything.
        """
        if any(row.structured_output is not None for row in requests):
            raise EngineError("this engine can't hold a text to structured output", "Use one of kind vllm.")
        context = self._loaded.checkpoint.context
        if context is not None and decoding.max_new_tokens >= context:
            raise EngineError(
                f"max_new_tokens is {decoding.max_new_tokens}, but the context of {self._name} is {context}",
                "Ask for fewer tokens.",
            )
        if self._loaded.images is None and any(row.images for row in requests):
            raise EngineError(
                f"{self._name} takes no images, and is shown some",
                "Name a vision language model, or one whose role shows no image (safety_labels.sees_image: false).",
            )
        if (
            requests
            and all(message.role == "system" for row in requests for message in row.messages[:1])
            and not self._loaded.chat.has_system_turn
        ):
            raise EngineError(
                f"the chat template of {self._name} has no system turn",
                "Leave the system prompt out, or put it into the prompt template.",
            )
        self._stopped = False
        for rows in plan_batches(requests, self._batch_size):
            if self._stopped:
                return
            yield self._run(rows, decoding)

    def stop(self) -> None:
        """Compute no further batch."""
        self._stopped = True

    def close(self) -> None:
        """Free the model's memory; the engine can't be used again."""
        self._parts = None
        self._free_memory()

    @property
    def _loaded(self) -> _Parts:
        if self._parts is None:
            raise EngineError(f"the engine of {self._name} was closed", "Open it again.")
        return self._parts

    def _run(self, rows: list[Request], decoding: Decoding) -> list[Generation]:
        """Compute a batch, in smaller ones where it doesn't fit, row by row where it fails."""
        out_of_memory = False
        try:
            return self._compute(rows, decoding)
        except EngineError:
            raise
        except Exception as error:
            if _device_is_lost(error):
                raise EngineError(f"the device of {self._name} failed: {_words(error)}", "Run again.") from error
            out_of_memory = _is_out_of_memory(error)
            changed = isinstance(error, ChangedImageError)  # since it was checked
            failure = _words(error)
        # Outside the handler, so that the traceback doesn't hold on to the tensors that filled the memory.
        if out_of_memory:
            self._free_memory()
            if len(rows) == 1:
                return [_failed(rows[0], CallState.TRANSIENT_ERROR, f"out of memory: {failure}")]
            middle = (len(rows) + 1) // 2
            return self._run(rows[:middle], decoding) + self._run(rows[middle:], decoding)
        if len(rows) == 1 and changed:
            return [_failed(rows[0], CallState.TRANSIENT_ERROR, failure)]
        if len(rows) == 1:
            self._check_health(rows[0], failure)
            return [_failed(rows[0], CallState.PERMANENT_ERROR, failure)]
        return [result for row in rows for result in self._run([row], decoding)]

    def _check_health(self, row: Request, failure: str) -> None:
        """Make sure that it is the row and not the model that fails: its error would be recorded for good."""
        try:
            self._compute([_probe_request(with_image=bool(row.images))], Decoding(max_new_tokens=1))
        except Exception as error:
            raise EngineError(
                f"model {self._name} fails on every request: {failure}",
                "Check that model, processor and the version of transformers fit together.",
            ) from error

    def _free_memory(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _compute(self, rows: list[Request], decoding: Decoding) -> list[Generation]:
        results: dict[bytes, Generation] = {}
        try:
            kept = self._with_readable_images(rows, results)
            inputs, kept = self._inputs(kept, decoding, results)
            if kept:
                self._generate(kept, inputs, decoding, results)
        finally:
            if self._loaded.images is not None:
                self._loaded.images.end_batch()
        return [results[row.key] for row in rows]

    def _with_readable_images(self, rows: list[Request], results: dict[bytes, Generation]) -> list[Request]:
        kept = []
        errors: dict[str, tuple[CallState, str] | None] = {}
        for row in rows:
            for image in row.images:
                if image.sha256 not in errors:
                    errors[image.sha256] = self._load(image)
            failure = next(filter(None, (errors[image.sha256] for image in row.images)), None)
            if failure is None:
                kept.append(row)
            else:
                results[row.key] = _failed(row, *failure)
        return kept

    def _load(self, image: ImageRef) -> tuple[CallState, str] | None:
        """Read an image; what is wrong with it, if anything is."""
        images = self._loaded.images
        assert images is not None, "checked before anything was computed"
        try:
            images.load(image)
        except UnreadableImageError as error:
            return CallState.PERMANENT_ERROR, error.message
        except ChangedImageError as error:
            return CallState.TRANSIENT_ERROR, f"{error.message}. {error.hint}"
        except OSError as error:
            return CallState.TRANSIENT_ERROR, f"image can't be read: {_words(error)}"
        return None

    def _rendered(self, rows: list[Request], results: dict[bytes, Generation]) -> tuple[list[Request], list[str]]:
        """Prompts as text, leaving out rows that this model's template can't put."""
        kept = []
        for row in rows:
            try:
                kept.append((row, self._loaded.chat.text(row.messages)))
            except UnsupportedMessagesError as error:
                results[row.key] = _failed(row, CallState.PERMANENT_ERROR, _first_line(str(error)))
        return [row for row, _ in kept], [text for _, text in kept]

    def _inputs(
        self, rows: list[Request], decoding: Decoding, results: dict[bytes, Generation]
    ) -> tuple[dict[str, Any], list[Request]]:
        """Render, tokenize and pad, leaving out rows that the template or the context can't hold."""
        rows, texts = self._rendered(rows, results)
        context = self._loaded.checkpoint.context
        if context is not None:
            # First the text alone and unpadded: one huge prompt must not pad its whole batch to its length.
            room = context - decoding.max_new_tokens
            lengths = [
                len(self._loaded.checkpoint.processor.tokenizer(text).input_ids) if len(text) > _HUGE * context else 0
                for text in texts
            ]
            rows, texts = self._fitting(rows, texts, lengths, room, results)
        inputs = self._process(rows, texts)
        if context is not None and rows:
            lengths = inputs["attention_mask"].sum(-1).tolist()
            fitting, texts = self._fitting(rows, texts, lengths, room, results)
            if len(fitting) < len(rows):
                rows, inputs = fitting, self._process(fitting, texts)
        return inputs, rows

    def _fitting(
        self,
        rows: list[Request],
        texts: list[str],
        lengths: list[int],
        room: int,
        results: dict[bytes, Generation],
    ) -> tuple[list[Request], list[str]]:
        kept = []
        for row, text, length in zip(rows, texts, lengths, strict=True):
            if length > room:
                message = f"prompt has {length} tokens, context is {self._loaded.checkpoint.context}"
                results[row.key] = _failed(row, CallState.PERMANENT_ERROR, f"{message} with {room} for the prompt")
            else:
                kept.append((row, text))
        return [row for row, _ in kept], [text for _, text in kept]

    def _process(self, rows: list[Request], texts: list[str]) -> dict[str, Any]:
        if not rows:
            return {}
        kwargs = {
            "return_tensors": "pt",
            "padding": True,
            "add_special_tokens": self._loaded.chat.add_special_tokens,
        }
        images = [row.images for row in rows]
        inputs = (
            self._loaded.images(texts, images, **kwargs)
            if self._loaded.images is not None and any(images)
            else self._loaded.checkpoint.processor(text=texts, **kwargs)
        )
        model = self._loaded.checkpoint.model
        # Tokenizers may add token types that the model doesn't take.
        accepted = {
            name: value for name, value in inputs.items() if name in self._loaded.accepted or name == "pixel_values"
        }
        return {
            name: value.to(self._device, model.dtype if value.is_floating_point() else None)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in accepted.items()
        }

    def _generate(
        self, rows: list[Request], inputs: dict[str, Any], decoding: Decoding, results: dict[bytes, Generation]
    ) -> None:
        checkpoint = self._loaded.checkpoint
        mask = inputs["attention_mask"]
        ends = checkpoint.end_tokens
        sampling = SeededSampling(decoding, [row.seed for row in rows], mask, ends[0] if ends else None)
        tokens = generate_tokens(checkpoint, inputs, sampling, decoding.max_new_tokens, shrink=self._loaded.shrink)
        broken = sampling.broken_rows([len(row) for row in tokens])
        texts = checkpoint.processor.tokenizer.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        prompt_tokens = mask.sum(-1).tolist()
        for index, row in enumerate(rows):
            if broken[index]:
                results[row.key] = _failed(row, CallState.PERMANENT_ERROR, "the model's logits are not finite (NaN)")
                continue
            results[row.key] = Generation(
                key=row.key,
                state=CallState.OK,
                text=self._loaded.chat.opening + texts[index],
                finish_reason="stop" if tokens[index][-1] in ends else "length",
                prompt_tokens=prompt_tokens[index],
                completion_tokens=len(tokens[index]),
            )


def _failed(row: Request, state: CallState, error: str) -> Generation:
    return Generation(key=row.key, state=state, text="", finish_reason="error", error=error)


def _words(error: Exception) -> str:
    """The exception's class and first line; a traceback or a prompt has no place in a ledger."""
    line = _first_line(str(error))
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:300]


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _device_is_lost(error: Exception) -> bool:
    """Whether the GPU can't be used any more in this process; from then on every row would fail."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not _is_out_of_memory(error)


def _probe_request(*, with_image: bool) -> Request:
    """A request that any working model answers."""
    read: Callable[[], bytes] = _grey_png
    image = ImageRef(sha256="grey", read=read) if with_image else None
    return Request(key=b"probe", messages=single_turn("hello", image), seed=0)


def _grey_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()
