"""The in-process engine on a real (random, tiny) LLaVA."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llava import SPECIAL, build_checkpoint, bytes_ref, conversation, file_ref, picture, request

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.engines.image_features import FeatureCache, UnjoinableError, join_features
from spavl_dag.inference.engines.transformers_engine import CACHE_BYTES, TransformersEngine
from spavl_dag.inference.request import Decoding, Generation, ImageRef, Message, Request
from spavl_dag.media.decode import decode_image
from spavl_dag.states import CallState
from spavl_dag.thoughts import without_thoughts

POISON = 248
"""Token id of the word "poison"."""
SAMPLED = Decoding(12, temperature=1.0, top_p=0.95, repetition_penalty=1.1)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[TransformersEngine]:
    opened = open_engine(
        EngineSettings("transformers", str(checkpoint), "state-1", device="cpu", batch_size=8, threads=1)
    )
    assert isinstance(opened, TransformersEngine)
    yield opened
    opened.close()


def opened_here(model: Path | str, *, cache_bytes: int = CACHE_BYTES, **settings: Any) -> TransformersEngine:
    return TransformersEngine(
        EngineSettings("transformers", str(model), **{"device": "cpu", **settings}), cache_bytes=cache_bytes
    )


def all_of(
    engine: TransformersEngine, requests: list[Request], decoding: Decoding = SAMPLED
) -> dict[bytes, Generation]:
    return {result.key: result for batch in engine.generate(requests, decoding) for result in batch}


def one_of(engine: TransformersEngine, row: Request, decoding: Decoding = SAMPLED) -> Generation:
    return all_of(engine, [row], decoding)[row.key]


def mixed_requests(count: int = 24) -> list[Request]:
    return [
        request(
            " ".join(f"word{(n * 7 + i) % 240}" for i in range(n % 9 + 1)),
            image=picture(n % 5) if n % 3 else None,
            system=f"word{n}" if n % 2 else None,
            seed=n * 2**58 + n,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("decoding", [SAMPLED, Decoding(12), Decoding(9, temperature=0.7, top_k=20)])
def test_a_request_gives_the_same_text_alone_in_company_and_in_any_batch_size(
    engine: TransformersEngine, checkpoint: Path, decoding: Decoding
) -> None:
    rows = mixed_requests()
    together = all_of(engine, rows, decoding)
    assert {result.state for result in together.values()} == {CallState.OK}
    assert len({result.completion_tokens for result in together.values()}) > 2  # rows end at different steps
    assert all_of(engine, rows[::-1], decoding) == together
    for row in rows[::5]:
        assert one_of(engine, row, decoding) == together[row.key]
    wide = opened_here(checkpoint, batch_size=64)
    assert all_of(wide, rows, decoding) == together
    whole = replace(wide._loaded, shrink=False)  # finished rows stay in the batch
    wide._parts = whole
    assert all_of(wide, rows, decoding) == together
    wide.close()


def test_text_is_what_generate_writes_and_counts_are_the_rows_own(engine: TransformersEngine) -> None:
    row = request("word5 word6 word7", image=picture(3), system="word8")
    result = one_of(engine, row, Decoding(10))
    loaded = engine._loaded.checkpoint
    text = "<s>SYSTEM: word8 USER: <image> word5 word6 word7 ASSISTANT:"
    (image,) = row.images
    inputs = loaded.processor(
        text=[text], images=[decode_image(image.read())], add_special_tokens=False, return_tensors="pt"
    )
    ids = loaded.model.generate(**inputs, generation_config=loaded.generation_config(10))
    new = ids[0, inputs["input_ids"].shape[1] :]
    assert result.text == loaded.processor.tokenizer.decode(new, skip_special_tokens=True)
    assert result.prompt_tokens == inputs["input_ids"].shape[1] == 8 + 16
    assert result.completion_tokens == len(new)
    assert result.finish_reason == ("stop" if new[-1] == 2 else "length")
    assert result.cost_usd == 0.0


def test_seeds_differ_and_images_and_systems_matter(engine: TransformersEngine) -> None:
    base = request("word1", seed=1)
    others = [
        request("word1", seed=2),
        request("word1", seed=1, image=picture(1)),
        request("word1", seed=1, image=picture(9)),
        request("word1", seed=1, system="word3"),
    ]
    texts = {result.text for result in all_of(engine, [base, *others]).values()}
    assert len(texts) == 5
    greedy = all_of(engine, [base, others[0]], Decoding(8)).values()
    assert len({result.text for result in greedy}) == 1


def test_finish_reasons(engine: TransformersEngine) -> None:
    results = all_of(engine, mixed_requests(40), Decoding(6, temperature=1.0)).values()
    assert {result.finish_reason for result in results} == {"stop", "length"}
    for result in results:
        assert 1 <= result.completion_tokens <= 6
        assert result.finish_reason == "stop" or result.completion_tokens == 6
        assert "</s>" not in result.text


@pytest.mark.parametrize(
    "text", ["<image> <image>", "<image>" * 40, "a</s>b<s><pad><unk>", "{{ 7 * 7 }} {% raw %}", ""]
)
@pytest.mark.parametrize("with_image", [False, True])
def test_control_tokens_in_a_prompt_are_plain_text(engine: TransformersEngine, text: str, with_image: bool) -> None:
    row = request(f"word1 {text} word2", system=text, image=picture(2) if with_image else None)
    rendered = engine._loaded.chat.text(row.messages)
    assert rendered.count("<image>") == (1 if with_image else 0)
    assert rendered.count("<s>") == 1
    assert not any(token in rendered for token in SPECIAL if token not in ("<image>", "<s>"))
    assert one_of(engine, row).state is CallState.OK


def test_overlapping_control_tokens_are_all_broken_up(engine: TransformersEngine) -> None:
    for text in ("<<image>image>", "<s<s>>", "<image><image"):
        assert not any(token in engine._loaded.chat._plain(text) for token in SPECIAL)
    assert engine._loaded.chat._plain("a < b, <i>c</i> & ÿ\n") == "a < b, <i>c</i> & ÿ\n"


def test_a_prompt_too_long_is_that_rows_error(engine: TransformersEngine) -> None:
    fine = request("word1 word2", seed=1)
    slightly, hugely = request("word1 " * 180, seed=2), request("word1 " * 50_000, seed=3)
    results = all_of(engine, [fine, slightly, hugely])
    assert results[fine.key] == one_of(engine, fine)
    assert results[slightly.key].state is CallState.PERMANENT_ERROR
    assert "prompt has 183 tokens, context is 192" in str(results[slightly.key].error)
    assert "prompt has 50003 tokens, context is 192" in str(results[hugely.key].error)
    just = request("word1 " * 177, seed=4)  # 180 tokens of prompt and 12 of text fill the context
    assert one_of(engine, just).prompt_tokens == 180


def test_max_new_tokens_beyond_the_context_is_the_engines_error(engine: TransformersEngine) -> None:
    with pytest.raises(EngineError, match="max_new_tokens is 192"):
        list(engine.generate([request()], Decoding(192)))


def test_bad_images_are_their_rows_errors(engine: TransformersEngine) -> None:
    def gone() -> bytes:
        raise FileNotFoundError("no such file")

    good = request(image=picture(1))
    bad = [request(image=bytes_ref(b"")), request(image=bytes_ref(b"text"))]
    missing = request("word3", image=ImageRef("0" * 64, gone))
    results = all_of(engine, [good, *bad, missing])
    assert results[good.key] == one_of(engine, good)
    assert [results[row.key].state for row in bad] == [CallState.PERMANENT_ERROR] * 2
    assert "empty" in str(results[bad[0].key].error)
    assert "not an image" in str(results[bad[1].key].error)
    assert results[missing.key].state is CallState.TRANSIENT_ERROR


@pytest.mark.parametrize("remembers", [True, False])
def test_other_bytes_than_an_image_s_are_no_answer_for_good(checkpoint: Path, tmp_path: Path, remembers: bool) -> None:
    own = TransformersEngine(EngineSettings("transformers", str(checkpoint), device="cpu", batch_size=8))
    own._loaded.images.remembers = remembers
    file = tmp_path / "benchmarks" / "files" / "a.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(picture(1).read())
    ref = file_ref(file)
    rows = [request("word1", image=ref), request("word2", image=ref), request("word3", image=picture(2))]
    file.write_bytes(picture(3).read())
    results = all_of(own, rows)
    assert [results[row.key].state for row in rows] == [CallState.TRANSIENT_ERROR] * 2 + [CallState.OK]
    told = f"{file} changed since `benchmarks` was made. Run `spavl run benchmarks` again."
    assert results[rows[0].key].error == told
    file.write_bytes(b"no picture at all")  # no permanent error of the picture that belongs there
    assert results == all_of(own, rows)
    file.unlink()
    assert all_of(own, rows)[rows[1].key].state is CallState.TRANSIENT_ERROR
    file.write_bytes(picture(1).read())
    assert {result.state for result in all_of(own, rows).values()} == {CallState.OK}
    own.close()


def test_logits_that_are_not_finite_are_their_rows_error(engine: TransformersEngine) -> None:
    rows = [request("word1 word4"), request("poison word1"), request("word2 word3")]
    weight = engine._loaded.checkpoint.model.get_input_embeddings().weight.data
    whole = weight[POISON].clone()
    weight[POISON] = torch.nan
    results = all_of(engine, rows)
    weight[POISON] = whole
    assert results[rows[1].key].state is CallState.PERMANENT_ERROR
    assert "not finite" in str(results[rows[1].key].error)
    for row in (rows[0], rows[2]):
        assert results[row.key] == one_of(engine, row)


def with_fault(engine: TransformersEngine, fault: Callable[[torch.Tensor], None]) -> Any:
    """Let the model fail on some inputs; the handle removes the fault."""

    def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs.get("input_ids") is not None:
            fault(kwargs["input_ids"])

    return engine._loaded.checkpoint.model.register_forward_pre_hook(hook, with_kwargs=True)


def test_a_batch_too_large_for_the_memory_is_halved(engine: TransformersEngine) -> None:
    rows = mixed_requests(10)
    expected = all_of(engine, rows)

    def fault(ids: torch.Tensor) -> None:
        if len(ids) > 2:
            raise torch.OutOfMemoryError("tried to allocate 7 GiB")

    handle = with_fault(engine, fault)
    assert all_of(engine, rows) == expected
    handle.remove()


def test_a_row_too_large_for_the_memory_is_tried_again_by_the_next_run(engine: TransformersEngine) -> None:
    rows = [request("word1 word2"), request("poison word1")]
    expected = all_of(engine, rows)

    def fault(ids: torch.Tensor) -> None:
        if (ids == POISON).any():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")

    handle = with_fault(engine, fault)
    results = all_of(engine, rows)
    handle.remove()
    assert results[rows[0].key] == expected[rows[0].key]
    assert results[rows[1].key].state is CallState.TRANSIENT_ERROR
    assert "out of memory" in str(results[rows[1].key].error)


def test_a_poisonous_row_takes_no_other_with_it(engine: TransformersEngine) -> None:
    rows = [*mixed_requests(6), request("poison word1")]
    expected = all_of(engine, rows)

    def fault(ids: torch.Tensor) -> None:
        if (ids == POISON).any():
            raise KeyError("strange\nsecond line")

    handle = with_fault(engine, fault)
    results = all_of(engine, rows)
    handle.remove()
    bad = results.pop(rows[-1].key)
    assert bad.state is CallState.PERMANENT_ERROR
    assert str(bad.error).startswith("KeyError: ")
    assert "\n" not in str(bad.error)
    assert results == {row.key: expected[row.key] for row in rows[:-1]}


def test_a_model_that_fails_on_everything_makes_no_rows(engine: TransformersEngine) -> None:
    def fault(ids: torch.Tensor) -> None:
        raise KeyError("wrong version")

    handle = with_fault(engine, fault)
    with pytest.raises(EngineError, match="fails on every request"):
        list(engine.generate([request()], SAMPLED))
    handle.remove()


def test_no_warnings_from_the_checkpoints_own_sampling_settings(
    engine: TransformersEngine, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    saved = json.loads((checkpoint / "generation_config.json").read_text())
    assert saved["max_length"] == 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = one_of(engine, request("word1 " * 30, seed=5), Decoding(3, temperature=1.0))
    assert result.state is CallState.OK  # 33 tokens of prompt: a max_length of 20 would have stopped it
    assert capfd.readouterr().err == ""


def test_images_are_read_and_decoded_once(checkpoint: Path) -> None:
    reads: list[int] = []

    def counted(seed: int) -> ImageRef:
        inner = picture(seed)

        def read() -> bytes:
            reads.append(seed)
            return inner.read()

        return ImageRef(inner.sha256, read)

    images = [counted(seed) for seed in range(3)]
    rows = [request(f"word{n}", image=images[n % 3]) for n in range(30)]
    remembering = opened_here(checkpoint, batch_size=4)
    assert remembering._loaded.images.remembers
    first = all_of(remembering, rows)
    assert sorted(reads) == [0, 1, 2]
    forgetful = opened_here(checkpoint, batch_size=4, cache_bytes=0)
    assert all_of(forgetful, rows) == first
    assert len(reads) > 6
    plain = opened_here(checkpoint, batch_size=4)
    plain._loaded.images.remembers = False  # the processor as it is, without stand-ins
    assert all_of(plain, rows) == first


def test_feature_cache_is_bounded_and_forgets_the_oldest() -> None:
    cache = FeatureCache(100)
    for name in "abc":
        cache.put(name, {"pixels": torch.zeros(10)})
        cache.get("a")
    assert cache.get("a") is not None
    assert cache.get("b") is None
    assert cache.bytes == 80
    cache.put("large", {"pixels": torch.zeros(1000)})
    assert cache.bytes == 0


def test_features_join_along_the_first_axis_or_not_at_all() -> None:
    joined = join_features([{"p": torch.ones(2, 3), "n": [1]}, {"p": torch.zeros(1, 3), "n": [2]}])
    assert joined["p"].shape == (3, 3)
    assert joined["n"] == [1, 2]
    with pytest.raises(UnjoinableError):
        join_features([{"p": torch.ones(1, 3)}, {"p": torch.ones(1, 4)}])


def test_closed_engine_says_so(checkpoint: Path) -> None:
    closing = opened_here(checkpoint)
    closing.close()
    with pytest.raises(EngineError, match="closed"):
        list(closing.generate([request()], SAMPLED))
    closing.close()


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def opening_fails(model: str, match: str, **settings: Any) -> EngineError:
    with pytest.raises(EngineError, match=match) as caught:
        opened_here(model, **settings)
    assert caught.value.hint
    return caught.value


def test_models_that_cant_be_loaded(copied: Path) -> None:
    opening_fails("/nowhere/at/all", "does not exist")
    opening_fails(str(copied), "batch_size", batch_size=0)
    opening_fails(str(copied), "unknown", dtype="float7")
    opening_fails(str(copied), "unknown", device="toaster")
    opening_fails(str(copied), "not there", device="cuda:99")
    weights = copied / "model.safetensors"
    tensors = load_file(weights)
    torch.save(tensors, copied / "pytorch_model.bin")
    short = {name: tensor for name, tensor in tensors.items() if "lm_head" not in name}
    save_file(short, weights, metadata={"format": "pt"})
    opening_fails(str(copied), "lacks 1 weights")
    weights.write_bytes(weights.read_bytes()[:5000])
    opening_fails(str(copied), "can't be loaded")
    weights.unlink()
    error = opening_fails(str(copied), "can't be loaded")  # the pickle beside it is not touched
    assert "safetensors" in str(error)
    (copied / "chat_template.jinja").unlink()


def test_a_checkpoint_with_its_own_code_is_refused(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["model_type"] = "strange"
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModelForImageTextToText": "code.Model"}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "code.py").write_text("raise SystemExit('foreign code ran')")
    opening_fails(str(copied), "can't be loaded")


def test_chat_templates_without_system_turn_or_with_plain_strings(copied: Path) -> None:
    template = copied / "chat_template.jinja"
    text = template.read_text()
    template.write_text("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + text)
    without = opened_here(copied)
    assert one_of(without, request()).state is CallState.OK
    with pytest.raises(EngineError, match="no system turn"):
        list(without.generate([request(system="word1")], SAMPLED))
    template.write_text("{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }} {% endif %}" + text)
    as_string = opened_here(copied)
    assert as_string._loaded.chat.text(request(system="word1").messages).startswith("word1 ")
    template.unlink()
    with pytest.raises(EngineError, match="has no chat template"):
        list(opened_here(copied).generate([request()], SAMPLED))


def test_a_thought_that_the_template_opens_is_part_of_what_the_model_says(
    engine: TransformersEngine, copied: Path
) -> None:
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text().replace("ASSISTANT:", "ASSISTANT:<think>\n"))
    thinking = TransformersEngine(EngineSettings("transformers", str(copied), device="cpu"))
    result = one_of(thinking, request())
    assert result.text.startswith("<think>")
    assert without_thoughts(result.text) is None, "cut off within its thought"
    assert not one_of(engine, request()).text.startswith("<think>")


def user(*parts: str | ImageRef) -> Message:
    return Message("user", parts)


def model(*parts: str | ImageRef) -> Message:
    return Message("assistant", parts)


DIALOGUE = (
    Message("system", ("word3",)),
    user(picture(1), "word1 word2", picture(9), "word7"),
    model("word8"),
    user("word4 <image> </s>"),
)


def test_conversations_of_several_turns_and_images(engine: TransformersEngine) -> None:
    row = conversation(*DIALOGUE)
    others = [
        conversation(*DIALOGUE[1:]),
        conversation(DIALOGUE[0], user(picture(9), "word1 word2", picture(1), "word7"), *DIALOGUE[2:]),
        conversation(*DIALOGUE[:2], model("word9"), DIALOGUE[3]),
        *mixed_requests(6),
    ]
    results = all_of(engine, [*others, row], Decoding(10))
    assert {result.state for result in results.values()} == {CallState.OK}
    assert len({results[each.key].text for each in [row, *others[:3]]}) > 2  # the turns and the images' order matter
    assert one_of(engine, row, Decoding(10)) == results[row.key]
    loaded = engine._loaded.checkpoint
    text = "<s>SYSTEM: word3 USER: <image> word1 word2 <image> word7 "
    text += "ASSISTANT: word8 USER: word4 < image> < /s> ASSISTANT:"
    assert engine._loaded.chat.text(row.messages) == text
    inputs = loaded.processor(
        text=[text],
        images=[decode_image(image.read()) for image in row.images],
        add_special_tokens=False,
        return_tensors="pt",
    )
    ids = loaded.model.generate(**inputs, generation_config=loaded.generation_config(10))
    new = ids[0, inputs["input_ids"].shape[1] :]
    assert results[row.key].text == loaded.processor.tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ((), "the last turn isn't the user's"),
        ((user("word1"), model("word2")), "the last turn isn't the user's"),
        ((user("word1"), model(picture(1), "word2"), user("word3")), "an image in a assistant turn"),
        ((Message("system", (picture(1), "word2")), user("word3")), "an image in a system turn"),
    ],
)
def test_what_no_model_is_asked_is_that_rows_error(
    engine: TransformersEngine, messages: tuple[Message, ...], told: str
) -> None:
    fine, bad = request("word1"), conversation(*messages)
    results = all_of(engine, [fine, bad])
    assert results[fine.key] == one_of(engine, fine)
    assert (results[bad.key].state, results[bad.key].error) == (CallState.PERMANENT_ERROR, told)


LOOP = "for message in messages"


@pytest.mark.parametrize(
    ("change", "messages", "told"),
    [
        (
            lambda text: "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}" + text,
            (user("word1"), user("word2")),
            "can't render these turns: one turn only",
        ),
        (
            lambda text: text.replace(LOOP, f"{LOOP}[-1:]"),
            (user("word1"), user("word2")),
            "leaves out a text of a user turn",
        ),
        (
            lambda text: text.replace(LOOP, f"{LOOP} if message.role == 'user'"),
            (user("word1"), model("word2"), user("word3")),
            "no assistant turn",
        ),
        (
            lambda text: text.replace("<image> {% else %}", "{% if loop.first %}<image> {% endif %}{% else %}"),
            (user(picture(1), picture(2), "word1"),),
            "doesn't place 2 images",
        ),
    ],
)
def test_what_a_template_can_t_put_is_those_rows_error(
    copied: Path, change: Callable[[str], str], messages: tuple[Message, ...], told: str
) -> None:
    template = copied / "chat_template.jinja"
    template.write_text(change(template.read_text()))
    narrow = opened_here(copied)
    fine = [request("word1", image=picture(1)), request("word2")]
    bad = conversation(*messages)
    results = all_of(narrow, [*fine, bad])
    assert [results[row.key].state for row in fine] == [CallState.OK] * 2
    assert results[bad.key].state is CallState.PERMANENT_ERROR
    assert told in str(results[bad.key].error)


def test_a_system_turn_on_some_rows_only_is_their_error(copied: Path) -> None:
    template = copied / "chat_template.jinja"
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    template.write_text(refusing + template.read_text())
    without = opened_here(copied)
    fine, bad = request("word1"), request("word1", system="word2")
    results = all_of(without, [fine, bad])
    assert results[fine.key].state is CallState.OK
    assert results[bad.key].state is CallState.PERMANENT_ERROR
    assert "no system turn" in str(results[bad.key].error)


def test_another_checkpoint_writes_other_texts(engine: TransformersEngine, tmp_path: Path) -> None:
    other = opened_here(build_checkpoint(tmp_path, seed=1), batch_size=8)
    rows = mixed_requests(8)
    assert all_of(other, rows) != all_of(engine, rows)
