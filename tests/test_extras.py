"""The core works without its extras, and what needs one says which."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement

from spavl_dag.errors import MissingExtraError
from spavl_dag.extras import EXTRAS, how_to_install, require_extra
from spavl_dag.inference.engines import ENGINES
from tests.conftest import CHECKOUT, Project

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


def modules(extra: str) -> set[str]:
    """Modules an extra brings, by its requirements and those of the extras in it."""
    found: set[str] = set()
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == PROJECT["name"]:
            found = found.union(*map(modules, requirement.extras))
        else:
            found.add(requirement.name.replace("-", "_"))
    return found


def without_extras(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where no module of an extra can be imported."""
    hidden = sorted({module for known in EXTRAS.values() for module in known})
    program = f"import sys; sys.modules.update(dict.fromkeys({hidden})); from spavl_dag.cli import main; main()"
    return project.run(sys.executable, "-c", program, *arguments, check=False)


@pytest.mark.parametrize("extra", EXTRAS)
def test_pyproject_brings_what_is_looked_for(extra: str):
    assert set(EXTRAS[extra]) == modules(extra)


def test_setup_brings_what_the_demo_needs():
    assert modules("transformers") | modules("train") | modules("ui") <= modules("dev")


def test_engines_have_no_extra_or_one_of_their_name():
    assert set(ENGINES) <= EXTRAS.keys() | {"openai", "scripted"}


def test_what_is_there_or_needs_nothing_is_fine():
    require_extra("transformers")
    require_extra("train")
    require_extra("openai")


def test_what_is_missing_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(EXTRAS, "vllm", ("torch", "vllm_of_another_age"))
    assert find_spec("vllm_of_another_age") is None
    with pytest.raises(MissingExtraError) as raised:
        require_extra("vllm")
    assert raised.value.message == "not installed: vllm_of_another_age; the extra 'vllm' brings them"
    assert "make setup EXTRAS=vllm" in how_to_install("vllm")
    assert "`make setup`" in how_to_install("train")


@pytest.mark.slow
def test_the_core_alone(fresh_project: Project):
    assert "spavl demo" in without_extras(fresh_project, "--help").stdout
    assert "models: 3" in without_extras(fresh_project, "params", "check").stdout
    states = json.loads(without_extras(fresh_project, "status", "--json").stdout)["artifacts"]
    assert {state["state"] for state in states} == {"missing"}
    done = without_extras(fresh_project, "run", "base_model")
    assert done.returncode == 1
    assert "the extra 'transformers' brings them" in done.stderr
    assert "Traceback" not in done.stderr
