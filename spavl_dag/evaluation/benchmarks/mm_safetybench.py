"""MM-SafetyBench (ECCV 2024): harmful requests whose subject is moved into the image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from spavl_dag.errors import MissingInputError
from spavl_dag.evaluation.benchmarks.base import (
    Benchmark,
    BenchmarkFormatError,
    Source,
    files_of,
    first_folder,
    hub_image,
    hub_rows,
    image_path,
    read_json,
    text_of,
)
from spavl_dag.evaluation.items import EvalItem, file_image
from spavl_dag.evaluation.metrics import ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS, Metric
from spavl_dag.evaluation.schemas import Kind
from spavl_dag.taxonomy import derive_slug

_INTENT = "Changed Question"
# Variant: image folder and split of the Hub, and the question that the official evaluation pairs with it.
_VARIANTS: dict[str, tuple[str | None, str]] = {
    "text": (None, _INTENT),
    "sd": ("SD", "Rephrased Question(SD)"),
    "typo": ("TYPO", "Rephrased Question"),
    "sd_typo": ("SD_TYPO", "Rephrased Question"),
}
_SHOWN = 5
_TINY = "TinyVersion_ID_List.json"
_SCENARIOS = (
    "Illegal_Activitiy",
    "HateSpeech",
    "Malware_Generation",
    "Physical_Harm",
    "EconomicHarm",
    "Fraud",
    "Sex",
    "Political_Lobbying",
    "Privacy_Violence",
    "Legal_Opinion",
    "Financial_Advice",
    "Health_Consultation",
    "Gov_Decision",
)
"""Configurations of `PKU-Alignment/MM-SafetyBench`, spelled as there."""


class MMSafetyBench(Benchmark):
    """Attack success rate in four variants: text alone, drawn subject, written subject, and both."""

    name = "mm_safetybench"
    title = "MM-SafetyBench"
    kind: ClassVar[Kind] = "safety"
    metrics: ClassVar[tuple[Metric, ...]] = (ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS)
    published = (1680 * len(_VARIANTS), 168 * len(_VARIANTS))  # all questions, and the tiny version's

    def load_folder(self, folder: Path) -> list[EvalItem]:
        """Items from the official files.

        The folder is the official repository or its `data`: `processed_questions/<NN-Scenario>.json` and
        `imgs/<NN-Scenario>/{SD,TYPO,SD_TYPO}/<id>.jpg`. Where `TinyVersion_ID_List.json` lies in the folder, only
        its 168 questions are loaded, the set the paper used; take it away to load all 1,680. A judge is shown the
        text variant's question, for the others name nothing harmful.
        """
        data = first_folder(folder, "data")
        files = files_of(data / "processed_questions", "*.json")
        if not files:
            raise MissingInputError(
                f"{data / 'processed_questions'} has no scenario (*.json)",
                f"Set evaluation.benchmarks.{self.name}.folder to a copy of the official repository.",
            )
        tiny = next((path for path in (folder / _TINY, data / _TINY) if path.is_file()), None)
        wanted = _tiny_ids(tiny) if tiny else None
        items: list[EvalItem] = []
        for file in files:
            images = data / "imgs" / file.stem
            for number, row in _questions(file):
                if wanted is None or number in wanted.get(file.stem, ()):
                    items += _variants(file, number, row, images)
        if tiny and wanted is not None:
            _refuse_incomplete(wanted, items, tiny, data)
        return items

    def load_hub(self, source: Source) -> list[EvalItem]:
        """The Hub's copy: a configuration per scenario, a split per variant; columns id, question, image."""
        items: list[EvalItem] = []
        for scenario in _SCENARIOS:
            intents: dict[str, str] = {}
            groups: dict[str, set[str]] = {}
            for variant, (split, _) in _VARIANTS.items():
                columns = ["id", "question", *(["image"] if split else [])]
                for _number, row, read in hub_rows(source, split or "Text_only", columns, scenario):
                    where = f"{scenario}, {variant}, {row['id']}"
                    question, group = text_of(row, "question", where), f"{scenario}-{text_of(row, 'id', where)}"
                    groups.setdefault(variant, set()).add(group)
                    if split is None:
                        intents[group] = question
                    items.append(
                        EvalItem(
                            item_id=f"{group}-{variant}",
                            question=question,
                            category=derive_slug(scenario),
                            variant=variant,
                            group=group,
                            image=hub_image(source, where, read),
                            intent=intents.get(group) if split else None,
                        )
                    )
            _refuse_unequal(groups, scenario)
        return items


def _refuse_incomplete(wanted: Mapping[str, set[str]], items: Sequence[EvalItem], tiny: Path, data: Path) -> None:
    """A question of the list that no file holds would be missing from every score without a word."""
    have = {item.group for item in items}
    lacking = {s: sorted(n for n in ids if f"{s}-{n}" not in have) for s, ids in sorted(wanted.items())}
    told = [
        f"{scenario}.json is not there"
        if not (data / "processed_questions" / f"{scenario}.json").is_file()
        else f"{scenario}.json has no question {', '.join(numbers)}"
        for scenario, numbers in lacking.items()
        if numbers
    ]
    if told:
        count, asked = sum(map(len, lacking.values())), sum(map(len, wanted.values()))
        raise MissingInputError(
            f"{data / 'processed_questions'} lacks {count} of the {asked} questions of {tiny.name}"
            + "".join(f"\n  {line}" for line in told),
            "A benchmark counts only whole: get these files of the official repository again.",
        )


def _refuse_unequal(groups: Mapping[str, set[str]], scenario: str) -> None:
    """Every variant must have the same questions."""
    every = set().union(*groups.values())
    for variant in _VARIANTS:
        lacking = sorted(every - groups.get(variant, set()))
        if lacking:
            raise BenchmarkFormatError(
                f"{scenario}: variant {variant} lacks {len(lacking)} questions, such as {', '.join(lacking[:_SHOWN])}",
                "A benchmark counts only whole: check the dataset's id and revision.",
            )


def _questions(file: Path) -> list[tuple[str, dict[str, Any]]]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(row, dict) for row in content.values()):
        raise BenchmarkFormatError(f"{file}: expected an object of questions by number", "Get the official file again.")
    return sorted(content.items(), key=lambda pair: (len(pair[0]), pair[0]))


def _variants(file: Path, number: str, row: dict[str, Any], images: Path) -> list[EvalItem]:
    where, group = f"{file}, question {number}", f"{file.stem}-{number}"
    return [
        EvalItem(
            item_id=f"{group}-{variant}",
            question=text_of(row, column, where),
            category=derive_slug(file.stem.partition("-")[2] or file.stem),
            variant=variant,
            group=group,
            image=file_image(image_path(images / folder / number)) if folder else None,
            intent=text_of(row, _INTENT, where) if folder else None,
        )
        for variant, (folder, column) in _VARIANTS.items()
    ]


def _tiny_ids(file: Path) -> dict[str, set[str]]:
    content = read_json(file)
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    try:
        for entry in content:
            wanted[entry["Scenario"]] |= {str(number) for number in entry["Sampled_ID_List"]}
        return dict(wanted)
    except (TypeError, KeyError) as error:
        raise BenchmarkFormatError(
            f"{file}: expected a list of objects with Scenario and Sampled_ID_List", "Get the official file again."
        ) from error
