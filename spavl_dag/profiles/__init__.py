"""Params of real models, ready for a machine: `profiles.yaml`, and how a profile becomes params."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from spavl_dag.errors import ParamsError
from spavl_dag.training.library.library import list_entries
from spavl_dag.yamls import load_yaml

_FILE = Path(__file__).with_name("profiles.yaml")
_REPLACED = (
    "roles", "models", "base_model", "policy", "reward_model", "evaluation", "engines", "runtime", "experiments"
)  # fmt: skip
"""Sections in which nothing of the params before is left: they name models, or are about them."""

_STRONG_ROLES = ("keywords", "describer", "easy_question", "hard_question", "hard_statement")
_ANNOTATORS = ("annotator_joint", "annotator_harmlessness", "annotator_helpfulness")


def list_profiles() -> Mapping[str, str]:
    """What each profile is for, in a sentence, by its name."""
    return {name: profile["about"] for name, profile in _read().items() if name != "common"}


def with_profile(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Params with those of a profile.

    Args:
        params: Content of a params.yaml; what no profile speaks of (seed, taxonomy, questions …) stays.
        name: Of the profile.

    Raises:
        ParamsError: There is no such profile.
    """
    profiles = _read()
    if name not in list_profiles():
        close = difflib.get_close_matches(name, list_profiles(), n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(list_profiles())}."
        raise ParamsError(f"there is no profile '{name}'", hint)
    own = deepcopy(profiles[name])
    made = _merged(profiles["common"], {key: value for key, value in own.items() if key not in ("about", "strong")})
    for role in (*_STRONG_ROLES, *_ANNOTATORS):
        made["roles"][role] = {"model": own["strong"], **made["roles"][role]}
    each = made.pop("each_model")
    made["models"] = {key: each | entry for key, entry in made["models"].items()}
    library = {entry.name: entry.raw for entry in list_entries()}
    made["experiments"] = {key: dict(library[key]) for key in own["experiments"]}
    evaluation = params["evaluation"]
    made["evaluation"] = {key: evaluation[key] for key in ("interval", "folder")} | made["evaluation"]
    kept = {key: value for key, value in params.items() if key not in _REPLACED}
    return _merged(kept, made)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both, key by key; the other's where both say something."""
    found = dict(deepcopy(dict(one)))
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _merged(found[key], value) if both else deepcopy(value)
    return found


@cache
def _read() -> Mapping[str, Any]:
    content: Mapping[str, Any] = load_yaml(_FILE.read_text(encoding="utf-8"))
    return content
