"""The library of experiments: every entry is sound, and adding some changes nothing else in params.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spavl_dag.errors import ParamsError
from spavl_dag.params.training import LoraParams, RewardModelParams, TrainedExperiment, read_experiment
from spavl_dag.report.differences import differing_params
from spavl_dag.training.library.library import _FOLDER, add_to_params, list_entries, with_entries
from spavl_dag.yamls import load_yaml, shared_places
from tests.conftest import CHECKOUT

BY_NAME = {entry.name: entry for entry in list_entries()}
PARAMS = """# top
seed: 1

experiments: # the checkpoints
  base: # as it is
    method: none
    model: base_model
    label: "a: # no comment"

# about evaluation
evaluation: {baseline: base}
"""


def test_names_are_unique_and_the_papers_ablations_are_there() -> None:
    assert len(BY_NAME) == len(list_entries()) > 40
    assert {
        f"paper_{m}_{n}" for m in ("dpo", "ppo") for n in ("100", "1k", "5k", "10k", "30k", "90k")
    } <= BY_NAME.keys()
    for world in ("paper", "tiny"):
        kinds = ("easy", "hard", "statement", "mixed", "safe_sources", "relatively_safe_sources", "unsafe_sources")
        assert {f"{world}_dpo_{kind}" for kind in (*kinds, "all_sources", "lora", "frozen_projector")} <= BY_NAME.keys()


def test_hyper_parameters_are_the_papers() -> None:
    entries = {name: BY_NAME[f"paper_{name}"].params for name in ("dpo", "dpo_lora", "ppo", "ppo_lora")}
    trained = {name: entry for name, entry in entries.items() if isinstance(entry, TrainedExperiment)}
    assert {name: entry.optimizer.learning_rate for name, entry in trained.items()} == {
        "dpo": 1e-6,
        "dpo_lora": 2e-5,
        "ppo": 5e-7,
        "ppo_lora": 1e-6,
    }
    assert trained["dpo_lora"].tuning.lora == LoraParams(rank=256, alpha=512)


@pytest.mark.parametrize("file", sorted(_FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_entries_are_written_out(file: Path) -> None:
    assert shared_places(file.read_text()) == []


def test_the_reward_model_that_paper_yaml_names_is_one() -> None:
    text = (_FOLDER / "paper.yaml").read_text()
    block = re.search(r"^# reward_model:\n(?:#   .*\n)+", text, re.MULTILINE)
    assert block
    stated = load_yaml(re.sub(r"^# ?", "", block[0], flags=re.MULTILINE))
    assert RewardModelParams.model_validate(stated["reward_model"]).optimizer.learning_rate == 3e-5


@pytest.mark.parametrize("method", ["dpo", "ppo"])
def test_tiny_entries_train_as_the_default_params_do(method: str) -> None:
    experiments = load_yaml((CHECKOUT / "params.yaml").read_text())["experiments"]
    assert BY_NAME[f"tiny_{method}"].params == read_experiment(experiments[method])


def test_ablations_differ_in_what_they_are_named_after() -> None:
    differing = differing_params({name: BY_NAME[name].params for name in ("paper_base", "tiny_dpo", "tiny_dpo_25")})
    assert differing == {"paper_base": {}, "tiny_dpo": {}, "tiny_dpo_25": {"data.pairs": 25}}


# What may stand around and in the section, in any order.
GAPS = st.sampled_from(["", "\n", "# a comment\n", "\n# one\n\n# two\n"])
INSIDE = st.sampled_from(["", "{i}# inside\n", "\n", "# at the margin\n"])
OTHERS = st.lists(
    st.sampled_from(["seed: 1\n", "x: {a: [1, 2]}\n", "text: |\n  experiments:\n    a: 1\n"]), unique=True
)


@given(
    before=OTHERS,
    gap=GAPS,
    inside=INSIDE,
    indent=st.integers(1, 4),
    after=st.sampled_from(["", "evaluation: {baseline: base}\n", "runtime:\n  a: 1 # last"]),
    names=st.lists(st.sampled_from(sorted(BY_NAME)), min_size=1, max_size=3, unique=True),
    newline=st.sampled_from(["\n", "\r\n"]),
    cut=st.booleans(),
)
@settings(max_examples=60)
def test_only_the_added_entries_are_new(
    before: list[str], gap: str, inside: str, indent: int, after: str, names: list[str], newline: str, cut: bool
) -> None:
    i = " " * indent
    section = f"experiments: # all\n{i}base:\n{i}  method: none\n{inside.format(i=i)}{i}  model: 'm # n'\n"
    text = "".join([*before, gap, section, gap, after])
    text = (text.rstrip("\n") if cut else text).replace("\n", newline)
    result = with_entries(text, [BY_NAME[name] for name in names])
    old, new = load_yaml(text), load_yaml(result)
    added = {name: new["experiments"].pop(name) for name in names}
    assert new == old
    assert list(added.values()) == [BY_NAME[name].raw for name in names]
    # Everything that was there is there, in one piece before and one behind what was added.
    head = next(k for k in range(len(text), -1, -1) if result.startswith(text[:k]) and result.endswith(text[k:]))
    assert result[:head] + result[len(result) - (len(text) - head) :] == text
    assert ("\n" in result.replace("\r\n", "")) == (newline == "\n")
    assert shared_places(result) == []


def test_entries_are_added_behind_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("\ufeffexperiments:\n  base: {method: none}\n", encoding="utf-8")
    name = next(iter(BY_NAME))
    add_to_params(file, [name])
    assert list(load_yaml(file.read_text(encoding="utf-8-sig"))["experiments"]) == ["base", name]


def test_comments_before_the_next_section_stay_with_it(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(PARAMS)
    add_to_params(file, ["tiny_dpo_25"])
    head, tail = PARAMS.split("\n\n# about")
    assert file.read_text().startswith(f"{head}\n  tiny_dpo_25:\n    method: dpo\n")
    assert file.read_text().endswith(f"\n    hyperparameters:\n      beta: 0.1\n\n# about{tail}")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("text", "names", "told"),
    [
        (PARAMS, ["tiny_dpo_52"], "no experiment 'tiny_dpo_52'\nDid you mean tiny_dpo_50 or tiny_dpo_25"),
        (PARAMS, ["nonsense!"], "spavl experiments list"),
        (PARAMS, ["tiny_dpo", "tiny_dpo"], "tiny_dpo is named twice"),
        (
            PARAMS.replace("  base:", "  tiny_dpo: {method: none, model: x}\n  base:"),
            ["tiny_dpo"],
            "has tiny_dpo already",
        ),
        ("experiments: {base: {method: none}}\n", ["tiny_dpo"], "Copy the entry by hand"),
        ("experiments: {\n  base: {method: none}}\n", ["tiny_dpo"], "Copy the entry by hand"),
        ("experiments:\n", ["tiny_dpo"], "no entries under 'experiments:'"),
        ("seed: 1\n", ["tiny_dpo"], "no entries under 'experiments:'"),
        ("a: [\n", ["tiny_dpo"], "is not YAML"),
    ],
)
def test_what_cannot_be_added_leaves_the_file_alone(tmp_path: Path, text: str, names: list[str], told: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ParamsError) as error:
        add_to_params(file, names)
    assert told in str(error.value)
    assert file.read_text() == text
