"""YAML as DVC reads it, and back.

DVC reads version 1.2 with ruamel.yaml, PyYAML's own loaders read 1.1: `no`, `052`, `12:30` and `5e-05` are other values
there, and a key that stands twice is none. Both parse with libyaml, so what plain texts mean is all that is said here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import yaml

# libyaml reads a lock of many stages ten times faster; it is missing only in unusual builds.
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DEEPEST = 100

N = TypeVar("N", int, float)

_TAG = "tag:yaml.org,2002:"
# Of ruamel.yaml 0.19 (resolver.py), in its order: tag, pattern, characters that such a text may begin with.
_PLAIN_TEXTS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("int", r"[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+", "-+0123456789"),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    (
        "timestamp",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?"
        r":[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?",
        "0123456789",
    ),
    ("value", r"=", "="),
)


def _understand_plain_texts(cls: Any) -> Any:
    """Give a loader or dumper the meanings of plain texts in YAML 1.2 instead of PyYAML's."""
    cls.yaml_implicit_resolvers = {}
    for name, pattern, first in _PLAIN_TEXTS:
        firsts = [*first, ""] if name == "null" else list(first)
        cls.add_implicit_resolver(_TAG + name, re.compile(f"^(?:{pattern})$"), firsts)
    return cls


@_understand_plain_texts
class _Loader(_FAST_LOADER):  # type: ignore[misc, valid-type]
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        _refuse_bare([part for pair in node.value for part in pair], node)
        merged = any(key.tag == f"{_TAG}merge" for key, _ in node.value)
        self.flatten_mapping(node)
        content: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key is text", key_node.start_mark)
            if key in content and not merged:
                first = next(other for other, _ in node.value if self.construct_object(other, deep=True) == key)
                problem = f"the key '{key}' stands twice, first in line {first.start_mark.line + 1}"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            content[key] = self.construct_object(value_node, deep=deep)
        return content

    def construct_sequence(self, node: yaml.SequenceNode, deep: bool = False) -> list[Any]:
        _refuse_bare(node.value, node)
        return [self.construct_object(part, deep=deep) for part in node.value]

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node).replace("_", "").lower()
        sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-")
        base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 10)
        return sign * _number(int, node, digits if base == 10 else digits[2:], base)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        text = self.construct_scalar(node).replace("_", "").lower()
        return _number(float, node, re.sub(r"\.(inf|nan)$", r"\1", text))


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_yaml_float)


def _number(kind: Callable[..., N], node: yaml.ScalarNode, *given: Any) -> N:
    try:
        return kind(*given)
    except ValueError as error:  # nothing but underscores, or thousands of digits
        raise yaml.constructor.ConstructorError(None, None, f"no number: {error}", node.start_mark) from error


def _refuse_bare(parts: list[yaml.Node], around: yaml.CollectionNode) -> None:
    """DVC's older libyaml takes no `:` and `?` inside plain text between braces or brackets."""
    for part in parts if around.flow_style else ():
        if isinstance(part, yaml.ScalarNode) and not part.style and (":" in part.value or "?" in part.value):
            problem = f"DVC reads '{part.value}' only in quotes here, for it has a ':' or '?'"
            raise yaml.constructor.ConstructorError(None, None, problem, part.start_mark)


def load_yaml(text: str) -> Any:
    """The content of a YAML document.

    Raises:
        yaml.YAMLError: It isn't YAML, or a key stands twice.
    """
    return yaml.load(text, Loader=_Loader)


def shared_places(text: str) -> list[str]:
    """Where a document shares values between places, as `line 3: &name`: its anchors, aliases and merge keys.

    Raises:
        yaml.YAMLError: It isn't YAML, or nested so deeply that reading it would crash the process.
    """
    found = []
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_FAST_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=event.start_mark)
        where = f"line {event.start_mark.line + 1}"
        if anchor := getattr(event, "anchor", None):
            found.append(f"{where}: {'*' if isinstance(event, yaml.AliasEvent) else '&'}{anchor}")
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            found.append(f"{where}: <<")
    return found


@_understand_plain_texts
class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_yaml(content: Any) -> str:
    """A document that `load_yaml` and DVC read as `content`; nothing in it is shared by anchors."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
