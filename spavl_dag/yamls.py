"""YAML as DVC reads it: version 1.2, in which `5e-05` is a number. PyYAML's own loaders take it for text."""

from __future__ import annotations

import re
from typing import Any

import yaml

# libyaml's loader reads a lock of many stages ten times faster; it is missing only in unusual builds.
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FAST_LOADER):  # type: ignore[misc, valid-type]
    pass


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(text: str) -> Any:
    """The content of a YAML document.

    Raises:
        yaml.YAMLError: It isn't YAML.
    """
    return yaml.load(text, Loader=_Loader)
