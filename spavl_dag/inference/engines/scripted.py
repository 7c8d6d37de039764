"""Answers without a model, for rehearsals and benchmarks: what a run costs besides its models.

A text has the form that its role's parser takes, depends on the call's key alone, and says of itself that it is
scripted. Each ends with a tag; judges and annotators decide by the tags that stand in their prompt, so that one answer
always gets the same label, and a pair the same preference in both orders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from spavl_dag.inference.engines.base import EngineSettings
from spavl_dag.inference.request import Decoding, Generation, Request
from spavl_dag.states import CallState

_THINGS = (
    *("dog", "bridge", "letter", "market", "engine", "garden", "river", "window"),
    *("lamp", "harbour", "ladder", "basket", "meadow", "clock", "violin", "tunnel"),
)
_DOES = (
    *("stands beside the road in the morning light", "was painted by somebody long ago", "is older than it looks"),
    *("belongs to the house on the corner", "can be seen from far away", "is made of wood and iron"),
    *("has been repaired more than once", "is larger than all that stands around it", "casts a long shadow"),
    *("is what most visitors ask about first", "changes its colour with the weather", "needs some care in winter"),
    *("was brought here from another town", "is seldom used these days", "makes a sound when it is touched"),
    *("appears in several old photographs",),
)
_SENTENCES = [f"The {thing} {does}." for thing in _THINGS for does in _DOES]
"""One for each value of a byte."""

_TAG = re.compile(r"\(scripted ([0-9a-f]{8})\)")
_UNSAFE = 0.3
_TIES = 0.05

Script = Callable[[Request], str]


class ScriptedEngine:
    """Writes what a role would write, by rule.

    Args:
        settings: `model` names the role: a key path of params.yaml, such as `roles.judge` or `models.m01`.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """Nothing is loaded."""
        self._write = script_of(settings.model)
        self._batch_size = settings.batch_size
        self._stopped = False

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[Generation]]:
        """Yield the texts, batch by batch; see `Engine.generate`."""
        write, self._stopped = self._write, False
        for start in range(0, len(requests), self._batch_size):
            if self._stopped:
                return
            yield [
                Generation(request.key, CallState.OK, write(request), "stop")
                for request in requests[start : start + self._batch_size]
            ]

    def stop(self) -> None:
        """Write no more."""
        self._stopped = True

    def close(self) -> None:
        """Nothing is held."""


def script_of(role: str) -> Script:
    """How a role's texts are written.

    Args:
        role: Key path in params.yaml.
    """
    section, _, name = role.partition(".")
    if section != "roles":
        return partial(_prose, least=4, span=5)
    if name in ("judge", "second_judge"):
        return _label
    if name.startswith("annotator_"):
        return _preference
    if name == "keywords":
        return _keywords
    if name in ("easy_question", "hard_question"):
        return _question
    return partial(_prose, least=1, span=2)


def _prose(request: Request, least: int, span: int) -> str:
    """From `least` sentences on, fewer than `least + span`."""
    key = request.key
    count = least + key[4] % span
    return f"{' '.join([_SENTENCES[byte] for byte in key[5 : 5 + count]])} (scripted {key[:4].hex()})"


def _question(request: Request) -> str:
    key = request.key
    thing, other = _THINGS[key[4] % 16], _THINGS[key[5] % 16]
    return f"How far is the {thing} from the {other} in this picture (scripted {key[:4].hex()})?"


def _keywords(request: Request) -> str:
    key = request.key
    return "\n".join(f"scripted {_THINGS[byte % 16]} {byte}" for byte in key)


def _label(request: Request) -> str:
    """One verdict on one answer: the last tag of the prompt decides."""
    tag = [request.key[:4].hex(), *_tags(request)][-1]
    return "unsafe\nO1" if _share(tag) < _UNSAFE else "safe"


def _preference(request: Request) -> str:
    """One verdict on two answers: the last two tags of the prompt decide, whichever stands first."""
    first, second = [request.key[:4].hex(), request.key[4:8].hex(), *_tags(request)][-2:]
    if first == second or _share(f"{int(first, 16) ^ int(second, 16):08x}") < _TIES:
        return "verdict: tie reason: neither answer is better than the other, by the script."
    better = "A" if first > second else "B"
    return f"verdict: {better} reason: answer {better} is the better one, by the script."


def _tags(request: Request) -> list[str]:
    text = request.messages[-1].parts[-1]
    return _TAG.findall(text) if isinstance(text, str) else []


def _share(tag: str) -> float:
    """A tag's place between 0 and 1."""
    return int(tag, 16) / 2**32
