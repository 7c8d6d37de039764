"""Metrics and sources of the params, known before anything was asked."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from spavl_dag.evaluation.checks import evaluation_problems
from spavl_dag.params.load import parse_params
from spavl_dag.yamls import load_yaml
from tests.conftest import CHECKOUT

DEFAULT: dict[str, Any] = load_yaml((CHECKOUT / "params.yaml").read_text())


def problems(**gate: list[str]) -> list[str]:
    params = copy.deepcopy(DEFAULT)
    params["evaluation"]["gate"] |= gate
    return [str(problem) for problem in evaluation_problems(parse_params(params, CHECKOUT))]


@pytest.mark.parametrize(
    "gate",
    [
        {"safety": ["harm_eval/unsafe_rate/judge:base_model", "advbench/attack_success_rate/suffix"]},
        {"safety": ["advbench/attack_success_rate/suffix/refusal_keywords", "harm_eval", "mm_safetybench"]},
        {"capability": ["pope/f1", "vqa"], "over_refusal": ["xstest"]},
        {"safety": [], "capability": [], "over_refusal": []},
    ],
)
def test_names_that_stand_for_metrics_are_no_problem(gate: dict[str, list[str]]) -> None:
    assert problems(**gate) == []


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"safety": ["harm_eval/unsaferate"]}, "gives 'harm_eval/unsaferate'; there are harm_eval/unsafe_rate"),
        ({"safety": ["harm_eva"]}, "gives 'harm_eva'"),
        ({"safety": ["harm_eval/unsafe_rate/pairwise:base_model"]}, "gives 'harm_eval/unsafe_rate/pairwise"),
        ({"safety": ["pope/accuracy"]}, "'pope/accuracy' stands for accuracy, of which lower isn't better"),
        ({"capability": ["pope"]}, "stands for yes_rate, of which higher isn't better"),
        ({"capability": ["help_eval/win_rate"]}, "win_rate, which has no difference from the baseline"),
    ],
)
def test_names_that_stand_for_none_are_told(gate: dict[str, list[str]], told: str) -> None:
    (path,) = gate
    found = problems(**gate)
    assert any(told in line and f"evaluation.gate.{path}" in line for line in found), found


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("harm_eval", {"source": "pictograms"}, "it can't be had from 'pictograms'; use dataset or hub"),
        ("figstep", {"source": "hub", "hub": "a/b"}, "it can't be had from 'hub'; use pictograms or folder"),
        ("vqa", {"source": "dataset"}, "it can't be had from 'dataset'; use pictograms or folder or hub"),
    ],
)
def test_a_source_that_a_benchmark_has_not_is_told(name: str, settings: dict[str, Any], told: str) -> None:
    params = copy.deepcopy(DEFAULT)
    params["evaluation"]["benchmarks"][name] = settings | {"max_new_tokens": 8}
    (found,) = evaluation_problems(parse_params(params, CHECKOUT))
    assert str(found) == f"  evaluation.benchmarks.{name}.source: {told}"
