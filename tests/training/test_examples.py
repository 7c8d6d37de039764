"""What a model reads in training is what the evaluation's engine feeds it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import Qwen2VLImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from spavl_dag.errors import MissingInputError
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.transformers_engine import TransformersEngine
from spavl_dag.inference.request import ChangedImageError, Decoding, ImageRef, Request, single_turn
from spavl_dag.inference.templates import compile_template
from spavl_dag.training.examples import (
    Encoder,
    PreferenceRow,
    UntrainableRowsError,
    read_rows,
    reject_untrainable,
    write_rows,
)
from spavl_dag.training.group import Prompts
from spavl_dag.training.models import load_processor
from tests.inference.engines.tiny_llava import TEMPLATE, bytes_ref, file_ref, picture

PROMPT = "word9 {{ question }}"
QUESTIONS = ["word1 word2 word3", "word4 <image> </s> word5", "  word6  "]
END = 2
PATCHES = 16


@pytest.fixture
def images() -> list[ImageRef]:
    return [picture(index) for index in range(3)]


def encoder(folder: Path, *, template: str = TEMPLATE, system: str | None = None, **changes: Any) -> Encoder:
    processor, ends, _ = load_processor(str(folder), None)
    processor.chat_template = template
    if "bos_token" not in template:  # then tokenizers put it there themselves
        processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return Encoder(processor, **{"template": PROMPT, "system": system, "max_length": 64, "end_tokens": ends} | changes)


@pytest.mark.parametrize("system", [None, "word8 word8"])
@pytest.mark.parametrize("begins", [True, False])
def test_prompts_are_those_of_the_engine(start: Path, images: list[ImageRef], system: str | None, begins: bool) -> None:
    template = TEMPLATE if begins else TEMPLATE.replace("{{ bos_token }}", "")
    ours = encoder(start, template=template, system=system)
    engine = TransformersEngine(EngineSettings("transformers", str(start), device="cpu", batch_size=3))
    checkpoint = engine._loaded.checkpoint
    checkpoint.processor.chat_template = template
    if not begins:
        checkpoint.processor.tokenizer.backend_tokenizer.post_processor = (
            ours.processor.tokenizer.backend_tokenizer.post_processor
        )
        engine._parts = replace(engine._loaded, chat=type(engine._loaded.chat)(checkpoint.processor, "model"))
    seen: list[dict[str, Any]] = []
    pixels: list[torch.Tensor] = []
    network = checkpoint.model
    network.register_forward_pre_hook(lambda _m, _a, kwargs: seen.append(kwargs), with_kwargs=True)
    network.model.vision_tower.register_forward_pre_hook(
        lambda _m, args, kwargs: pixels.append(args[0] if args else kwargs["pixel_values"]), with_kwargs=True
    )
    fill = compile_template(PROMPT, "policy")
    for question, image in zip(QUESTIONS, images, strict=True):
        request = Request(b"key", single_turn(fill({"question": question}), image, system), 0)
        list(engine.generate([request], Decoding(max_new_tokens=1)))
    mine = ours.prompts(QUESTIONS, images)
    assert len(seen) == len(pixels) == len(QUESTIONS)
    for index, fed in enumerate(seen):
        present = mine["attention_mask"][index].bool()
        assert mine["input_ids"][index][present].tolist() == fed["input_ids"][0].tolist()
        assert fed["input_ids"][0].tolist().count(1) == 1  # one begin token, whoever writes it
        assert torch.equal(mine["pixel_values"][index], pixels[index][0])


@pytest.mark.parametrize("begins", [True, False])
def test_conversations_give_the_same_tokens_through_a_chat_template(
    start: Path, images: list[ImageRef], begins: bool
) -> None:
    """The trainers that generate apply the chat template themselves."""
    ours = encoder(start, template=TEMPLATE if begins else TEMPLATE.replace("{{ bos_token }}", ""), system="word7")
    for question, image in zip(QUESTIONS, images, strict=True):
        turns = ours.messages(question)
        for turn in turns:
            for part in turn["content"]:
                if part["type"] == "image":
                    part["image"] = Image.open(io.BytesIO(image.read()))
        ids = ours.processor.apply_chat_template([turns], add_generation_prompt=True, tokenize=True, return_dict=True)
        assert list(ids["input_ids"][0]) == ours.prompts([question], [image])["input_ids"][0].tolist()


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE,  # writes no end token
        TEMPLATE.replace(
            "{% endfor %}{% if add", "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}{% if add"
        ),
        TEMPLATE.replace(
            "{% endfor %}{% if add", "{% if message['role'] == 'assistant' %}</s>\n{% endif %}{% endfor %}{% if add"
        ),
        "{{ bos_token }}{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'image' %}<image> "
        "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}",  # knows no roles
    ],
)
def test_answers_end_once(start: Path, template: str) -> None:
    ours = encoder(start, template=template)
    words = ours.processor.tokenizer.convert_tokens_to_ids(["word5", "word6"])
    assert ours.encode_answer("word5 word6") == [*words, END]
    assert ours.encode_answer(" word5 word6\n") == [*words, END]
    assert ours.encode_answer("") == [END]
    # An end token written out in an answer is text.
    assert ours.encode_answer("word5 </s>").count(END) == 1


def test_another_end_token_of_the_model_counts(start: Path) -> None:
    other = 244
    template = TEMPLATE.replace(
        "{% endfor %}{% if add", "{% if message['role'] == 'assistant' %}word239{% endif %}{% endfor %}{% if add"
    )
    plain = encoder(start)
    end = plain.processor.tokenizer.convert_tokens_to_ids("word239")
    assert end == other
    assert encoder(start, template=template, end_tokens=[end]).encode_answer("word5")[1:] == [end]


def test_sequences_are_prompts_with_answers(start: Path, images: list[ImageRef]) -> None:
    ours = encoder(start)
    answers = ["word5", "word6 word7 word8", "word9 word9"]
    batch = ours.sequences(QUESTIONS, images, answers)
    alone = [ours.prompts([q], [i])["input_ids"][0].tolist() for q, i in zip(QUESTIONS, images, strict=True)]
    for index, answer in enumerate(answers):
        ids, mask, learnt = (batch[name][index] for name in ("input_ids", "attention_mask", "completion_mask"))
        assert ids[mask.bool()].tolist() == alone[index] + ours.encode_answer(answer)
        assert ids[learnt.bool()].tolist() == ours.encode_answer(answer)
        assert not learnt[mask == 0].any()
    assert batch["pixel_values"].shape[0] == 3


def rows_of(images: list[ImageRef]) -> list[PreferenceRow]:
    return [
        PreferenceRow(f"r{index}", "word1", "word2 " * (index + 1), "word3", image)
        for index, image in enumerate(images)
    ]


def test_rows_are_measured_with_their_image_and_rejected_at_the_limit(start: Path, images: list[ImageRef]) -> None:
    prompt = len(encoder(start).prompts(["word1"], [images[0]])["input_ids"][0])
    assert prompt > PATCHES
    limit = prompt + 2 + 1  # two words and the end
    kept, rejected = reject_untrainable(
        rows_of(images), encoder(start, max_length=limit), answers=("chosen", "rejected")
    )
    assert [row.row_id for row in kept] == ["r0", "r1"]
    assert rejected.rows() == [("r2", "too_long", limit + 1)]
    kept, rejected = reject_untrainable(rows_of(images), encoder(start, max_length=limit), answers=("rejected",))
    assert (len(kept), len(rejected)) == (3, 0)
    kept, _ = reject_untrainable(rows_of(images), encoder(start, max_length=limit), answers=(), new_tokens=3)
    assert len(kept) == 3
    with pytest.raises(UntrainableRowsError, match="none of 3 rows"):
        reject_untrainable(rows_of(images), encoder(start, max_length=limit), answers=(), new_tokens=4)


def test_unreadable_pictures_are_rejected_with_their_reason(start: Path, images: list[ImageRef]) -> None:
    images[0] = bytes_ref(images[0].read()[:100])
    images[1] = bytes_ref(b"a text")
    kept, rejected = reject_untrainable(rows_of(images), encoder(start), answers=("chosen",))
    assert [row.row_id for row in kept] == ["r2"]
    assert rejected.rows() == [("r0", "truncated", None), ("r1", "not_an_image", None)]


class AlsoForQwen(CLIPImageProcessorPil):
    """Refuses what Qwen-VL's processor refuses."""

    def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        Qwen2VLImageProcessorPil()(images)
        return super().preprocess(images, *args, **kwargs)


def picky_encoder(folder: Path) -> Encoder:
    processor, ends, _ = load_processor(str(folder), None)
    side = {"height": 48, "width": 48}
    processor.image_processor = AlsoForQwen(size=side, crop_size=side, do_center_crop=False)
    return Encoder(processor, PROMPT, None, 64, ends)


@pytest.mark.parametrize("remembers", [True, False])
def test_a_picture_that_the_processor_refuses_costs_its_row_alone(
    start: Path, images: list[ImageRef], remembers: bool
) -> None:
    picky = picky_encoder(start)
    assert picky._images.remembers
    picky._images.remembers = remembers
    images[1] = picture(1, size=(900, 4))
    kept, rejected = reject_untrainable(rows_of(images), picky, answers=("chosen",))
    assert [row.row_id for row in kept] == ["r0", "r2"]
    assert rejected.rows() == [("r1", "processor_refuses", None)]
    with pytest.raises(UntrainableRowsError, match="aspect ratio must be smaller than 200"):
        reject_untrainable(rows_of(images[1:2]), picky, answers=("chosen",))
    # Neither is it a row for a policy whose reward model refuses it.
    assert len(reject_untrainable(rows_of(images), encoder(start), answers=())[0]) == 3
    assert len(reject_untrainable(rows_of(images), encoder(start), answers=(), others=[picky])[0]) == 2


def test_other_bytes_than_the_rows_name_end_the_training(start: Path, images: list[ImageRef], tmp_path: Path) -> None:
    """What is trained is kept under the hash of the rows' pictures, so no row may be left out or learn another."""
    file = tmp_path / "images" / "files" / "a.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(images[0].read())
    rows = rows_of([file_ref(file), *images[1:]])
    assert len(reject_untrainable(rows, encoder(start), answers=("chosen",))[0]) == 3
    file.write_bytes(images[1].read())
    with pytest.raises(ChangedImageError, match=r"a\.png changed since `images` was made\nRun `spavl run images`"):
        reject_untrainable(rows, encoder(start), answers=("chosen",))
    with pytest.raises(ChangedImageError, match=r"a\.png changed"):
        Prompts(rows, encoder(start))({"image": [0]})
    file.unlink()
    with pytest.raises(ChangedImageError, match=r"a\.png can't be read any more"):
        reject_untrainable(rows, encoder(start), answers=("chosen",))


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "row_id": ["b", "a"],
            "question": ["q", "p"],
            "chosen": ["c", "d"],
            "rejected": ["r", "s"],
            "image_id": ["1", "0"],
            "more": [1, 2],
        }
    )
    images = pl.DataFrame({"image_id": ["0", "1"], "sha256": ["00", "11"], "file": ["files/0.png", "files/1.jpg"]})
    write_rows(table, images, Path("data/images"), tmp_path / "deep" / "rows.parquet")
    assert read_rows(tmp_path / "deep" / "rows.parquet") == [
        PreferenceRow("b", "q", "c", "r", ImageRef.of_file(Path("data/images/files/1.jpg"), "11")),
        PreferenceRow("a", "p", "d", "s", ImageRef.of_file(Path("data/images/files/0.png"), "00")),
    ]
    with pytest.raises(MissingInputError, match=r"other\.parquet"):
        read_rows(tmp_path / "other.parquet")
