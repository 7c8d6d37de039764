"""A short caption and a detailed description of every image.

Where the model refuses to describe, the source's own caption stands in (paper, construction of questions).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import polars as pl

from spavl_dag.inference.client import ModelClient, Prompt
from spavl_dag.inference.request import Generation, ImageRef
from spavl_dag.inference.verdicts import is_refusal
from spavl_dag.schemas import Captions, frame
from spavl_dag.states import CallState
from spavl_dag.text import text_problem
from spavl_dag.thoughts import without_thoughts

MAX_CHARS = 4000
"""Longer captions are the work of a model that doesn't stop."""


def caption_state(text: str) -> CallState:
    """Whether a text can serve as a caption."""
    said = without_thoughts(text)
    if said is None or text_problem(said, MAX_CHARS):
        return CallState.UNPARSABLE
    return CallState.REFUSED if is_refusal(text) else CallState.OK


def caption_images(
    images: pl.DataFrame, refs: Mapping[str, ImageRef], captioner: ModelClient, describer: ModelClient
) -> pl.DataFrame:
    """Caption and describe all images.

    Args:
        images: Table `images`.
        refs: Image content by image id.
        captioner: Writes the short caption.
        describer: Writes the detailed description.

    Returns:
        Table `captions`, a row per image.
    """
    state_of = cache(caption_state)  # of a text that was just written, and of what the ledger holds of it
    items = [Prompt({}, refs[image_id]) for image_id in images["image_id"]]
    captions = captioner.ask(items, state_of)
    descriptions = describer.ask(items, state_of)

    def state(answer: Generation) -> CallState:
        """Read anew from a stored call's text, so that a better parser needs no new calls."""
        return state_of(answer.text) if answer.state.has_text else answer.state

    def text(answer: Generation) -> str | None:
        return without_thoughts(answer.text) if state(answer) is CallState.OK else None

    rows = []
    for image, short, long in zip(images.iter_rows(named=True), captions, descriptions, strict=True):
        caption, caption_source = _first(("model", text(short)), ("source_caption", image["source_caption"]))
        description, description_source = _first(
            ("model", text(long)), ("source_caption", image["source_caption"]), ("caption", text(short))
        )
        rows.append(
            {
                "image_id": image["image_id"],
                "caption": caption,
                "caption_state": state(short).value,
                "caption_source": caption_source,
                "caption_key": short.call_key,
                "description": description,
                "description_state": state(long).value,
                "description_source": description_source,
                "description_key": long.call_key,
            }
        )
    return frame(Captions, rows).sort("image_id")


def _first(*candidates: tuple[str, str | None]) -> tuple[str | None, str]:
    for source, text in candidates:
        if text:
            return text, source
    return None, "none"
