"""The preference dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from spavl_dag.integrations.huggingface.export import write_card, write_dataset_files
from spavl_dag.params.models import BASE_MODEL, ModelEntry
from spavl_dag.params.sections import DatasetParams, PreferenceParams
from spavl_dag.pipeline.declaration import Check, asset
from spavl_dag.pipeline.inputs import AllPartitions, OutputFolder, Params, Pictures, ScriptedEntries, Seed, Table
from spavl_dag.pipeline.result import Result, Summary
from spavl_dag.pipeline.rules import (
    classes_known,
    few_eval_questions,
    in_two_splits,
    nothing_to_train_on,
    trained_and_evaluated,
)
from spavl_dag.preview import bar_chart
from spavl_dag.report.data_card import CardFacts, data_card
from spavl_dag.report.statistics import CardTables, dataset_statistics, flat_metrics
from spavl_dag.schemas import (
    DatasetRows,
    Images,
    MissingPairs,
    MissingQuestions,
    Preferences,
    Questions,
    SafetyGroups,
    SafetyLabels,
    UndecidedPairs,
    Verdicts,
)
from spavl_dag.steps.dataset import build_dataset, left_out
from spavl_dag.taxonomy import Taxonomy


@dataclass
class Choices:
    """What the data card says of how the dataset was made."""

    models: Annotated[Mapping[str, ModelEntry], Params("models")]
    base_model: Annotated[str, Params("base_model.source")]
    images: Annotated[str, Params("images.source")]
    near_duplicate_distance: Annotated[int, Params("images.near_duplicate_distance")]
    judge: Annotated[str, Params("roles.judge.model")]
    judge_sees_image: Annotated[bool, Params("safety_labels.sees_image")]
    preferences: Annotated[PreferenceParams, Params("preferences")]

    scripted: ScriptedEntries

    @property
    def facts(self) -> CardFacts:
        """As the card takes them."""
        tiny = self.base_model == "pictograms"
        return CardFacts(
            image_source=self.images,
            models={key: entry.label or key for key, entry in self.models.items()},
            simulated={key for key, entry in self.models.items() if tiny and entry.model == BASE_MODEL},
            judge=self.judge,
            judge_sees_image=self.judge_sees_image,
            criteria=self.preferences.asked,
            near_duplicate_distance=self.near_duplicate_distance,
            scripted=self.scripted,
        )


def _summary(made: Result[DatasetRows]) -> Summary:
    statistics = made.documents["statistics.json"]
    return Summary(
        {"splits": bar_chart(statistics["splits"], "Rows per split", "rows")},
        flat_metrics(statistics),
        columns=["row_id", "split", "class_id", "chosen", "rejected"],
    )


@asset(
    group_name="dataset",
    kinds={"huggingface", "polars"},
    checks=[
        classes_known("dataset"),
        Check("rows_to_train_on", "There are training rows.", nothing_to_train_on),
        Check("no_image_in_two_splits", "No image is in two splits.", in_two_splits("image_id")),
        Check(
            "no_near_duplicate_in_two_splits",
            "No two images that look alike are in two splits.",
            in_two_splits("near_duplicate_group"),
        ),
        Check(
            "no_question_in_training_and_evaluation",
            "No evaluation question is asked, word for word, in training.",
            trained_and_evaluated,
        ),
        Check(
            "enough_eval_questions", "Every class has its HarmEval and HelpEval questions.", few_eval_questions, "warn"
        ),
    ],
    summary=_summary,
)
def dataset(
    preferences: Table[Preferences],
    verdicts: Table[Verdicts],
    undecided: Table[UndecidedPairs],
    missing_pairs: Table[MissingPairs],
    groups: Table[SafetyGroups],
    questions: Table[Questions],
    missing_questions: Table[MissingQuestions],
    images: Table[Images],
    pictures: Pictures[Images],
    labels: AllPartitions[SafetyLabels],
    taxonomy: Taxonomy,
    settings: Annotated[DatasetParams, Params("dataset")],
    choices: Choices,
    seed: Seed,
    output: OutputFolder,
) -> Result[DatasetRows]:
    """The dataset: splits by image, Hugging Face files, trainer JSON, statistics and data card."""
    rows = build_dataset(preferences, verdicts, groups, questions, images, labels, taxonomy, settings, seed)
    converted = write_dataset_files(rows, pictures, output)
    statistics = dataset_statistics(
        CardTables(
            dataset=rows,
            images=images,
            questions=questions,
            missing_questions=missing_questions,
            labels=labels,
            groups=groups,
            verdicts=verdicts,
            preferences=preferences,
            undecided=undecided,
            missing_pairs=missing_pairs,
            left_out=left_out(questions, images, rows, settings, seed),
            converted_images=converted,
        )
    )
    statistics["simulated_models"] = sorted(choices.facts.simulated)
    if choices.scripted:
        statistics["scripted"] = choices.scripted
    card = data_card(statistics, taxonomy, choices.facts)
    write_card(card, output)
    return Result(rows, documents={"statistics.json": statistics})
