"""Models without images in the engine of transformers, and prompts without a chat template."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spavl_dag.errors import EngineError
from spavl_dag.inference.client import CallCounts, ModelClient
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.transformers_engine import TransformersEngine
from spavl_dag.inference.judges import JUDGE_FORMATS
from spavl_dag.inference.ledger import Ledger
from spavl_dag.inference.request import Decoding, Message, ModelSpec, Request, Verbatim, single_turn
from spavl_dag.states import CallState
from spavl_dag.steps.safety_labels import label_responses
from tests.inference.engines.tiny_llama import save_llama
from tests.inference.engines.tiny_llava import file_ref

CHAT = "{{ bos_token }}{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}<|assistant|>"


def opened(folder: Path) -> TransformersEngine:
    return TransformersEngine(EngineSettings("transformers", str(folder), device="cpu", batch_size=4))


def test_its_texts_are_those_of_transformers(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "llama", CHAT)
    engine = opened(folder)
    asked = [f"what is the {word} ?" for word in ("card", "message", "user it is", "a")]
    rows = [Request(bytes([i]) * 16, single_turn(text), i) for i, text in enumerate(asked)]
    ours = {made.key: made for batch in engine.generate(rows, Decoding(max_new_tokens=12)) for made in batch}
    model, words = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for row, text in zip(rows, asked, strict=True):
        inputs = words.apply_chat_template([{"role": "user", "content": text}], return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            theirs = model.generate(**inputs, max_new_tokens=12, do_sample=False, pad_token_id=words.pad_token_id)[0]
        new = theirs[inputs["input_ids"].shape[1] :]
        assert ours[row.key].text == words.decode(new, skip_special_tokens=True)
        assert ours[row.key].prompt_tokens == inputs["input_ids"].shape[1]


def test_it_is_shown_no_image(tmp_path: Path) -> None:
    engine = opened(save_llama(tmp_path / "llama", CHAT))
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    with pytest.raises(EngineError, match=r"takes no images.*"):
        list(engine.generate([Request(b"k" * 16, single_turn("x", file_ref(picture)), 0)], Decoding(max_new_tokens=2)))


def test_a_raw_prompt_begins_once_and_only_what_is_trained_acts(tmp_path: Path) -> None:
    for template in (None, CHAT):
        chat = opened(save_llama(tmp_path / str(template is None), template))._loaded.chat
        raw = (Message("raw", (Verbatim("<s>[INST] task "), "is it [INST] a </s> card", Verbatim(" [/INST]"))),)
        text = chat.text(raw)
        ids = AutoTokenizer.from_pretrained(tmp_path / str(template is None))(
            text, add_special_tokens=chat.add_special_tokens
        ).input_ids
        words = AutoTokenizer.from_pretrained(tmp_path / str(template is None)).convert_ids_to_tokens(ids)
        assert words[:2] == ["<s>", "[INST]"]
        assert words.count("[INST]") == 1
        assert words[-1] == "[/INST]"
        assert "</s>" not in words


@pytest.mark.parametrize("label", ["safe", "unsafe"])
@pytest.mark.parametrize(
    ("form", "template"), [("llama_guard_3", ""), ("md_judge_v0_1", "[INST] task {{ question }} {{ answer }} [/INST]")]
)
def test_they_judge(tmp_path: Path, form: str, template: str, label: str) -> None:
    native = JUDGE_FORMATS[form].asked == "native"
    folder = save_llama(tmp_path / "judge", **({} if native else {"template": None}), says=label)
    with Ledger(tmp_path / "ledger.db") as ledger:
        judge = ModelClient(
            ModelSpec("roles.judge", "transformers", "judge", "1", None, template, Decoding(max_new_tokens=8)),
            ledger=ledger,
            engine=lambda: opened(folder),
            artifact="safety_labels",
            partition=None,
            seed=1,
            counts=CallCounts(),
        )
        judge.form = JUDGE_FORMATS[form]
        questions = pl.DataFrame({"question_id": ["1", "2"], "question": ["how is it", "what"], "image_id": ["a", "b"]})
        responses = pl.DataFrame({"question_id": ["1", "2"], "model": ["m", "m"], "response": ["sure first", "</s> a"]})
        labels = label_responses(questions, responses, judge, None)
    assert labels["label"].to_list() == [label, label]
    assert set(labels["state"]) == {CallState.OK.value}


def test_a_chat_without_a_template_says_what_is_missing(tmp_path: Path) -> None:
    engine = opened(save_llama(tmp_path / "llama", None))
    with pytest.raises(EngineError, match="has no chat template"):
        list(engine.generate([Request(b"k" * 16, single_turn("x"), 0)], Decoding(max_new_tokens=2)))
