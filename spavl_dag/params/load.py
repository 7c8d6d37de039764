"""params.yaml from its text to `Params`, and what is told where that isn't possible."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import ValidationError

from spavl_dag.errors import ParamsError
from spavl_dag.params.base import Section
from spavl_dag.params.checks import Problem, contradictions
from spavl_dag.params.evaluation import EvaluationParams
from spavl_dag.params.sections import Params
from spavl_dag.params.training import RewardModelParams, TuningParams
from spavl_dag.yamls import load_yaml, shared_places

_RENAMED: Mapping[type[Section], Mapping[str, str]] = {
    Section: {"settings": "hyperparameters", "optimiser": "optimizer", "licence": "license"},
    TuningParams: {"tuning": "mode"},
    RewardModelParams: {"train_projector": "tuning.train_projector", "lora": "tuning.lora"},
    EvaluationParams: {"confidence": "interval.confidence", "resamples": "interval.resamples"},
}
"""New names of keys by their old ones, in which block."""

_SHOWN_PLACES = 5


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Args:
        path: The file; what it names is looked for relative to its folder.

    Raises:
        ParamsError: The file is missing, not YAML as DVC reads it, or holds something impossible; all problems are
            listed.
    """
    return parse_params(read_raw_params(path), path.parent, path.name)


def read_raw_params(path: Path) -> Mapping[str, Any]:
    """What params.yaml says, unchecked.

    Raises:
        ParamsError: The file is missing, not YAML as DVC reads it, no mapping, or shares values between its keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
        shared = shared_places(text)
        raw = load_yaml(text)
    except FileNotFoundError:
        raise ParamsError(f"{path} is not there", "Run the command in the project's folder.") from None
    except OSError as error:
        raise ParamsError(f"{path} can't be read: {error.strerror}", "Check the file's permissions.") from error
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ParamsError(f"{path.name}{where} is not YAML: {error.problem}", "Fix that line.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path.name} is not YAML: {error}", "Save it as text in UTF-8.") from error
    if shared:
        more = f" and {len(shared) - _SHOWN_PLACES} more" if len(shared) > _SHOWN_PLACES else ""
        raise ParamsError(
            f"{path.name} shares values between keys: {', '.join(shared[:_SHOWN_PLACES])}{more}",
            "Write the values out in each entry and take `&name`, `*name` and `<<:` away: `dvc exp run -S` would "
            "change one of the entries back to what the others have.",
        )
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{path.name} holds no keys", "Start from the params.yaml of the repository.")
    return raw


def parse_params(raw: Mapping[str, Any], root: Path, name: str = "params.yaml") -> Params:
    """Check loaded params.

    Args:
        raw: Content of the file.
        root: Folder that prompt templates and the taxonomy file are relative to.
        name: File name for messages.

    Raises:
        ParamsError: With one line per problem: key path, what is wrong, how to fix it.
    """
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        refuse(_explained(error), name)
        raise
    refuse(contradictions(params, root), name)
    return params


def refuse(problems: Iterable[Problem], name: str = "params.yaml") -> None:
    """Raise all problems as one.

    Raises:
        ParamsError: There is one.
    """
    if listed := list(dict.fromkeys(problems)):
        lines = "\n".join(map(str, listed))
        raise ParamsError(f"{name}: {len(listed)} problem(s)\n{lines}")


def _explained(error: ValidationError) -> Iterator[Problem]:
    for problem in error.errors(include_url=False):
        if (found := _explain(problem)) is not None:
            yield found


def _explain(problem: Mapping[str, Any]) -> Problem | None:
    """What pydantic found, in words; None for what another of its problems says better."""
    keys, block = _place(problem["loc"])
    path, kind, given = ".".join(keys), problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return _unknown(path, keys[-1], block)
    if kind == "missing":
        renamed = _new_names(block)
        if any(renamed.get(old, "").split(".")[0] == keys[-1] for old in given or ()):
            return None  # it is there, by its old name
        return Problem(path, "missing", "every choice that changes a result must be stated")
    if problem["loc"][-1] == "[key]":
        return Problem(path.removesuffix(".[key]"), "a key is text", "put it in quotes, or rename it")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        known = f": {', '.join(block_of.model_fields)}" if (block_of := _block(keys)) else ""
        return Problem(path, f"found {given!r}", f"write a block of keys{known}")
    if kind.startswith("union_tag"):
        blocks = _blocks(keys)
        tag = _tag(blocks)
        known_tags = problem["ctx"].get("expected_tags") or ", ".join(f"'{name}'" for name in _tags(blocks, tag))
        stated = f"unknown {tag} {problem['ctx']['tag']!r}" if "tag" in problem["ctx"] else "missing"
        return Problem(f"{path}.{tag}", stated, f"use one of {known_tags}")
    return Problem(path, f"{problem['msg'].removeprefix('Value error, ')}{_shown(given)}", _fix(kind, given))


def _fix(kind: str, given: Any) -> str:
    if kind == "string_type" and given is not None:
        return "put it in quotes if it is text"
    if kind == "bool_type" and isinstance(given, str):
        return "write true or false"
    if kind in ("int_type", "float_type") and isinstance(given, str):
        return "write a number, without quotes"
    return ""


def _shown(given: Any) -> str:
    return "" if isinstance(given, dict | list) else f" (found {given!r})"


def _unknown(path: str, key: str, block: type[Section] | None) -> Problem:
    if new := _new_names(block).get(key):
        return Problem(path, "an old name", f"it is called '{new}' now")
    known = sorted(block.model_fields) if block else []
    close = difflib.get_close_matches(key, known, n=1)
    fix = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known) or 'nothing'}"
    return Problem(path, "unknown key", fix)


def _new_names(block: type[Section] | None) -> dict[str, str]:
    """Of a block: new names by old ones, where the block knows the new one and not the old."""
    if block is None:
        return {}
    renamed = {old: new for kind, names in _RENAMED.items() if issubclass(block, kind) for old, new in names.items()}
    fields = block.model_fields
    return {old: new for old, new in renamed.items() if old not in fields and new.split(".")[0] in fields}


def _place(location: Iterable[str | int]) -> tuple[list[str], type[Section] | None]:
    """A key's path without what pydantic adds to it for unions, and the block that the last key stands in."""
    keys: list[str] = []
    block: type[Section] | None = None
    kinds: list[Any] = [Params]
    for part in location:
        blocks = _sections(kinds)
        if len(blocks) > 1:  # the tag of a union is no key
            kinds = [kind for kind in blocks if part in _tags([kind], _tag(blocks))]
        elif blocks:
            block = blocks[0]
            field = block.model_fields.get(str(part))
            keys.append(str(part))
            kinds = _kinds(field.annotation) if field else []
        elif inner := [get_args(kind)[-1] for kind in kinds if get_origin(kind) in (dict, list)]:
            if isinstance(part, str) and get_origin(kinds[0]) not in (dict, list):
                break  # "list[str]", the member of a union of plain values
            block = None
            keys.append(str(part))
            kinds = _kinds(inner[0])
    return keys, block


def _block(keys: Iterable[str]) -> type[Section] | None:
    """The block that stands under a key path, where it is one."""
    blocks = _blocks(keys)
    return blocks[0] if len(blocks) == 1 else None


def _blocks(keys: Iterable[str]) -> list[type[Section]]:
    """The blocks that may stand under a key path: several for a union."""
    kinds: list[Any] = [Params]
    for key in keys:
        blocks = _sections(kinds)
        field = next((found for block in blocks if (found := block.model_fields.get(key))), None)
        inner = [get_args(kind)[-1] for kind in kinds if get_origin(kind) is dict]
        kinds = _kinds(field.annotation) if field else _kinds(inner[0]) if inner else []
    return _sections(kinds)


def _tag(blocks: Iterable[type[Section]]) -> str:
    """The key whose value tells the members of a union apart."""
    return next((key for key in ("method", "kind") if all(key in block.model_fields for block in blocks)), "method")


def _tags(blocks: Iterable[type[Section]], tag: str) -> list[str]:
    """The values that it has in them."""
    return [value for block in blocks for value in get_args(block.model_fields[tag].annotation)]


def _sections(kinds: Iterable[Any]) -> list[type[Section]]:
    return [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, Section)]


def _kinds(annotation: Any) -> list[Any]:
    """The types that a value may have, None aside."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part) if kind is not type(None)]
    return [annotation]
