"""What sets experiments apart: their parameters as flat names, as comparison tables and MLflow show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spavl_dag.params.training import Experiment

_NOT_A_CHOICE = ("label",)


def flat_params(params: Experiment) -> dict[str, Any]:
    """Every choice by dotted name (`hyperparameters.beta`); what is null or only a name for people is left out."""
    return {name: value for name, value in _flat(params.model_dump()) if name not in _NOT_A_CHOICE}


def differing_params(experiments: Mapping[str, Experiment]) -> dict[str, dict[str, Any]]:
    """Of each experiment, the choices in which the trained ones are not all alike.

    Args:
        experiments: By key; those of method `none` are trained by no choice and have no differences.
    """
    flat = {key: flat_params(params) for key, params in experiments.items() if params.method != "none"}
    names = {name for choices in flat.values() for name in choices}
    differing = sorted(
        name for name in names if any(c.get(name) != d.get(name) for c in flat.values() for d in flat.values())
    )
    return {
        key: {name: flat[key][name] for name in differing if name in flat[key]} if key in flat else {}
        for key in experiments
    }


def _flat(choices: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in choices.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value
