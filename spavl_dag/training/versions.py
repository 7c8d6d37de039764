"""Which code trains: the number of each method, kept beside its code and raised by hand.

A training's key holds these numbers and no hash of the code, so that a comment, a docstring or a renamed local retrains
nothing. `tests/training/test_code_versions.py` notices a change of the code that raised none.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Literal

VERSION = 1
"""Of what all methods share: rows and tokens, loading and saving, the loop, batches, the start of a training."""

Method = Literal["sft", "dpo", "ppo", "grpo", "rloo", "reward"]

_FOLDER = Path(__file__).parent
_SHARED, _REWARD = "versions.py", "reward/trainer.py"
# Methods that are paid by the reward model read its code, too.
_FILES: dict[Method, tuple[str, ...]] = {
    "sft": (_SHARED, "sft.py"),
    "dpo": (_SHARED, "dpo.py"),
    "ppo": (_SHARED, _REWARD, "ppo/trainer.py"),
    "grpo": (_SHARED, _REWARD, "group.py"),
    "rloo": (_SHARED, _REWARD, "group.py"),
    "reward": (_SHARED, _REWARD),
}


def code_version(method: Method) -> str:
    """The numbers of all code that a method trains with, such as `dpo.py 1, versions.py 1`."""
    return ", ".join(f"{file} {version_in(_FOLDER / file)}" for file in sorted(_FILES[method]))


@cache
def version_in(file: Path) -> int:
    """`VERSION` of a module, read without importing it: most bring a heavy library."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["VERSION"]:
            return int(ast.literal_eval(node.value))
    raise AssertionError(f"{file} states no VERSION")
