"""params.yaml: what is refused, and what the refusal says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from spavl_dag.params.project import load_params, parse_params

from spavl_dag.errors import ParamsError

ROOT = Path(__file__).resolve().parent.parent
DEFAULT: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


def refused(change: Callable[[dict[str, Any]], object]) -> str:
    """The message with which changed params are refused."""
    params = copy.deepcopy(DEFAULT)
    change(params)
    with pytest.raises(ParamsError) as caught:
        parse_params(params, ROOT)
    return caught.value.message


def test_the_default_params_are_fine():
    params = load_params(ROOT / "params.yaml")
    assert len(params.models) == 12
    assert len({path for path, _ in params.entries()}) == 22


def test_a_typo_is_named_with_its_path_and_the_right_word():
    message = refused(lambda p: p["models"]["high_hot"]["decoding"].update(temprature=1))
    assert "models.high_hot.decoding.temprature: unknown key; did you mean 'temperature'?" in message


def test_a_typo_at_the_top_is_named():
    assert "sede: unknown key; did you mean 'seed'?" in refused(lambda p: p.update(sede=1))


def test_all_problems_are_told_at_once():
    def change(p: dict[str, Any]) -> None:
        del p["seed"]
        p["images"]["per_class"] = "many"
        p["pairs"]["strategy"] = "best"

    message = refused(change)
    assert "3 problem(s)" in message
    assert "seed: missing; every choice that changes a result must be stated" in message
    assert "images.per_class" in message
    assert "'many'" in message
    assert "pairs.strategy" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p["models"].update({"a.b": p["models"]["high_hot"]}), "models.a.b: a key is a slug"),
        (lambda p: p.update(models={"one": p["models"]["high_hot"]}), "between 2 and 99 are needed"),
        (lambda p: p["safety_groups"].update(count=13), "13 groups need as many models"),
        (lambda p: p["safety_groups"].update(method="thresholds"), "needs 4 falling rates"),
        (
            lambda p: p["safety_groups"].update(method="thresholds", thresholds=[0.1, 0.5, 0.6, 0.9]),
            "needs 4 falling rates",
        ),
        (lambda p: p["safety_groups"].update(method="membership"), "needs a group from 1 to 5"),
        (
            lambda p: p["safety_groups"].update(method="membership", membership={"nobody": 1}),
            "must name each key of models once",
        ),
        (lambda p: p["roles"]["judge"].update(prompt="prompts/none.j2"), "there is no file prompts/none.j2"),
        (lambda p: p["roles"]["judge"].update(model="./nowhere"), "there is no folder ./nowhere"),
        (lambda p: p["roles"]["judge"].update(engine="vllm"), "roles.judge.engine"),
        (lambda p: p["base_model"].update(source="reference"), "reference.model must name"),
        (lambda p: p["taxonomy"].update(file="none.yaml"), "there is no file none.yaml"),
        (lambda p: p["dataset"].update(validation_share=1.0), "dataset.validation_share"),
        (lambda p: p["roles"].pop("judge"), "roles.judge: missing"),
    ],
)
def test_impossible_params_are_refused(change: Callable[[dict[str, Any]], object], told: str):
    assert told in refused(change)


@pytest.mark.parametrize("content", ["- a\n- b\n", "", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str):
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParamsError):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_and_bytes_that_are_no_text_are_refused(tmp_path: Path):
    with pytest.raises(ParamsError, match="is not there"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(ParamsError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")


def test_more_models_than_dagster_follows_are_refused():
    message = refused(lambda p: p.update(models={f"m{i}": p["models"]["high_hot"] for i in range(100)}))
    assert "100 entries; between 2 and 99" in message
