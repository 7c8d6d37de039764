"""params.yaml: what is refused, and what the refusal says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spavl_dag.errors import ParamsError
from spavl_dag.params.load import load_params, parse_params
from spavl_dag.yamls import dump_yaml, load_yaml
from tests.conftest import CHECKOUT

DEFAULT: dict[str, Any] = load_yaml((CHECKOUT / "params.yaml").read_text())


def refused(change: Callable[[dict[str, Any]], object]) -> str:
    """The message with which changed params are refused."""
    params = copy.deepcopy(DEFAULT)
    change(params)
    with pytest.raises(ParamsError) as caught:
        parse_params(params, CHECKOUT)
    return caught.value.message


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, values


def put(params: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        params = params[key]
    params[path[-1]] = value


def test_the_default_params_are_fine() -> None:
    params = load_params(CHECKOUT / "params.yaml")
    assert len(params.models) == 12
    assert len({path for path, _ in params.entries()}) == 22
    assert [path for path, _ in params.trainings()][:2] == ["reward_model", "experiments.sft"]


def test_all_problems_are_told_at_once() -> None:
    def change(p: dict[str, Any]) -> None:
        del p["seed"]
        p["images"]["per_class"] = "many"
        p["pairs"]["strategy"] = "best"

    message = refused(change)
    assert "3 problem(s)" in message
    assert "seed: missing; every choice that changes a result must be stated" in message
    assert "images.per_class: Input should be a valid integer (found 'many'); write a number" in message
    assert "pairs.strategy" in message
    assert "'best'" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p.update(sede=1), "sede: unknown key; did you mean 'seed'?"),
        (
            lambda p: p["models"]["high_hot"]["decoding"].update(temprature=1),
            "models.high_hot.decoding.temprature: unknown key; did you mean 'temperature'?",
        ),
        (
            lambda p: p["experiments"]["ppo"]["hyperparameters"].update(gama=1),
            "experiments.ppo.hyperparameters.gama: unknown key; did you mean 'gamma'?",
        ),
        (
            lambda p: p["experiments"]["sft"].update(hyperparameters={"beta": 0.1}),
            "experiments.sft.hyperparameters.beta: unknown key; known here: nothing",
        ),
        (
            lambda p: p["experiments"]["dpo"]["hyperparameters"].pop("beta"),
            "experiments.dpo.hyperparameters.beta: missing",
        ),
        (lambda p: p["experiments"]["dpo"]["optimizer"].update(lr=1), "experiments.dpo.optimizer.lr: unknown key"),
        (lambda p: p["experiments"]["base"].update(save="merged"), "experiments.base.save: unknown key"),
        (lambda p: p["experiments"]["dpo"].update(method="dpop"), "experiments.dpo.method: unknown method 'dpop'"),
        (lambda p: p["experiments"]["dpo"].pop("method"), "experiments.dpo.method: missing; use one of 'none'"),
        (
            lambda p: p["experiments"]["dpo"]["tuning"].update(mode="lora", lora={"rank": 1, "alpha": 1, "targets": 5}),
            "experiments.dpo.tuning.lora.targets: Input should be a valid list (found 5)",
        ),
        (
            lambda p: p["experiments"]["dpo"].update(tuning="full"),
            "experiments.dpo.tuning: found 'full'; write a block of keys: mode, lora, train_projector",
        ),
        (lambda p: p["roles"].pop("judge"), "roles.judge: missing"),
    ],
)
def test_a_wrong_key_is_named_where_it_stands(change: Callable[[dict[str, Any]], object], told: str) -> None:
    assert told in refused(change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda p: p["experiments"]["dpo"].update(settings=p["experiments"]["dpo"].pop("hyperparameters")),
            "experiments.dpo.settings: an old name; it is called 'hyperparameters' now",
        ),
        (
            lambda p: p["experiments"]["dpo"].update(optimiser=p["experiments"]["dpo"].pop("optimizer")),
            "experiments.dpo.optimiser: an old name; it is called 'optimizer' now",
        ),
        (
            lambda p: p["experiments"]["dpo"].update(tuning={"tuning": "full", "train_projector": True}),
            "experiments.dpo.tuning.tuning: an old name; it is called 'mode' now",
        ),
        (
            lambda p: p["images"].update(licence=p["images"].pop("license")),
            "images.licence: an old name; it is called 'license' now",
        ),
        (
            lambda p: p["evaluation"].update(**p["evaluation"].pop("interval")),
            "evaluation.confidence: an old name; it is called 'interval.confidence' now",
        ),
        (
            lambda p: p["reward_model"].update(tuning="full", train_projector=True),
            "reward_model.train_projector: an old name; it is called 'tuning.train_projector' now",
        ),
    ],
)
def test_an_old_name_leads_to_the_new_one(change: Callable[[dict[str, Any]], object], told: str) -> None:
    message = refused(change)
    assert told in message
    assert "missing" not in message  # what stands there by its old name isn't


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p["models"].update({"a.b": p["models"]["high_hot"]}), "models.a.b: a key begins with a letter"),
        (lambda p: p["models"].update({"7b": p["models"]["high_hot"]}), "models.7b: a key begins with a letter"),
        (lambda p: p["models"].update({52: p["models"]["high_hot"]}), "models.52: a key is text; put it in quotes"),
        (lambda p: p.update(models={"one": p["models"]["high_hot"]}), "between 2 and 99 are needed"),
        (
            lambda p: p.update(models={f"m{i}": p["models"]["high_hot"] for i in range(100)}),
            "100 entries; between 2 and 99 are needed",
        ),
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
        (
            lambda p: p["evaluation"]["benchmarks"]["pope"].update(prompt="prompts/none.j2"),
            "evaluation.benchmarks.pope.prompt: there is no file prompts/none.j2",
        ),
        (
            lambda p: p["roles"]["judge"].update(engine="none"),
            "roles.judge.engine: there is no engine 'none'; use one of",
        ),
        (lambda p: p.update(engines={"mine": {"kind": "none"}}), "engines.mine.kind: unknown kind"),
        (lambda p: p.update(engines={"mine": {"kind": "vllm", "gpus": [0]}}), "engines.mine.gpus: unknown key"),
        (
            lambda p: p["runtime"].update(engines={"vllm": {"kind": "vllm", "gpus": [0], "tensor_parallel_size": 2}}),
            "runtime.engines.vllm: tensor_parallel_size times data_parallel_size is 2, and gpus has 1",
        ),
        (
            lambda p: p["roles"]["judge"].update(structured_output={"choice": ["safe", "unsafe"]}),
            "roles.judge.structured_output: an engine of kind transformers holds no text to it",
        ),
        (
            lambda p: p["roles"]["judge"].update(engine="vllm", structured_output={"choice": ["safe"], "regex": "a"}),
            "roles.judge.structured_output: name one of choice, json_schema, regex and grammar",
        ),
        (
            lambda p: p["roles"]["judge"].update(engine="vllm", structured_output={"regex": "(safe"}),
            "roles.judge.structured_output: regex is none: missing )",
        ),
        (
            lambda p: p["runtime"].update(engines={"mine": {"kind": "transformers"}}),
            "runtime.engines.mine: there is no engine 'mine'",
        ),
        (lambda p: p["base_model"].update(source="reference"), "reference.model must name"),
        (
            lambda p: p["base_model"].update(source="reference", reference={"model": "base_model"}),
            "base_model, which is itself",
        ),
        (lambda p: p["taxonomy"].update(file="none.yaml"), "there is no file none.yaml"),
        (lambda p: p["dataset"].update(validation_share=1.0), "dataset.validation_share"),
        (lambda p: p["dataset"].update(validation_share=0), "0 leaves the reward model, which experiments.ppo reads"),
        (lambda p: p["evaluation"].update(baseline="bse"), "evaluation.baseline: 'bse' is no key of experiments"),
        (
            lambda p: p["experiments"]["grpo"]["hyperparameters"].update(generations=5),
            "optimizer.batch_size 64 is no multiple of hyperparameters.generations 5",
        ),
        (
            lambda p: p["experiments"]["ppo"]["hyperparameters"].update(max_new_tokens=256),
            "experiments.ppo.hyperparameters.max_new_tokens: 256 leaves no room",
        ),
        (
            lambda p: p["experiments"]["dpo_25"]["data"].update(safety_groups=[1, 6]),
            "experiments.dpo_25.data.safety_groups: there is no group 6; use 1 to 5",
        ),
        (lambda p: p["experiments"]["dpo"].update(save="adapter"), "save 'adapter' needs tuning.mode 'lora'"),
        (lambda p: p["experiments"]["dpo"]["tuning"].update(mode="lora"), "lora.rank and lora.alpha must be stated"),
        (lambda p: p["images"].update(min_side=9000), "images.min_side: a picture of 9000 pixels a side has more"),
        (lambda p: p["base_model"].update(recipe={"heads": 3}), "heads 3 doesn't fit into 128"),
        (lambda p: p["runtime"].update(device="gpu"), "runtime.device"),
    ],
)
def test_impossible_params_are_refused(change: Callable[[dict[str, Any]], object], told: str) -> None:
    assert told in refused(change)


# What a number of each kind can't be; `seed` is a number of 32 bits, so a large one is.
HUGE = [10**12, 10**15]
NUMBERS = [path for path, value in leaves(DEFAULT) if isinstance(value, int | float) and not isinstance(value, bool)]
UNBOUNDED = {"learning_rate", "beta", "kl_coefficient", "clip", "value_clip", "value_weight"}
"""Wrong by far only when a loss is no number any more, which the training tells at its first step."""


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_no_number_may_be_endless(path: tuple[str, ...]) -> None:
    for value in (float("inf"), float("nan"), *(() if path[-1] in UNBOUNDED else HUGE)):
        assert ".".join(path) in refused(lambda p, value=value: put(p, path, value)), value


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("seed", True, "seed: Input should be a valid integer (found True)"),
        ("seed", "42", "seed: Input should be a valid integer (found '42'); write a number, without quotes"),
        ("safety_labels.sees_image", "no", "(found 'no'); write true or false"),
        ("images.license", 4.0, "(found 4.0); put it in quotes if it is text"),
        ("runtime.training.per_device_batch", 1.5, "runtime.training.per_device_batch"),
    ],
)
def test_a_value_of_another_type_is_not_taken_for_one(path: str, value: Any, told: str) -> None:
    assert told in refused(lambda p: put(p, tuple(path.split(".")), value))


@pytest.mark.parametrize("content", ["- a\n- b\n", "", "a: [", "\x00", "[" * 5000])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParamsError):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="is not there"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(ParamsError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").unlink()
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ParamsError, match="can't be read"):
        load_params(tmp_path / "params.yaml")


def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("experiments:\n  sft: {method: sft}\n  sft: {method: dpo}\n")
    with pytest.raises(ParamsError, match=r"line 3 .*the key 'sft' stands twice, first in line 2"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: &one {x: 1}\nb: 2\n", "line 1: &one"),
        ("a: &one {x: 1}\nb:\n  c: *one\n", r"line 3: \*one"),
        ("a: {x: 1}\nb:\n  <<: {x: 2}\n", "line 3: <<"),
    ],
)
def test_shared_values_are_refused_with_their_place(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=place) as caught:
        load_params(tmp_path / "params.yaml")
    assert "Write the values out" in str(caught.value)


def test_a_byte_order_mark_and_quotes_that_hide_a_word_change_nothing(tmp_path: Path) -> None:
    content = copy.deepcopy(DEFAULT)
    content["models"]["none_hot"]["label"] = "no"
    for name in ("prompts", "spavl_dag"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    (tmp_path / "params.yaml").write_bytes(b"\xef\xbb\xbf" + dump_yaml(content).encode())
    assert load_params(tmp_path / "params.yaml") == parse_params(content, CHECKOUT)
