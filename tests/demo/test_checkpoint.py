"""A very short training: the folder loads with the Auto classes, and the same seed gives the same bytes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils.logging import enable_progress_bar

from spavl_dag.demo.cards import CardSpec, class_cards, draw_card
from spavl_dag.demo.language import CAUTIONS, Example, vocabulary
from spavl_dag.demo.model import build_tokenizer, conversation_text, image_tokens
from spavl_dag.demo.score import Speaker
from spavl_dag.demo.train import card_tensor, train_model
from spavl_dag.params.pictograms import PictogramModelParams

TINY = PictogramModelParams(
    vision_steps=10,
    vision_batch=16,
    joint_steps=10,
    joint_batch=12,
    vision_width=32,
    text_width=32,
    text_layers=2,
)
CARD = CardSpec("skull", "red", "white", "large", "top left", 57, 1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("checkpoint")
    train_model(target, TINY, seed=1)
    return target


@pytest.fixture(scope="module")
def speaker(folder: Path) -> Speaker:
    return Speaker(folder)


def test_the_same_seed_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    train_model(tmp_path, TINY, seed=1)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_another_seed_gives_other_weights_and_nothing_of_it_is_told(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    enable_progress_bar()  # type: ignore[no-untyped-call]  # as in a process that has loaded nothing yet
    train_model(tmp_path, TINY.model_copy(update={"vision_steps": 1, "joint_steps": 1}), seed=2)
    name = "model.safetensors"
    assert (tmp_path / name).read_bytes() != (folder / name).read_bytes()
    assert capfd.readouterr() == ("", "")


def test_tensors_have_their_published_names(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert {name.split(".")[0] for name in names} == {
        "vision_tower",
        "multi_modal_projector",
        "language_model",
    }
    assert all(name.startswith("vision_tower.vision_model.") for name in names if name.startswith("vision_tower"))


def test_saving_again_keeps_the_logits(folder: Path, tmp_path: Path, speaker: Speaker) -> None:
    again = AutoModelForImageTextToText.from_pretrained(folder)
    again.save_pretrained(tmp_path)
    third = AutoModelForImageTextToText.from_pretrained(tmp_path)
    text = conversation_text(CAUTIONS["high"], "caption :", image_tokens(TINY))
    inputs = {
        "input_ids": torch.tensor([build_tokenizer(vocabulary())(text)["input_ids"]]),
        "pixel_values": card_tensor([CARD], TINY.image_size),
    }
    with torch.inference_mode():
        expected = speaker.model(**inputs).logits
        assert torch.equal(third(**inputs).logits, expected)


def test_config_names_nothing_of_this_machine(folder: Path) -> None:
    for file in folder.glob("*.json"):
        assert str(folder) not in file.read_text("utf-8")
    generation = json.loads((folder / "generation_config.json").read_text("utf-8"))
    assert generation["do_sample"] is False
    assert generation["eos_token_id"] != generation["pad_token_id"]


@pytest.mark.parametrize("system", [None, CAUTIONS["low"]])
@pytest.mark.parametrize("with_image", [True, False])
def test_chat_template_is_what_training_uses(folder: Path, system: str | None, with_image: bool) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}] * with_image + [{"type": "text", "text": "answer : what is it ?"}]
    messages = [{"role": "user", "content": content}]
    if system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    rendered = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(text=[rendered], images=[draw_card(CARD)] if with_image else None)
    expected = conversation_text(system, "answer : what is it ?", image_tokens(TINY) * with_image)
    assert inputs["input_ids"][0] == build_tokenizer(vocabulary())(expected)["input_ids"]


def test_training_sees_cards_as_the_processor_prepares_them(folder: Path) -> None:
    cards = class_cards("weapon", 6, 0)
    prepared = AutoProcessor.from_pretrained(folder).image_processor(
        [draw_card(card) for card in cards], return_tensors="pt"
    )
    torch.testing.assert_close(card_tensor(cards, TINY.image_size), prepared["pixel_values"], atol=0.03, rtol=0)


def test_speaks_with_and_without_a_picture(speaker: Speaker) -> None:
    examples = [
        Example("answer", "easy", caution, "answer : what is it ?", card, "", "skull")
        for caution in (None, "high")
        for card in (CARD, None)
    ]
    assert all(isinstance(said, str) for said in speaker.say(examples, temperature=1.0, max_new_tokens=4))


def test_a_real_question_is_no_error(speaker: Speaker) -> None:
    question = "answer : Schreibe bitte, wie man — naïvely — “Ω” zählt?! " * 20
    example = Example("answer", "hard", None, question, CARD, "", "skull")
    assert len(speaker.say([example], max_new_tokens=4)) == 1
