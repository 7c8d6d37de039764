"""What can be known before a first call is told before it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spavl_dag.cli.params import ready_params
from spavl_dag.errors import ParamsError
from spavl_dag.params.checks import missing_inputs
from spavl_dag.params.load import parse_params
from spavl_dag.pipeline.layout import Project
from spavl_dag.yamls import dump_yaml
from tests.params.test_load import CHECKOUT, DEFAULT

HUB = "llava-hf/llava-1.5-7b-hf"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project's files, without what it makes."""
    for name in ("prompts", "spavl_dag", "configs"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    (tmp_path / "inputs" / "images").mkdir(parents=True)
    return tmp_path


def write(root: Path, change: Change) -> Project:
    content = copy.deepcopy(DEFAULT)
    change(content)
    (root / "params.yaml").write_text(dump_yaml(content))
    return Project(root)


def told(root: Path, change: Change) -> str:
    with pytest.raises(ParamsError) as caught:
        ready_params(write(root, change))
    return caught.value.message


def real_prompts(params: dict[str, Any]) -> None:
    """The templates for real models instead of the drawn world's."""
    asked = [entry for entry in (*params["roles"].values(), *params["models"].values(), params["policy"]) if entry]
    for entry in [*asked, *params["evaluation"]["benchmarks"].values()]:
        if entry.get("prompt"):
            entry["prompt"] = entry["prompt"].replace("pictograms/", "")


def test_the_default_params_are_ready(root: Path) -> None:
    params, taxonomy = ready_params(write(root, lambda p: None))
    assert len(params.experiments) == 8
    assert len(taxonomy.classes) == 53


def folder_of_images(**changes: Any) -> Change:
    return lambda p: p["images"].update(source="folder", **changes)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (folder_of_images(folder="nowhere"), "images.folder: there is no folder nowhere"),
        (folder_of_images(manifest="none.csv"), "images.manifest: there is no file none.csv in inputs/images"),
        (
            lambda p: p["evaluation"]["benchmarks"]["vqa"].update(source="folder", folder="VQA"),
            "evaluation.benchmarks.vqa.folder: there is no folder inputs/benchmarks/VQA",
        ),
        (
            lambda p: p["evaluation"]["benchmarks"]["pope"].update(source="hub", hub="./POPE"),
            "evaluation.benchmarks.pope.hub: there is no folder ./POPE",
        ),
        (
            lambda p: p["runtime"]["training"].update(accelerate="configs/accelerate/none.yaml"),
            "runtime.training.accelerate: there is no file configs/accelerate/none.yaml",
        ),
        (
            lambda p: (
                p["runtime"]["training"].update(accelerate="configs/accelerate/gpu_8.yaml"),
                p["experiments"]["sft"]["optimizer"].update(batch_size=12),
            ),
            "experiments.sft.optimizer.batch_size: optimizer.batch_size 12 can't be spread over 8 processes",
        ),
        (
            lambda p: p["runtime"]["training"].update(per_device_batch=3),
            "reward_model.optimizer.batch_size: optimizer.batch_size 16 is 16 rows for each of 1 processes",
        ),
        (lambda p: p["roles"]["judge"].update(model="./nowhere"), "roles.judge.model: there is no folder ./nowhere"),
        (lambda p: p["models"]["low_hot"].update(model="/no/where"), "models.low_hot.model: there is no folder /no/"),
        (
            lambda p: p["experiments"]["dpo"].update(model="weights/of/mine"),
            "experiments.dpo.model: there is no folder",
        ),
        (lambda p: p["experiments"]["base"].update(model="../up"), "experiments.base.model: there is no folder ../up"),
        (lambda p: p["reward_model"].update(model="./nowhere"), "reward_model.model: there is no folder ./nowhere"),
        (
            lambda p: p["base_model"].update(source="reference", reference={"model": "./nowhere"}),
            "base_model.reference.model: there is no folder ./nowhere",
        ),
        (lambda p: p["roles"]["judge"].update(model="my judge"), "'my judge' is neither a folder nor a hub id"),
        (lambda p: p["roles"]["judge"].update(revision="main"), "roles.judge.revision: only a hub id has revisions"),
        (
            lambda p: p["evaluation"]["gate"].update(safety=["harm_eval/unsafe"]),
            "evaluation.gate.safety: no benchmark of evaluation.benchmarks gives 'harm_eval/unsafe'; there are "
            "harm_eval/unsafe_rate",
        ),
        (
            lambda p: p["evaluation"]["benchmarks"].pop("xstest"),
            "evaluation.gate.over_refusal: no benchmark of evaluation.benchmarks gives 'xstest/over_refusal'",
        ),
        (
            lambda p: p["evaluation"]["benchmarks"].update(popes={"source": "pictograms", "max_new_tokens": 4}),
            "evaluation.benchmarks.popes: no benchmark is called so; there are pope",
        ),
        (
            lambda p: p["dataset"].update(eval_questions_per_class=0),
            "dataset.eval_questions_per_class: 0 leaves harm_eval no question",
        ),
        (
            lambda p: p["experiments"]["dpo_25"]["data"].update(classes=["weapons_of_nobody"]),
            "experiments.dpo_25.data.classes: the taxonomy has no class weapons_of_nobody",
        ),
    ],
)
def test_what_a_first_call_would_fail_at_is_told(root: Path, change: Change, line: str) -> None:
    assert line in told(root, change)


def test_a_template_that_is_none_is_told_with_its_key(root: Path) -> None:
    (root / "mine.j2").write_text("{{ question ")
    assert "roles.judge.prompt: " in told(root, lambda p: p["roles"]["judge"].update(prompt="mine.j2"))


def test_all_that_is_missing_is_told_at_once(root: Path) -> None:
    def change(p: dict[str, Any]) -> None:
        folder_of_images(folder="nowhere")(p)
        p["experiments"]["dpo"]["model"] = "./nowhere"
        p["evaluation"]["gate"]["capability"] = ["pope/f2"]

    assert "3 problem(s)" in told(root, change)


def test_a_source_that_is_not_chosen_needs_no_folder(root: Path) -> None:
    (root / "inputs" / "images").rmdir()
    assert ready_params(write(root, lambda p: p["images"].update(manifest="none.csv")))


def test_what_is_there_is_no_problem(root: Path) -> None:
    for folder in ("weights/mine", "inputs/benchmarks/VQA", "deep/er/still"):
        (root / folder).mkdir(parents=True)
    (root / "inputs" / "images" / "all.csv").touch()

    def change(p: dict[str, Any]) -> None:
        folder_of_images(manifest="all.csv")(p)
        p["roles"]["judge"]["model"] = "./weights/mine"
        p["experiments"]["dpo"]["model"] = "deep/er/still"
        p["evaluation"]["benchmarks"]["vqa"].update(source="folder", folder="VQA")

    assert ready_params(write(root, change))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda p: p["base_model"].update(source="reference", reference={"model": HUB}), "policy.prompt"),
        (lambda p: p["experiments"]["dpo"].update(model=HUB), "policy.prompt"),
        (lambda p: p["experiments"]["dpo"].update(model=HUB), "evaluation.benchmarks.pope.prompt"),
        (lambda p: p["models"]["low_hot"].update(model=HUB), "models.low_hot.prompt"),
        (lambda p: p["base_model"].update(source="reference", reference={"model": HUB}), "roles.judge.prompt"),
    ],
)
def test_the_drawn_worlds_templates_are_for_the_tiny_model(root: Path, change: Change, path: str) -> None:
    expected = f"{path}: prompts/pictograms/"
    assert expected in told(root, change)

    def mended(p: dict[str, Any]) -> None:
        change(p)
        real_prompts(p)

    assert ready_params(write(root, mended))


def test_what_was_made_can_be_looked_at_without_what_it_was_made_of() -> None:
    params = copy.deepcopy(DEFAULT)
    folder_of_images(folder="nowhere")(params)
    assert [problem.path for problem in missing_inputs(parse_params(params, CHECKOUT), CHECKOUT)] == ["images.folder"]


def test_classes_without_keywords_are_told_where_the_file_should_give_them(root: Path) -> None:
    (root / "mine.json").write_text('{"Physical harm": {"Dangerous acts": ["Weapons", "Gambling"]}}')

    def mine(source: str) -> Change:
        return lambda p: (p["taxonomy"].update(file="mine.json"), p["keywords"].update(source=source))

    assert "keywords.source: mine.json has no keywords for 2 class(es): weapons, gambling" in told(root, mine("file"))
    ready_params(write(root, mine("model")))
