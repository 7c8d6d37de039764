"""distilabel's side of `against_distilabel.py`, run by the Python of an environment that has it.

A script of its own, with its classes at its top: distilabel hands them to a process for each step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

ANSWER = "It stands beside the road in the morning light and casts a long shadow. " * 4


def questions(count: int) -> list[str]:
    """Distinct ones."""
    return [f"How far is thing {number} from the river in this picture?" for number in range(count)]


if __name__ != "distilabel_side":  # the other side takes the questions from here
    from distilabel.models.llms.base import LLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    class Scripted(LLM):  # type: ignore[misc]
        """Says one text, with what it was asked behind it, so that answers are distinct."""

        says: str

        @property
        def model_name(self) -> str:
            """Its name."""
            return "scripted"

        def generate(self, inputs: list[Any], num_generations: int = 1) -> list[dict[str, Any]]:
            """One text for each conversation."""
            return [
                {"generations": [f"{self.says} {given[-1]['content'][:60]}"] * num_generations, "statistics": {}}
                for given in inputs
            ]


def run(count: int, folder: Path, *, tuned: bool) -> float:
    """Seconds by the clock from questions in memory to rows on the disk."""
    data = [{"question": text} for text in questions(count)]
    options = {"input_batch_size": 1_000, "add_raw_input": False, "add_raw_output": False} if tuned else {}
    started = time.perf_counter()
    with Pipeline(name="benchmark", cache_dir=str(folder / "cache")) as pipeline:
        load = LoadDataFromDicts(data=data, batch_size=1_000)
        answer = TextGeneration(
            name="answer",
            llm=Scripted(says=ANSWER),
            input_mappings={"instruction": "question"},
            output_mappings={"generation": "answer", "model_name": "answered_by"},
            **options,
        )
        judge = TextGeneration(
            name="judge",
            llm=Scripted(says="safe"),
            template="{{ question }} {{ answer }} Is it safe?",
            columns=["question", "answer"],
            output_mappings={"generation": "verdict", "model_name": "judged_by"},
            **options,
        )
        load >> answer >> judge
    made = pipeline.run(use_cache=False)
    made.save_to_disk(str(folder / "saved"))
    verdicts = made["default"]["train"]["verdict"]
    assert len(verdicts) == count
    assert all(text.startswith("safe") for text in verdicts)
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, required=True)
    parser.add_argument("--tuned", action="store_true", help="large batches, and no raw inputs and outputs in its rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(run(arguments.questions, Path(place), tuned=arguments.tuned))
