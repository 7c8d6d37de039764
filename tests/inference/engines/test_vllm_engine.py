"""The vllm engine for real, on a tiny LLaVA, beside the transformers engine: the same texts, counts and errors.

Skipped where vLLM can't be imported.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import LLAMA_GUARD, save_llama
from tiny_llava import SPECIAL, WORDS, build_checkpoint, bytes_ref, conversation, file_ref, picture, request

try:
    import torchvision  # noqa: F401
    import vllm  # noqa: F401
except Exception as error:  # a torchvision of another build raises RuntimeError
    pytest.skip(f"NOTHING OF vLLM IS TRIED HERE: {type(error).__name__}: {error}", allow_module_level=True)

from safetensors.torch import load_file, save_file

from spavl_dag.errors import EngineError
from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import Engine, EngineSettings
from spavl_dag.inference.engines.llava_names import published_names
from spavl_dag.inference.engines.vllm.engine import VllmEngine
from spavl_dag.inference.request import Decoding, Generation, Message, Request, Verbatim
from spavl_dag.params.engines import VllmEngineParams, VllmRuntime
from spavl_dag.states import CallState

POISON = (SPECIAL + WORDS).index("poison")
SAMPLED = Decoding(12, temperature=1.0, top_p=0.95, repetition_penalty=1.1)
RUNTIME = VllmRuntime(kind="vllm", max_num_seqs=32, kv_cache_memory_bytes=2**28, enforce_eager=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With heads of 32, the smallest that vLLM has on the CPU, names as vLLM reads them, and a word that breaks it."""
    folder = build_checkpoint(tmp_path_factory.mktemp("vllm"), hidden=128)
    with_published_names(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["language_model.model.embed_tokens.weight"][POISON] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_published_names(folder: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(folder)
    head = {"language_model.lm_head.weight": model.lm_head.weight.contiguous()}
    save_file(published_names(model) | head, folder / "model.safetensors", metadata={"format": "pt"})


def opened(kind: str, model: Path, **settings: Any) -> Engine:
    runtime = {"runtime": RUNTIME} if kind == "vllm" else {}
    return open_engine(
        EngineSettings(kind, str(model), **{"device": "cpu", "batch_size": 32, "threads": 1} | runtime | settings)
    )


@pytest.fixture(scope="module")
def transformers(checkpoint: Path) -> Iterator[Engine]:
    engine = opened("transformers", checkpoint)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[VllmEngine]:
    engine = opened("vllm", checkpoint)
    assert isinstance(engine, VllmEngine)
    yield engine
    engine.close()


def all_of(engine: Engine, requests: list[Request], decoding: Decoding = SAMPLED) -> dict[bytes, Generation]:
    return {result.key: result for batch in engine.generate(requests, decoding) for result in batch}


def mixed_requests(count: int) -> list[Request]:
    return [
        request(
            " ".join(f"word{(n * 7 + i * n) % 240}" for i in range(n % 9 + 1)),
            image=picture(n % 50) if n % 3 else None,
            system=f"word{n % 240}" if n % 2 else None,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("decoding", "alike"),
    [(Decoding(12), 0.98), (SAMPLED, 0.95), (Decoding(12, temperature=0.7, top_k=20), 0.95)],
    ids=["greedy", "nucleus and penalty", "top-k"],
)
def test_texts_counts_and_reasons_are_those_of_transformers(
    engine: VllmEngine, transformers: Engine, decoding: Decoding, alike: float
) -> None:
    rows = mixed_requests(300)
    theirs, ours = all_of(transformers, rows, decoding), all_of(engine, rows, decoding)
    assert set(theirs) == set(ours)
    assert len({result.text for result in theirs.values()}) > 100  # it isn't one text that they agree on
    # Some say the word that breaks the model: an error in both.
    assert {result.finish_reason for result in ours.values()} == {"stop", "length", "error"}
    assert sum(theirs[key] == ours[key] for key in theirs) >= alike * len(rows)


def test_a_text_does_not_depend_on_the_rows_beside_it(engine: VllmEngine) -> None:
    rows = mixed_requests(60)
    together = all_of(engine, rows)
    for row in rows[::12]:
        assert all_of(engine, [row]) == {row.key: together[row.key]}


def test_what_fails_is_what_fails_with_transformers(engine: VllmEngine, transformers: Engine, tmp_path: Path) -> None:
    changed = tmp_path / "images" / "files" / "picture.png"
    changed.parent.mkdir(parents=True)
    changed.write_bytes(picture(77).read())
    reference = file_ref(changed)
    changed.write_bytes(picture(2).read())
    bad = [
        request(" ".join(["word1"] * 400)),
        request(" ".join(["word1"] * 165), image=picture(1)),
        request("word1", image=bytes_ref(b"no picture")),
        request("word1", image=reference),
        request("word1 poison word2"),
    ]
    good = mixed_requests(20)
    theirs, ours = all_of(transformers, bad + good), all_of(engine, bad + good)
    assert ours == theirs
    assert [ours[row.key].state for row in bad] == [
        *[CallState.PERMANENT_ERROR] * 3,
        CallState.TRANSIENT_ERROR,
        CallState.PERMANENT_ERROR,
    ]
    with pytest.raises(EngineError, match="max_new_tokens is 192"):
        next(iter(engine.generate(good, Decoding(192))))


def test_control_words_in_a_text_have_no_effect(engine: VllmEngine, transformers: Engine) -> None:
    rows = [request("word1 <image> </s> word2", image=image) for image in (None, picture(3))]
    assert all_of(engine, rows) == all_of(transformers, rows)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [({"choice": ["word7", "word8"]}, {"word7", "word8"}), ({"regex": "word(3|4)"}, {"word3", "word4"})],
)
def test_structured_output_holds_texts_to_it(engine: VllmEngine, wanted: dict[str, Any], said: set[str]) -> None:
    rows = [replace(row, structured_output=json.dumps(wanted)) for row in mixed_requests(30)]
    free = mixed_requests(31)[30:]
    no_form = replace(request("word1"), structured_output='{"json": {"type": "nonsense"}}')
    unspeakable = replace(request("word2"), structured_output='{"json": {"type": "object"}}')
    results = all_of(engine, [*rows, *free, no_form, unspeakable])
    assert "nonsense" in str(results[no_form.key].error)
    assert "the vocabulary may not spell" in str(results[unspeakable.key].error)
    assert {results[row.key].text.strip() for row in rows} == said
    assert results[free[0].key] == all_of(engine, free)[free[0].key]


def test_batches_are_bounded_and_a_run_that_is_given_up_on_costs_nothing(engine: VllmEngine) -> None:
    rows = mixed_requests(200)
    run = engine.generate(rows, SAMPLED)
    assert 0 < len(next(run)) <= 32
    run.close()
    assert all(len(batch) <= 32 for batch in engine.generate(rows, SAMPLED))


def test_a_killed_process_costs_its_rows_and_is_replaced(engine: VllmEngine) -> None:
    rows = mixed_requests(400)
    assert engine._fleet is not None
    (before,) = engine._fleet.pids
    run = engine.generate(rows, SAMPLED)
    results = list(next(run))
    os.kill(before, signal.SIGKILL)
    results += [result for batch in run for result in batch]
    assert {result.key for result in results} == {row.key for row in rows}
    lost = [result for result in results if result.state is CallState.TRANSIENT_ERROR]
    assert 0 < len(lost) < 200
    assert all("SIGKILL" in str(result.error) for result in lost)
    again = all_of(engine, [row for row in rows if row.key in {result.key for result in lost}])
    assert CallState.TRANSIENT_ERROR not in {result.state for result in again.values()}


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(1)
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    config = LoraConfig(r=4, lora_alpha=32, target_modules=r".*language_model.*\.(q_proj|v_proj|down_proj)")
    wrapped = get_peft_model(model, config)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    folder = tmp_path_factory.mktemp("adapter")
    wrapped.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_an_adapter_two_copies_and_shrunk_pictures(checkpoint: Path, adapter: Path, transformers: Engine) -> None:
    rows = mixed_requests(100)
    merged = opened("transformers", checkpoint, adapter=str(adapter))
    runtime = RUNTIME.model_copy(update={"data_parallel_size": 2})
    params = VllmEngineParams(kind="vllm", max_model_len=96, max_pixels=10**6)
    two = opened("vllm", checkpoint, adapter=str(adapter), runtime=runtime, params=params)
    theirs, ours = all_of(merged, rows, Decoding(12)), all_of(two, rows, Decoding(12))
    assert sum(theirs[key].text == ours[key].text for key in theirs) >= 0.98 * len(rows)
    assert theirs != all_of(transformers, rows, Decoding(12))
    long = request(" ".join(["word1"] * 90))
    assert "context is 96" in str(all_of(two, [long], Decoding(12))[long.key].error)
    assert isinstance(two, VllmEngine)
    assert two._fleet is not None
    pids = two._fleet.pids
    assert len(pids) == 2
    two.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(EngineError, match="was closed"):
        next(iter(two.generate(rows, SAMPLED)))
    merged.close()


@pytest.mark.slow
def test_weights_spread_over_two_devices_and_words_that_break_the_model(checkpoint: Path, transformers: Engine) -> None:
    rows = [*mixed_requests(100), *(request(f"word{number} poison") for number in range(5))]
    runtime = RUNTIME.model_copy(update={"tensor_parallel_size": 2})
    two = opened("vllm", checkpoint, runtime=runtime)
    theirs, ours = all_of(transformers, rows), all_of(two, rows)
    two.close()
    assert sum(theirs[key] == ours[key] for key in theirs) >= 0.95 * len(rows)
    broken = [key for key, result in ours.items() if "not finite" in str(result.error)]
    assert len(broken) >= 5
    assert broken == [key for key in ours if "not finite" in str(theirs[key].error)]


@pytest.mark.parametrize("template", [LLAMA_GUARD, None], ids=["a judge's template", "raw prompts"])
def test_a_model_without_images(tmp_path: Path, template: str | None) -> None:
    folder = save_llama(tmp_path / "llama", template, hidden=128)
    said = [f"how is the {word} </s> ?" for word in ("card", "message", "user it is", "a")]
    turns = [
        (Message("raw", (Verbatim("<s>[INST] task "), text, Verbatim(" [/INST]"))),)
        if template is None
        else (Message("user", (text,)), Message("judged", ("sure first",)))
        for text in said
    ]
    rows = [conversation(*messages) for messages in turns]
    engines = opened("transformers", folder), opened("vllm", folder)
    theirs, ours = (all_of(engine, rows) for engine in engines)
    assert ours == theirs
    assert {result.state for result in ours.values()} == {CallState.OK}
    with pytest.raises(EngineError, match="takes no images"):
        all_of(engines[1], [request(image=picture(1))])
    if template is None:
        with pytest.raises(EngineError, match="has no chat template"):
            all_of(engines[1], [request()])
    for engine in engines:
        engine.close()


def test_a_checkpoint_that_is_not_whole_says_so(checkpoint: Path, tmp_path: Path) -> None:
    copied = tmp_path / "broken"
    shutil.copytree(checkpoint, copied)
    tensors = load_file(copied / "model.safetensors")
    del tensors["language_model.model.norm.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"vLLM can't run .*norm"):
        opened("vllm", copied)
