"""Rows of a training and what a model reads of them.

Belongs here: the rows' file, the tokens of prompts and answers, images on demand, and the rows that can't be trained
on. A prompt is, token for token, what the evaluation's engine feeds for the same question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from spavl_dag.errors import MissingInputError, SpavlError
from spavl_dag.inference.engines.image_features import ImageInputs
from spavl_dag.inference.engines.prompts import PROBE, ChatFormat
from spavl_dag.inference.request import ImageRef, Messages, single_turn
from spavl_dag.inference.templates import compile_template
from spavl_dag.media.decode import UnreadableImageError
from spavl_dag.training.sequences import join_answers

COLUMNS = ("row_id", "question", "chosen", "rejected", "image", "sha256")
REJECTED_SCHEMA = pl.Schema({"row_id": pl.String, "reason": pl.String, "tokens": pl.Int64})
"""Of the rows that can't be trained on; `tokens` is null where the image was the reason."""

PROCESSOR_REFUSES = "processor_refuses"
"""Reason of a row whose picture is whole, but none that the model's processor takes."""

IMAGE_CACHE_BYTES = 1 << 30
"""Bound of the remembered pixel values: 37 000 images of 48 x 48, 760 of 336 x 336 pixels."""

_UNREAD: ImageRef = ImageRef(sha256="", read=lambda: b"")
"""Stands for an image where only the text is rendered."""


class UntrainableRowsError(SpavlError):
    """No row is left that can be trained on."""


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A question about an image, with the preferred and the other answer.

    Attributes:
        row_id: Id in the dataset.
        question: The question, before the prompt template.
        chosen: The preferred answer.
        rejected: The other one.
        image: The picture; read when it is needed.
    """

    row_id: str
    question: str
    chosen: str
    rejected: str
    image: ImageRef


def write_rows(rows: pl.DataFrame, images: pl.DataFrame, folder: Path, target: Path) -> None:
    """Write selected rows of `dataset` as a training reads them.

    Args:
        rows: Rows of table `dataset`, with answers.
        images: Table `images`.
        folder: What its `file` is relative to.
        target: Parquet file to write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    files = images.select("image_id", "sha256", image=pl.concat_str(pl.lit(f"{folder}/"), "file"))
    rows.join(files, on="image_id", how="left", maintain_order="left").select(COLUMNS).write_parquet(target)


def read_rows(path: Path) -> list[PreferenceRow]:
    """Read what `write_rows` wrote, in the file's order.

    Raises:
        MissingInputError: There is no such file.
    """
    if not path.is_file():
        raise MissingInputError(f"rows to train on are missing: {path}", "Make the artifact `dataset` first.")
    table = pl.read_parquet(path, columns=list(COLUMNS), glob=False)
    return [
        PreferenceRow(row_id, question, chosen, rejected, ImageRef.of_file(Path(image), sha256))
        for row_id, question, chosen, rejected, image, sha256 in table.select(COLUMNS).iter_rows()
    ]


class AnswerFormat(ChatFormat):
    """A chat template's prompts, and the answer as the template continues them."""

    def __init__(self, processor: Any, model: str) -> None:
        """Find out how an answer follows the prompt; see ChatFormat for the arguments and errors."""
        super().__init__(processor, model)
        self._answer_as_parts = self._probe_answer()

    def continuation(self, answer: str) -> str:
        """An answer as the template writes it behind `image_prompt`.

        A template may put a space or an end token around the answer; one that can't render an answer gives it as it is.
        """
        answer = self._plain(answer)
        if self._answer_as_parts is None:
            return answer
        return self._answered(answer, self._answer_as_parts).removeprefix(self.image_prompt)

    def _answered(self, answer: str, as_parts: bool) -> str:
        content = [{"type": "text", "text": answer}] if as_parts else answer
        turns = [*self.turns(single_turn("x", _UNREAD)), {"role": "assistant", "content": content}]
        return str(self._tokenizer.apply_chat_template(turns, chat_template=self._template, tokenize=False))

    def _probe_answer(self) -> bool | None:
        """Whether an answer is taken as content parts (True), as a string (False), or not behind the prompt (None)."""
        for as_parts in (True, False):
            try:
                text = self._answered(PROBE, as_parts)
            except Exception:  # a template refuses by raising; any exception means that it can't do this
                continue
            if text.startswith(self.image_prompt) and PROBE in text and "'type'" not in text:
                return as_parts
        return None


class Encoder:
    """Questions, answers and images to what the model reads.

    Args:
        processor: The model's processor; its tokenizer has a padding and an end token.
        template: Source of the prompt template, with the variable `question`.
        system: System turn, or None for no such turn.
        max_length: Most tokens of prompt and answer together, image tokens included.
        end_tokens: Token ids that end a text; the tokenizer's end token is always one.
    """

    def __init__(
        self, processor: Any, template: str, system: str | None, max_length: int, end_tokens: Sequence[int] = ()
    ) -> None:
        """Compile the template and try the chat template out."""
        self.processor = processor
        self.system = system
        self.max_length = max_length
        self.end_tokens = frozenset([*end_tokens, processor.tokenizer.eos_token_id])
        self._render = compile_template(template, "policy")
        self._chat = AnswerFormat(processor, "the policy")
        tokenizer = processor.tokenizer
        self._short_ids = tokenizer(self._chat.image_prompt, add_special_tokens=False).input_ids
        self._images = ImageInputs(processor, self.prompt_text("x"), IMAGE_CACHE_BYTES)
        self._pad = tokenizer.pad_token_id

    def user_text(self, question: str) -> str:
        """The user turn: the template filled with a question."""
        return self._render({"question": question})

    def messages(self, question: str) -> list[dict[str, Any]]:
        """The conversation up to the answer; its image part stands before the text and holds no picture.

        Control tokens in the texts are defused, so that a chat template applied to it gives `prompt_text`.
        """
        return self._chat.turns(self._conversation(question))

    def prompt_text(self, question: str) -> str:
        """The prompt up to where the answer begins, one placeholder for the image."""
        return self._chat.text(self._conversation(question))

    def encode_answer(self, answer: str) -> list[int]:
        """Token ids of an answer as they follow a prompt, ending with exactly one end token."""
        text = self._chat.continuation(answer).rstrip()
        tokenizer = self.processor.tokenizer
        # Tokenized behind a prompt: on its own, an answer's first word can get other tokens.
        ids: list[int] = tokenizer(f"{self._chat.image_prompt}{text}", add_special_tokens=False).input_ids
        if ids[: len(self._short_ids)] == self._short_ids:
            ids = ids[len(self._short_ids) :]
        else:  # the answer's beginning and the prompt's end became one token
            ids = tokenizer(text, add_special_tokens=False).input_ids
        while ids and ids[-1] in self.end_tokens:
            end = ids.pop()
            if not ids or ids[-1] not in self.end_tokens:
                return [*ids, end]
        return [*ids, tokenizer.eos_token_id]

    def prompts(self, questions: Sequence[str], images: Sequence[ImageRef]) -> dict[str, Any]:
        """Model inputs of prompts, padded on the left, as the evaluation's engine makes them.

        Args:
            questions: One per prompt.
            images: Pictures, one per prompt.

        Returns:
            input_ids and attention_mask of shape (prompts, tokens), and what the model takes for the images.

        Raises:
            UnreadableImageError: A picture can't be decoded.
            ChangedImageError: A file isn't what it was when `images` was made.
        """
        texts = [self.prompt_text(question) for question in questions]
        try:
            for image in images:
                self._images.load(image)
            return dict(
                self._images(
                    texts,
                    [[image] for image in images],
                    return_tensors="pt",
                    padding=True,
                    padding_side="left",
                    add_special_tokens=self._chat.add_special_tokens,
                )
            )
        finally:
            self._images.end_batch()

    def sequences(self, questions: Sequence[str], images: Sequence[ImageRef], answers: Sequence[str]) -> dict[str, Any]:
        """Model inputs of prompts with their answers, padded on the right.

        Args:
            questions: One per sequence.
            images: Pictures, one per sequence.
            answers: One per sequence.

        Returns:
            input_ids, attention_mask and completion_mask (1 on the answer's tokens, its end token included), each of
            shape (sequences, tokens), and what the model takes for the images.

        Raises:
            UnreadableImageError: A picture can't be decoded.
            ChangedImageError: A file isn't what it was when `images` was made.
        """
        prompts = self.prompts(questions, images)
        return join_answers(prompts, [self.encode_answer(answer) for answer in answers], self._pad)

    def pairs(self, rows: Sequence[PreferenceRow]) -> dict[str, Any]:
        """Model inputs of both answers of pairs: the first half of the batch is chosen, the second rejected.

        Returns:
            As `sequences`, each of shape (2 rows, tokens).
        """
        return self.sequences(
            [row.question for row in rows] * 2,
            [row.image for row in rows] * 2,
            [row.chosen for row in rows] + [row.rejected for row in rows],
        )

    def chosen(self, rows: Sequence[PreferenceRow]) -> dict[str, Any]:
        """Model inputs of the preferred answers, as `sequences`."""
        return self.sequences([row.question for row in rows], [row.image for row in rows], [row.chosen for row in rows])

    def _conversation(self, question: str) -> Messages:
        return single_turn(self.user_text(question), _UNREAD, self.system)


def reject_untrainable(
    rows: Iterable[PreferenceRow],
    encoder: Encoder,
    *,
    answers: Sequence[str],
    new_tokens: int = 0,
    others: Sequence[Encoder] = (),
) -> tuple[list[PreferenceRow], pl.DataFrame]:
    """Sort out rows that are too long or whose picture the model can't be shown; nothing is ever cut short.

    Args:
        rows: The rows.
        encoder: Measures them with the model's processor, image tokens included.
        answers: Which answers the method reads: "chosen", "rejected", both or none.
        new_tokens: Room that a prompt must leave for what the method generates.
        others: Of further models that are shown the pictures.

    Returns:
        The rows that stay, in their order; and a table with row_id, reason (too_long, processor_refuses, or why the
        picture can't be decoded) and tokens of the longest sequence, sorted by row_id.

    Raises:
        UntrainableRowsError: None stays.
        ChangedImageError: A picture isn't what it was when `images` was made.
    """
    kept: list[PreferenceRow] = []
    rejected: list[tuple[str, str, int | None]] = []
    refusal = ""
    for row in rows:
        try:
            prompt = encoder.prompts([row.question], [row.image])["attention_mask"].sum().item()
            for other in others:
                other.prompts([row.question], [row.image])
        except UnreadableImageError as error:
            rejected.append((row.row_id, error.reason, None))
            continue
        except (SpavlError, OSError, MemoryError):
            raise
        except Exception as error:  # what processors raise for a picture that is too long, too small, …
            if "allocate" in str(error):  # no property of the picture
                raise
            refusal = f"; the processor says: {error}"
            rejected.append((row.row_id, PROCESSOR_REFUSES, None))
            continue
        lengths = [len(encoder.encode_answer(getattr(row, side))) for side in answers]
        tokens = int(prompt) + max([new_tokens, *lengths])
        if tokens > encoder.max_length:
            rejected.append((row.row_id, "too_long", tokens))
        else:
            kept.append(row)
    table = pl.DataFrame(rejected, schema=REJECTED_SCHEMA, orient="row").sort("row_id")
    if not kept:
        reasons = dict(table.group_by("reason").len().sort("reason").iter_rows())
        raise UntrainableRowsError(
            f"none of {len(rejected)} rows can be trained on: {reasons}{refusal}",
            f"Raise optimizer.max_length (it is {encoder.max_length}), or fix the pictures.",
        )
    return kept, table
