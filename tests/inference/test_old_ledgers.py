"""A ledger that the version before call keys were sparse wrote: all of its calls are found, and none is made again."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from spavl_dag.errors import EngineError
from spavl_dag.inference.client import CallCounts, ModelClient, Prompt
from spavl_dag.inference.engines.base import Engine
from spavl_dag.inference.ledger import LEDGER_SCHEMA, Ledger, SummaryRow
from spavl_dag.inference.request import Decoding, ImageRef, ModelSpec
from spavl_dag.states import CallState

DUMP = Path(__file__).parent / "ledger_of_schema_1.sql"
BASE = "md5:0f343b0931126a20f133d67c2b018a3b.dir"
CAPTIONER = ModelSpec(
    "roles.captioner", "transformers", "base_model", BASE, None, "Describe the picture.", Decoding(48)
)
SAMPLED = Decoding(64, 0.7, 0.9, 50, 1.1)
WARM = ModelSpec("models.high_warm", "transformers", "base_model", BASE, "Caution: high.", "{{ question }}\n", SAMPLED)
COOL = ModelSpec("models.none_cool", "transformers", "base_model", BASE, "", "{{ question }}\n", SAMPLED)
JUDGE = ModelSpec(
    "roles.judge",
    "transformers",
    "llava-hf/llava-1.5-7b-hf",
    "b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
    "You judge.",
    "Q: {{ question }} A: {{ answer }}",
    Decoding(16, 0.0, 0.5, 7, 1.0),
)
QUESTIONS = ("q0", "q1", "¿q2? 😀\ud800", "q3", "q4", "q5")


def image(name: str) -> ImageRef:
    return ImageRef(hashlib.sha256(f"picture of {name}".encode()).hexdigest(), bytes)


def no_engine() -> Engine:
    raise EngineError("a call would be made")


def client(ledger: Ledger, spec: ModelSpec, counts: CallCounts) -> ModelClient:
    return ModelClient(spec, ledger=ledger, engine=no_engine, artifact="a", partition=None, seed=42, counts=counts)


def answers_of(ledger: Ledger, spec: ModelSpec, prompts: Sequence[Prompt]) -> list[tuple[CallState, str]]:
    counts = CallCounts()
    found = client(ledger, spec, counts).ask(prompts)
    assert (counts.made, counts.asked) == (0, len(prompts))
    return [(each.state, each.text) for each in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as db:
        db.executescript(DUMP.read_text(encoding="utf-8"))
    return file


@pytest.mark.parametrize("read_only", [True, False])
def test_every_call_is_found_and_none_is_made(path: Path, read_only: bool) -> None:
    with Ledger(path, read_only=read_only) as ledger:
        pictures = [image(name) for name in ("cat", "house", "cat", "sign")]
        assert answers_of(ledger, CAPTIONER, [Prompt({}, picture) for picture in pictures]) == [
            (CallState.OK, f"a caption for {picture.sha256[:6]}") for picture in pictures
        ]
        prompts = [Prompt({"question": q}, image("cat") if n % 2 else None) for n, q in enumerate(QUESTIONS)]
        for spec in (WARM, COOL):
            assert answers_of(ledger, spec, prompts) == [
                (CallState.OK, "answer to q0"),
                (CallState.OK, "answer to q1"),
                (CallState.OK, "answer to ¿q2? 😀\ud800"),
                (CallState.OK, "nul \0 and half a pair \ud800"),
                (CallState.REFUSED, "I can't help with that."),
                (CallState.OK, "é 😀\nsecond line"),
            ]
        verdicts = [Prompt({"question": "q", "answer": a}, image("sign")) for a in ("good", "odd", "long")]
        assert answers_of(ledger, JUDGE, verdicts) == [
            (CallState.OK, "verdict: A"),
            (CallState.UNPARSABLE, "hm"),
            (CallState.PERMANENT_ERROR, ""),
        ]
        assert ledger.count() == 19
        assert SummaryRow("safety_labels", "high_warm", CallState.OK, 1, 17, 10, 0.25) in ledger.summary()


def test_what_failed_for_the_moment_is_the_one_call_that_is_made(path: Path) -> None:
    counts = CallCounts()
    with Ledger(path) as ledger:
        slow = [Prompt({"question": "q", "answer": a}, image("sign")) for a in ("good", "slow")]
        with pytest.raises(EngineError, match="a call would be made"):
            client(ledger, JUDGE, counts).ask(slow)
        assert (counts.asked, counts.saved) == (2, 1)


def test_new_calls_share_the_old_rows_of_what_they_have_in_common(path: Path) -> None:
    with Ledger(path, "new") as ledger:
        (old,) = ledger.fetch([bytes.fromhex("9b106c2e67507ad0225f5f3063da7fbe")]).values()
        ledger.append([old])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM contexts").fetchone() == (4,)
        assert db.execute("SELECT count(*) FROM profiles").fetchone() == (4,)
        assert db.execute("PRAGMA user_version").fetchone() == (LEDGER_SCHEMA,)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute("REPLACE INTO calls SELECT * FROM calls WHERE id = 1")


def test_looking_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with Ledger(path, read_only=True) as ledger:
        assert ledger.count() == 19
    assert path.read_bytes() == before
