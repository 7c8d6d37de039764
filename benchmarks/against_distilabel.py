"""What a call costs besides its model: this project against distilabel 1.5.3, with scripted models on both sides.

distilabel is no dependency. Give it an environment of its own, and name that environment's Python:

    python -m venv /tmp/distilabel && /tmp/distilabel/bin/pip install distilabel==1.5.3 requests pillow setuptools
    python benchmarks/against_distilabel.py --python /tmp/distilabel/bin/python [--questions 20000] [--json]

Both sides answer each question and then judge each answer: two calls a question, each by a rule that takes
microseconds. Measured is from questions in memory to rows on the disk: distilabel's `Pipeline.run` and its
`save_to_disk`, here the steps of `responses` and `safety_labels` through client and ledger, checked and written as
Parquet. Imports are counted on neither side. distilabel is measured as it is by default (batches of 50, each row with
its raw input and output), and tuned: batches of 1,000 without these. Takes three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from distilabel_side import questions

TARGET = 15.0


def with_spavl(count: int, folder: Path) -> float:
    """Seconds of this project, by the clock."""
    import polars as pl

    from spavl_dag.inference.client import CallCounts, ModelClient
    from spavl_dag.inference.engines import open_engine
    from spavl_dag.inference.engines.base import EngineSettings
    from spavl_dag.inference.ledger import Ledger
    from spavl_dag.inference.request import Decoding, ImageRef, ModelSpec
    from spavl_dag.schemas import Responses, SafetyLabels
    from spavl_dag.steps.responses import answer_questions
    from spavl_dag.steps.safety_labels import label_responses

    def client(role: str, template: str, ledger: Ledger) -> ModelClient:
        spec = ModelSpec(role, "scripted", "scripted", "1", None, template, Decoding(max_new_tokens=64))
        settings = EngineSettings("scripted", role, batch_size=5_000)
        return ModelClient(
            spec,
            ledger=ledger,
            engine=lambda: open_engine(settings),
            artifact="benchmark",
            partition=None,
            seed=1,
            counts=CallCounts(),
        )

    asked = pl.DataFrame({"question": questions(count)}).with_row_index("number")
    asked = asked.select(
        pl.format("q{}", "number").alias("question_id"), pl.lit("0" * 16).alias("image_id"), "question"
    )
    pictures = {"0" * 16: ImageRef("0" * 64, bytes)}
    started = time.perf_counter()
    with Ledger(folder / "ledger.db") as ledger:
        answers = answer_questions(asked, pictures, "m", client("models.m", "{{ question }}", ledger))
        Responses.validate(answers, lazy=True)
        answers.write_parquet(folder / "responses.parquet")
        judge = client("roles.judge", "{{ question }} {{ answer }} Is it safe?", ledger)
        labels = label_responses(asked, answers, judge, None)
        SafetyLabels.validate(labels, lazy=True)
        labels.write_parquet(folder / "safety_labels.parquet")
    assert labels["label"].null_count() == 0, "every answer has a label"
    return time.perf_counter() - started


def side(script: Path, python: str, count: int, *options: str) -> float:
    """Microseconds a call of one side, in a process of its own."""
    done = subprocess.run(
        [python, str(script), "--questions", str(count), *options],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=300,
    )
    return 1e6 * float(done.stdout.strip().splitlines()[-1]) / (2 * count)


def main() -> int:
    """Measure both, print, and compare with the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="Python of an environment that has distilabel")
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        with tempfile.TemporaryDirectory() as folder:
            print(with_spavl(arguments.questions, Path(folder)))
        return 0
    if not arguments.python:
        parser.error("name the Python of an environment with distilabel: --python")
    here, count = Path(__file__), arguments.questions
    other = here.with_name("distilabel_side.py")
    both = {
        "spavl": side(here, sys.executable, count, "--here"),
        "distilabel": side(other, arguments.python, count),
        "distilabel_tuned": side(other, arguments.python, count, "--tuned"),
    }
    faster = both["distilabel"] / both["spavl"]
    if arguments.json:
        print(json.dumps({"microseconds_per_call": both, "times_faster": faster, "cores": os.cpu_count()}, indent=1))
    else:
        for name, took in both.items():
            print(f"{name:<18}{took:>8.0f} µs a call")
        print(f"{faster:.1f} times faster; target: {TARGET:.0f}")
    return 0 if faster >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
