"""YAML is read as DVC reads it, which is asked."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from spavl_dag.yamls import dump_yaml, load_yaml, shared_places
from tests.dvc_python import run_in_dvc

# Every document is read by itself, as a project's file is; repr() because JSON has no infinity, dates and tuples.
READ = """
import json, sys
from dvc.utils.serialize import loads_yaml
read = []
for text in json.load(sys.stdin):
    try:
        read.append(repr(loads_yaml(text)))
    except Exception:
        read.append("refused")
print(json.dumps(read))
"""


def ours(text: str) -> str:
    try:
        return repr(load_yaml(text))
    except yaml.YAMLError:
        return "refused"


# Pieces of what PyYAML and YAML 1.2 take for other things, and of what libyaml's releases scan differently.
PIECES = ["0", "1", "7", "12", "a", "e", "x", "o", "b", "_", ".", "-", "+", ":", "?", "=", "~", "<<", "#", " ", "inf"]
PIECES += ["nan", "no", "yes", "on", "y", "True", "NULL", "2020-01-01", "12:30", "T00:00:00Z", "'", "\\", "*", "|", ">"]
SCALARS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
NUMBERS = st.from_regex(r"[-+]?[0-9_]{0,3}\.?[0-9_]{0,3}([eE][-+]?[0-9]{1,4})?", fullmatch=True)
TEXTS = st.one_of(SCALARS, NUMBERS)
DOCUMENTS = st.one_of(
    TEXTS.map("a: {}\n".format),
    TEXTS.map("{}: 1\n".format),
    st.tuples(TEXTS, TEXTS).map(lambda two: f"{{a: {two[0]}, b: [{two[1]}]}}\n"),
    st.tuples(TEXTS, TEXTS).map(lambda two: f"a:\n- {two[0]}\n- {{b: {two[1]}}}\n"),
    st.tuples(TEXTS, TEXTS).map(lambda two: f"{two[0]}: 1\n{two[1]}: 2\n"),
)


def test_every_document_is_read_as_dvc_reads_it() -> None:
    documents: set[str] = set()

    @settings(max_examples=1500, database=None, phases=[Phase.generate], deadline=None)
    @given(DOCUMENTS)
    def collect(text: str) -> None:
        documents.add(text)

    collect()  # one process for all of them
    listed = sorted(documents)
    different = [
        (text, mine, theirs)
        for text, mine, theirs in zip(listed, map(ours, listed), run_in_dvc(READ, listed), strict=True)
        if mine != theirs and not theirs.startswith("{(")  # lists as keys are no keys of params, but tuples for DVC
    ]
    assert len(listed) > 500
    assert different == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("052", 52),
        ("0o52", 42),
        ("no", "no"),
        ("on", "on"),
        ("'no'", "no"),
        ("true", True),
        ("12e3456", math.inf),
        ("5e-05", 5e-05),
        ("e5", "e5"),
        ("1.e5", 1e5),
        ("12:30:45", "12:30:45"),
        ("64_000_000", 64_000_000),
        ("~", None),
        ("NO", "NO"),
        ("-0", 0),
    ],
)
def test_values_that_yaml_1_1_reads_otherwise(text: str, value: Any) -> None:
    found = load_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("key", ["no", "052", "12:30", "on"])
def test_keys_are_read_as_values_are(key: str) -> None:
    assert load_yaml(f"{key}: 1") == {52 if key == "052" else key: 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' stands twice, first in line 1"),
        ("x:\n  1: a\n  true: b\n", "'True' stands twice, first in line 2"),
        ("{a: 1, a: 1}", "'a' stands twice"),
        ("a: 1" + "0" * 5000, "no number"),
        ("{a: b:c}", "only in quotes"),
        ("[what?]", "only in quotes"),
    ],
)
def test_what_dvc_refuses_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(yaml.YAMLError, match=told):
        load_yaml(text)
    assert run_in_dvc(READ, [text]) == ["refused"]


def test_merge_keys_are_read_and_found() -> None:
    text = "a: &x {b: 1, c: 1}\nd: {<<: *x, c: 2}\n"
    assert load_yaml(text)["d"] == {"b": 1, "c": 2}
    assert shared_places(text) == ["line 1: &x", "line 2: <<", "line 2: *x"]
    assert shared_places("a: '<<'\nb: x & y * z\n") == []


WORDS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=5)
KEYS = st.one_of(SCALARS, WORDS)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), KEYS)


@given(
    st.dictionaries(KEYS, PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(KEYS, PLAIN, max_size=3), max_size=4)
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(content: dict[str, Any]) -> None:
    written = dump_yaml(content)
    assert load_yaml(written) == content
    assert shared_places(written) == []


def test_values_that_one_object_stands_for_are_written_out_and_dvc_reads_them() -> None:
    shared = {"x": [1, "12e3", "no", "5e-05", "052"]}
    written = dump_yaml({"a": shared, "b": shared, "c": "1:30"})
    expected = repr({"a": shared, "b": shared, "c": "1:30"})
    assert run_in_dvc(READ, [written]) == [expected] == [ours(written)]
