"""Requests per second through the `vllm` engine, against a bare `LLM.generate` of vLLM's over the same requests.

Run from the project root, where vLLM is installed: `python benchmarks/vllm_engine.py [--model FOLDER] [--requests 600]
[--rounds 3] [--json]`. Without `--model` it asks an untrained LLaVA of the default world's size, on whatever vLLM runs
on. Both are loaded once, in processes of their own, and asked in turns; the other one waits meanwhile. Measured is from
requests (pictures as bytes) to texts, without loading. Takes two minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image

from spavl_dag.inference.engines import open_engine
from spavl_dag.inference.engines.base import Engine, EngineSettings
from spavl_dag.inference.engines.vllm.options import VllmOptions, engine_args, is_cpu_build, worker_environment
from spavl_dag.inference.engines.vllm.prompt_tokens import PromptTokens
from spavl_dag.inference.request import Decoding, ImageRef, Request, single_turn
from spavl_dag.params.engines import VllmRuntime

TARGET = 0.95
NEW_TOKENS = 48
DECODINGS = {"greedy": Decoding(NEW_TOKENS), "sampled": Decoding(NEW_TOKENS, temperature=1.0, top_p=0.95)}
SEED = 1


def make_model(folder: Path) -> Path:
    """An untrained LLaVA of the size of the default world's, with its words."""
    import torch

    from spavl_dag.demo.model import build_model, build_processor, build_tokenizer, save_checkpoint
    from spavl_dag.params.pictograms import PictogramModelParams

    params = PictogramModelParams()
    tokenizer = build_tokenizer([f"word{number}" for number in range(700)])
    processor: Any = build_processor(tokenizer, params)
    processor.image_processor.resample = Image.Resampling.BILINEAR  # torchvision, which vLLM needs, has no box filter
    torch.manual_seed(SEED)
    save_checkpoint(build_model(tokenizer, params), processor, folder)
    return folder


def make_requests(count: int) -> list[Request]:
    """Questions of 4 to 20 words, each about one of so many pictures that three share one."""
    draw = random.Random(SEED)
    pictures = []
    for _ in range(max(1, count // 3)):
        buffer = io.BytesIO()
        Image.frombytes("RGB", (96, 96), draw.randbytes(96 * 96 * 3)).save(buffer, "PNG")
        data = buffer.getvalue()
        pictures.append(ImageRef(hashlib.sha256(data).hexdigest(), lambda data=data: data))  # type: ignore[misc]
    requests = []
    for number in range(count):
        words = " ".join(f"word{draw.randrange(700)}" for _ in range(draw.randint(4, 20)))
        key = number.to_bytes(16, "big")
        requests.append(Request(key, single_turn(words, pictures[number % len(pictures)]), draw.getrandbits(63)))
    return requests


def settings_of(model: Path | str, threads: int | None) -> EngineSettings:
    """What both run with."""
    return EngineSettings(
        "vllm", str(model), batch_size=128, threads=threads, runtime=VllmRuntime(kind="vllm", max_num_seqs=128)
    )


def through_the_engine(engine: Engine, requests: Sequence[Request], decoding: Decoding) -> tuple[float, int]:
    """Seconds, and tokens that were generated."""
    began = time.perf_counter()
    results = [result for batch in engine.generate(requests, decoding) for result in batch]
    seconds = time.perf_counter() - began
    failed = [result.error for result in results if result.error]
    assert len(results) == len(requests)
    assert not failed, failed[0]
    return seconds, sum(result.completion_tokens for result in results)


def bare(connection: Connection, settings: EngineSettings, count: int) -> None:
    """A process that answers by `LLM.generate`: a decoding comes in, seconds and tokens go out."""
    os.environ.update(worker_environment(settings, tuple(_gpu()), on_cpu=is_cpu_build()))
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    from vllm import LLM, SamplingParams

    arguments = engine_args(settings, VllmOptions.of(settings), on_cpu=is_cpu_build())
    del arguments["async_scheduling"]  # whatever is vLLM's own choice
    model = LLM(**arguments)
    prompts = PromptTokens(settings.model, settings.revision)
    requests = make_requests(count)
    connection.send("ready")
    while (decoding := connection.recv()) is not None:
        began = time.perf_counter()
        asked: Any = [
            {
                "prompt": prompts.chat.text(request.messages),
                "multi_modal_data": {"image": [Image.open(io.BytesIO(image.read())) for image in request.images]},
            }
            for request in requests
        ]
        sampling = SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=list(prompts.end_tokens),
        )
        outputs = model.generate(asked, sampling, use_tqdm=False)
        seconds = time.perf_counter() - began
        connection.send((seconds, sum(len(output.outputs[0].token_ids) for output in outputs)))


def _gpu() -> list[str]:
    from spavl_dag.inference.engines.gpus import visible_gpus

    return visible_gpus()[1:2] or visible_gpus()[:1]


def measure(model: Path | str, count: int, rounds: int, threads: int | None) -> dict[str, Any]:
    """Tokens per second of both, by decoding; medians over the rounds."""
    settings = settings_of(model, threads)
    requests = make_requests(count)
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=bare, args=(there, settings, count), daemon=True)
    process.start()
    engine = open_engine(settings)
    try:
        here.recv()
        found: dict[str, Any] = {}
        for name, decoding in DECODINGS.items():
            ours, theirs = [], []
            for turn in range(rounds + 1):
                seconds, tokens = through_the_engine(engine, requests, decoding)
                here.send(decoding)
                bare_seconds, bare_tokens = here.recv()
                if turn:  # the first warms both up
                    ours.append(tokens / seconds)
                    theirs.append(bare_tokens / bare_seconds)
            ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
            found[name] = {
                "tokens_per_second": round(statistics.median(ours)),
                "bare_tokens_per_second": round(statistics.median(theirs)),
                "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
        here.send(None)
        return found
    finally:
        engine.close()
        process.kill()


def main() -> int:
    """Measure, print, and fail where the target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a checkpoint's folder or hub id")
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads of each")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or make_model(Path(folder) / "model")
        found = measure(model, given.requests, given.rounds, given.threads)
    if given.json:
        print(json.dumps(found | {"target": TARGET}, indent=2))
    else:
        for name, row in found.items():
            ours, theirs = row["tokens_per_second"], row["bare_tokens_per_second"]
            print(f"{name}: {ours:,} tokens/s; LLM.generate {theirs:,} tokens/s; ratio {row['ratio']} (>= {TARGET})")
    return int(any(row["ratio"] < TARGET for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
