"""`dvc exp run -S KEY=VALUE` for every value of params.yaml, by DVC's own code: it changes this one and no other."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest

from spavl_dag.params.load import parse_params
from spavl_dag.yamls import load_yaml, shared_places
from tests.conftest import CHECKOUT
from tests.dvc_python import run_in_dvc
from tests.params.test_load import DEFAULT, leaves

TEXT = (CHECKOUT / "params.yaml").read_text()

# Writes each text to a params.yaml, overrides as `dvc exp run` does, and prints what DVC then reads and the text.
OVERRIDE = """
import json, pathlib, sys, tempfile
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml
done = []
with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "params.yaml"
    for text, overrides in json.load(sys.stdin):
        file.write_text(text, encoding="utf-8")
        apply_overrides(file, overrides)
        done.append([load_yaml(str(file)), file.read_text(encoding="utf-8")])
print(json.dumps(done))
"""

OTHER_TEXTS = ["no", "on", "052", "1:30", "a new text", "2020-01-01"]
"""Texts that YAML 1.1 takes for something else, and one that it doesn't."""


CLOSED = ("source", "image", "mode")
"""Words of a closed list. They stand between braces, where DVC writes texts with a `:` as it can't read them again."""


def other_value(key: str, value: Any, number: int) -> tuple[str, Any]:
    """Another value of the same kind, as -S takes it and as it is read."""
    match value:
        case bool():
            return json.dumps(not value), not value
        case int() | float():
            return json.dumps(value + 1), value + 1
        case list():
            return "[other/metric,another]", ["other/metric", "another"]
        case _:
            text = "no" if key in CLOSED else OTHER_TEXTS[number % len(OTHER_TEXTS)]
            return f"'{text}'", text


LEAVES = dict(leaves(DEFAULT))
SET = {path: other_value(path[-1], value, number) for number, (path, value) in enumerate(LEAVES.items())}


def argument(path: tuple[str, ...]) -> str:
    return f"{'.'.join(path)}={SET[path][0]}"


def sections() -> dict[str, str]:
    """The text of each section by its name: DVC takes a fifth of a second for the whole file."""
    found: dict[str, str] = {}
    for line in TEXT.splitlines(keepends=True):
        if not line.startswith((" ", "#", "\n")):
            found[line.split(":")[0]] = ""
        if found:
            found[next(reversed(found))] += line
    return found


@pytest.mark.slow
@pytest.mark.parametrize("section", DEFAULT)
def test_every_value_can_be_set_alone(section: str) -> None:
    text, paths = sections()[section], [path for path in LEAVES if path[0] == section]
    before = dict(leaves(load_yaml(text)))
    assert list(before) == paths
    for path, (theirs, after) in zip(paths, run_in_dvc(OVERRIDE, [[text, [argument(p)]] for p in paths]), strict=True):
        ours = load_yaml(after)
        assert ours == theirs
        assert dict(leaves(ours)) == before | {path: SET[path][1]}
        lines = [line for line in difflib.ndiff(text.splitlines(), after.splitlines()) if line[0] in "+-"]
        if not isinstance(LEAVES[path], list):
            assert [line[0] for line in lines] == ["-", "+"], f"{argument(path)} changes other lines: {lines}"


def test_all_values_can_be_set_at_once() -> None:
    ((theirs, after),) = run_in_dvc(OVERRIDE, [[TEXT, [argument(path) for path in LEAVES]]])
    ours = load_yaml(after)
    assert ours == theirs
    assert dict(leaves(ours)) == {path: value for path, (_, value) in SET.items()}


def test_a_set_value_is_what_the_project_uses() -> None:
    wanted = {
        "experiments.dpo.hyperparameters.beta": ("0.3", 0.3),
        "experiments.dpo_25.optimizer.learning_rate": ("5e-05", 5e-5),
        "models.none_hot.decoding.temperature": ("0.25", 0.25),
        "models.none_hot.label": ("no", "no"),
        "seed": ("7", 7),
    }
    cases = [[TEXT, [f"{key}={given}"]] for key, (given, _) in wanted.items()]
    cases.append([TEXT, ["+base_model.recipe.joint_steps=5", "+experiments.dpo.revision='12e3456'"]])
    *each, (_, added) = run_in_dvc(OVERRIDE, cases)
    for (key, (_, value)), (_, after) in zip(wanted.items(), each, strict=True):
        found = parse_params(load_yaml(after), CHECKOUT).model_dump()
        for part in key.split("."):
            found = found[part]
        assert found == value
    params = parse_params(load_yaml(added), CHECKOUT)
    assert params.base_model.recipe.joint_steps == 5
    assert params.experiments["dpo"].revision == "12e3456"


def test_nothing_in_params_is_shared_or_empty() -> None:
    assert shared_places(TEXT) == []
    assert all(value != {} for value in LEAVES.values())
