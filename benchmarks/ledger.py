"""How fast calls are keyed, recorded and found again, at the size of the published dataset.

Run from the project root: `python benchmarks/ledger.py [--rows 1200000] [--json]`. Takes two minutes and 3 GB
in the folder for temporary files; set `TMPDIR` to measure another disk.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

from spavl_dag.inference.keys import CallKeys, row_seed
from spavl_dag.inference.ledger import CallRow, Ledger
from spavl_dag.inference.request import Decoding, ImageRef, ModelSpec, single_turn
from spavl_dag.states import CallState

ROWS = 1_200_000  # 31,894 images, 3 questions each, 12 answering models, and some
DONE = 11 / 12  # share that the ledger holds already when the missing ones are asked for
WORDS = [
    "the image",
    "shows a",
    "person",
    "holding",
    "a sign",
    "harmful",
    "however",
    "café",
    "naïve",
    "safety",
]
PROFILE = json.dumps(
    {
        "engine": "vllm",
        "model": "llava-hf/llava-1.5-7b-hf",
        "revision": "b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
    }
)


class Took(NamedTuple):
    """Seconds of an action: by the clock, and of this process on a processor."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table.

    Attributes:
        what: What was done.
        value: By the clock; this is what the target is about.
        unit: Of `value` and `cpu`.
        cpu: The same with processor time in place of the clock: what a busy machine distorts less.
        target: Bound of `value`, if there is one.
        at_most: Whether the bound is an upper one.
    """

    what: str
    value: float
    unit: str
    cpu: float | None = None
    target: float | None = None
    at_most: bool = False

    @classmethod
    def rate(cls, what: str, count: int, took: Took, unit: str, target: float | None = None) -> Self:
        """So many per second."""
        return cls(what, count / took.wall, unit, count / took.cpu, target)

    @classmethod
    def duration(cls, what: str, took: Took, target: float | None = None) -> Self:
        """So many seconds."""
        return cls(what, took.wall, "s", took.cpu, target, at_most=True)

    @property
    def met(self) -> bool | None:
        """Whether the target holds; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def sentences(count: int, low: int, high: int, rng: random.Random) -> list[str]:
    """Texts of `low` to `high` characters."""
    texts = []
    for _ in range(count):
        size = rng.randint(low, high)
        texts.append(" ".join(rng.choices(WORDS, k=size // 4))[:size])
    return texts


def generated_rows(count: int, rng: random.Random) -> Iterator[CallRow]:
    """Rows like those of `responses`: prompts of 300 to 1,000 characters, answers of 50 to 500."""
    prompts, texts = sentences(5_000, 300, 1_000, rng), sentences(5_000, 50, 500, rng)
    images = [rng.randbytes(32).hex() for _ in range(1_000)]
    for number in range(count):
        key = rng.randbytes(16)
        yield CallRow(
            key=key,
            state=CallState.REFUSED if number % 9 == 0 else CallState.OK,
            text=f"{number} {rng.choice(texts)}",
            finish_reason="stop",
            prompt_tokens=700,
            completion_tokens=90,
            cost_usd=0.0,
            error=None,
            artifact="responses",
            partition=f"model_{number * 12 // count}",
            role="answer",
            profile=PROFILE,
            prompt=f"{number} {rng.choice(prompts)}",
            image_sha256=rng.choice(images),
            sample_index=0,
            seed=row_seed(key),
        )


def timed(action: Callable[[], object]) -> Took:
    """Run an action."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def drop_cached(folder: Path) -> None:
    """Make the system forget the files' pages, so that the next opening reads the disk (Linux)."""
    for path in folder.iterdir():
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def keys_per_second(count: int = 200_000) -> Measurement:
    """Identities made and hashed."""
    rng = random.Random(1)
    prompts = sentences(2_000, 300, 1_000, rng)
    decoding = Decoding(512, 0.7, 0.9)
    system = "You are a helpful assistant. " * 5
    image = ImageRef("ab" * 32, bytes)

    def run() -> None:
        keys = CallKeys(ModelSpec("models.m", "transformers", "m", "r", system, "{{ question }}", decoding), 42)
        for number in range(count):
            keys.key(single_turn(prompts[number % 2_000], image, system), number)

    return Measurement.rate("identities → keys", count, timed(run), "keys/s", 150_000)


def append_rates(folder: Path, rows: int) -> Iterator[Measurement]:
    """Appending to a new ledger; each batch is on the disk before the next starts."""
    for size, target in ((64, None), (1_000, 50_000), (10_000, 50_000)):
        total = min(rows, 100_000)
        batches = list(batched(generated_rows(total, random.Random(size)), size))
        path = folder / f"append_{size}" / "ledger.db"
        with Ledger(path) as ledger:
            took = timed(partial(append_all, ledger, batches))
        yield Measurement.rate(f"append to a new ledger, batches of {size:,}", total, took, "rows/s", target)


def batched(rows: Iterator[CallRow], size: int) -> Iterator[list[CallRow]]:
    """Lists of `size` rows, the last one shorter."""
    batch: list[CallRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def append_all(ledger: Ledger, batches: Iterable[list[CallRow]]) -> None:
    """Append batch after batch."""
    for batch in batches:
        ledger.append(batch)


def at_full_size(folder: Path, rows: int) -> Iterator[Measurement]:
    """Fill a ledger to full size, then resume, read and sum it up."""
    path = folder / "full" / "ledger.db"
    keys: list[bytes] = []
    done = int(rows * DONE)
    wall = cpu = 0.0
    with Ledger(path, "filling") as ledger:
        for batch in batched(generated_rows(done, random.Random(2)), 10_000):
            keys += [row.key for row in batch]
            took = timed(partial(ledger.append, batch))
            wall, cpu = wall + took.wall, cpu + took.cpu
    filling = f"append, mean up to {done:,} rows, batches of 10,000"
    yield Measurement.rate(filling, done, Took(wall, cpu), "rows/s", 50_000)
    yield Measurement("size of that ledger", path.stat().st_size / 1e9, "GB")

    rng = random.Random(3)
    asked = keys + [rng.randbytes(16) for _ in range(rows - done)]
    rng.shuffle(asked)
    for name, cold in (("cold disk cache", True), ("warm", False)):
        if cold:
            drop_cached(path.parent)

        took = timed(partial(resume, path, asked, rows - done))
        yield Measurement.duration(f"open, find the missing among {rows:,} keys, {name}", took, 1.5)

    some = rng.sample(keys, min(100_000, len(keys)))
    partition = keys[: len(some)]
    with Ledger(path) as ledger:
        yield Measurement.duration("open, missing among 1,000 keys", timed(partial(ledger.missing, some[:1_000])))
        yield Measurement.duration("the same again", timed(partial(ledger.missing, some[:1_000])))
        for name, chosen, target in (("one partition's", partition, 2.0), ("random", some, None)):
            took = timed(partial(ledger.fetch_outputs, chosen))
            yield Measurement.duration(f"fetch_outputs, {len(some):,} {name} keys", took, target)
        took = timed(partial(ledger.fetch, partition))
        yield Measurement.duration(f"fetch, {len(some):,} one partition's keys", took)
        yield Measurement.duration("summary", timed(ledger.summary))
        yield Measurement.duration("repeated_calls", timed(ledger.repeated_calls))
        for size in (64, 1_000, 10_000):
            source = generated_rows(size * max(1, 20_000 // size), random.Random(size + 1))
            batches = [[replace(row, key=rng.randbytes(16)) for row in batch] for batch in batched(source, size)]
            took = timed(partial(append_all, ledger, batches))
            count = sum(map(len, batches))
            yield Measurement.rate(f"append to {done:,} rows, batches of {size:,}", count, took, "rows/s")


def resume(path: Path, asked: list[bytes], expected: int) -> None:
    """What a run does first: open the ledger and ask it what is missing."""
    with Ledger(path) as ledger:
        found = len(ledger.missing(asked))
    if found != expected:
        raise AssertionError(f"{found} missing keys found, {expected} expected")


def checked_rows(rows: int) -> Measurement:
    """A whole table of responses against its pandera model."""
    import polars as pl

    from spavl_dag.schemas import Responses, polars_schema

    rng = random.Random(4)
    texts = pl.Series(sentences(5_000, 50, 500, rng))
    numbers = pl.int_range(rows, eager=True)
    columns = {
        "question_id": pl.select(pl.format("q{}", numbers.cast(pl.String).str.zfill(9))).to_series(),
        "model": pl.select(pl.format("model_{}", numbers % 12)).to_series(),
        "response": texts.gather(numbers % 5_000),
        "state": pl.select(pl.repeat("ok", rows)).to_series(),
        "reason": pl.select(pl.repeat(None, rows, dtype=pl.String)).to_series(),
        "finish_reason": pl.select(pl.repeat("stop", rows)).to_series(),
        "prompt_tokens": pl.select(pl.repeat(700, rows)).to_series(),
        "completion_tokens": pl.select(pl.repeat(90, rows)).to_series(),
        "call_key": pl.Series([rng.randbytes(16).hex() for _ in range(rows)]),
    }
    frame = pl.DataFrame(columns).cast(polars_schema(Responses))
    took = timed(partial(Responses.validate, frame))
    return Measurement.duration(f"check {rows:,} responses with pandera", took, 1.0)


def measurements(rows: int) -> Iterator[Measurement]:
    """All of them, in the order of the table; temporary files are gone afterwards."""
    yield keys_per_second()
    yield checked_rows(rows)
    with tempfile.TemporaryDirectory(prefix="spavl_ledger_") as name:
        yield from append_rates(Path(name), rows)
        yield from at_full_size(Path(name), rows)
    yield Measurement("peak memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")


def main() -> int:
    """Measure, print, and exit with 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="size of the full ledger")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    busy = os.getloadavg()[0]
    taken = list(measurements(arguments.rows))
    if arguments.json:
        found = [asdict(line) | {"met": line.met} for line in taken]
        print(json.dumps({"load_average_before": busy, "measurements": found}, indent=2))
    else:
        show(taken, busy)
    return 0 if all(line.met is not False for line in taken) else 1


def show(taken: list[Measurement], busy: float) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{os.cpu_count()} cores, load average before: {busy:.1f}")
    for heading in ("what", "measured", "by processor time", "target", ""):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    marks = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}
    for line in taken:
        digits = 0 if line.value >= 100 else 3
        bound = "" if line.target is None else f"{'≤' if line.at_most else '≥'} {line.target:,g}"
        cpu = "" if line.cpu is None else f"{line.cpu:,.{digits}f}"
        table.add_row(line.what, f"{line.value:,.{digits}f} {line.unit}", cpu, bound, marks[line.met])
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
