"""dvc.yaml and dvc.lock, read as the truth about what invalidates what.

Belongs here: the stages with their templating resolved, what each of them looked like when it was last recorded, and
what it looks like now. Nothing here runs DVC or changes a file. dvc.yaml uses a small part of DVC's language (stages,
`foreach` over a section of params.yaml, `${…}`); anything else is refused, so that both readings stay the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from spavl_dag.errors import SpavlError
from spavl_dag.names import PartitionKind
from spavl_dag.pipeline.hashing import ContentHasher
from spavl_dag.pipeline.layout import ARTIFACTS, Project
from spavl_dag.yamls import load_yaml

_KNOWN_STAGE_KEYS = {"cmd", "deps", "params", "outs", "metrics", "desc"}
_TEMPLATE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of dvc.yaml with its templates filled in.

    Attributes:
        artifact: The stage's and the artifact's name.
        partition: Key of the `foreach`, or None.
        cmd: Command line.
        deps: Paths relative to the project, or absolute.
        params: Key paths of params.yaml.
        outs: Paths it makes; the first is what other stages read, and its hash is the artifact's data version.
        own_deps: The deps that name the partition (through its key or its entry).
        own_params: The params that name the partition.
    """

    artifact: str
    partition: str | None
    cmd: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    own_deps: frozenset[str] = field(default_factory=frozenset)
    own_params: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        """The stage's name as DVC shows it."""
        return f"{self.artifact}@{self.partition}" if self.partition else self.artifact

    @property
    def main_out(self) -> str:
        """What other stages read of it."""
        return self.outs[0]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Everything a stage's result depends on, at one moment.

    Attributes:
        cmd: Command line.
        deps: Hash by path; None where there is nothing.
        params: Value by key path.
    """

    cmd: str
    deps: Mapping[str, str | None]
    params: Mapping[str, Any]

    @property
    def missing(self) -> list[str]:
        """Deps that are not there."""
        return [path for path, md5 in self.deps.items() if md5 is None]

    def changes(self, other: Fingerprint) -> list[str]:
        """What differs from an earlier fingerprint, in words."""
        found = ["command"] if self.cmd != other.cmd else []
        found += [path for path in self.deps.keys() | other.deps.keys() if self.deps.get(path) != other.deps.get(path)]
        found += [
            f"params {key}"
            for key in self.params.keys() | other.params.keys()
            if self.params.get(key) != other.params.get(key)
        ]
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stage as dvc.lock holds it."""

    fingerprint: Fingerprint
    outs: Mapping[str, str]


class Stages:
    """All stages of a project, with their state now and when they were last recorded.

    Args:
        project: Where dvc.yaml, dvc.lock and params.yaml lie.
        hasher: Shared between readings, so that nothing is hashed twice.
    """

    def __init__(self, project: Project, hasher: ContentHasher | None = None) -> None:
        """Nothing is read before it is asked for."""
        self.project = project
        self.hasher = hasher or ContentHasher(project.root, project.work / "hashes.json")

    @cached_property
    def raw_params(self) -> Mapping[str, Any]:
        """params.yaml as it is, for comparison with dvc.lock."""
        content = load_yaml(self.project.params_file.read_text(encoding="utf-8"))
        return content if isinstance(content, Mapping) else {}

    @cached_property
    def all(self) -> tuple[Stage, ...]:
        """The stages, in an order in which they can run.

        Raises:
            SpavlError: dvc.yaml uses something that is not read here, or names an unknown artifact.
        """
        text = (self.project.root / "dvc.yaml").read_text(encoding="utf-8")
        found: dict[str, list[Stage]] = {}
        for name, body in (load_yaml(text).get("stages") or {}).items():
            if name not in ARTIFACTS:
                raise SpavlError(f"dvc.yaml: stage '{name}' is no artifact", f"One of: {', '.join(ARTIFACTS)}.")
            if "foreach" in body:
                items = self._fill(body["foreach"], {})
                stages = [self._stage(name, body["do"], key, item) for key, item in items.items()]
            else:
                stages = [self._stage(name, body, None, None)]
            found[name] = stages
        return tuple(stage for name in ARTIFACTS for stage in found.get(name, []))

    def of(self, artifact: str) -> list[Stage]:
        """The stages of an artifact: one, or one per partition."""
        return [stage for stage in self.all if stage.artifact == artifact]

    def get(self, artifact: str, partition: str | None = None) -> Stage:
        """One stage.

        Raises:
            SpavlError: There is no such stage; says which there are.
        """
        stages = self.of(artifact)
        for stage in stages:
            if stage.partition == partition:
                return stage
        if not stages:
            raise SpavlError(f"dvc.yaml has no stage '{artifact}'", f"One of: {', '.join(ARTIFACTS)}.")
        keys = ", ".join(str(stage.partition) for stage in stages)
        if partition is None:
            kind = ARTIFACTS[artifact].partitions
            raise SpavlError(f"'{artifact}' has one part per key of {kind}", f"Name one with --partition: {keys}.")
        if stages[0].partition is None:
            raise SpavlError(f"'{artifact}' has no partitions", "Leave --partition out.")
        raise SpavlError(f"'{artifact}' has no partition '{partition}'", f"One of: {keys}.")

    def refuse_unlisted(self, artifact: str, path: str) -> None:
        """Make sure that an artifact depends on a file that params name, so that a changed file makes it stale.

        Raises:
            SpavlError: dvc.yaml doesn't name it; says what to add where.
        """
        for stage in self.of(artifact):
            if path not in stage.deps:
                raise SpavlError(
                    f"dvc.yaml: stage {artifact} doesn't depend on {path}, which params.yaml names",
                    f"Add `- {path}` to the deps of {artifact}: otherwise a change of it would go unnoticed.",
                )

    def upstream(self, stage: Stage) -> list[Stage]:
        """Stages whose outs the given one reads, whole or in part."""
        return [
            other
            for other in self.all
            if any(_overlap(dep, out) for dep in stage.deps for out in other.outs) and other is not stage
        ]

    def behind(self, *stages: Stage) -> list[Stage]:
        """All stages that the given ones come from, directly or not, in an order in which they can run."""
        found: set[str] = set()
        waiting = list(stages)
        while waiting:
            for stage in self.upstream(waiting.pop()):
                if stage.name not in found:
                    found.add(stage.name)
                    waiting.append(stage)
        return [stage for stage in self.all if stage.name in found]

    def is_artifact(self, path: str) -> bool:
        """Whether a dep is made by the project (or is a folder of such)."""
        return any(_overlap(path, out) for stage in self.all for out in stage.outs)

    def fingerprint(self, stage: Stage) -> Fingerprint:
        """What a stage's result depends on, as things lie on disk now."""
        return Fingerprint(
            cmd=stage.cmd,
            deps={path: self.hasher.md5(self.project.root / path) for path in stage.deps},
            params={key: lookup(self.raw_params, key) for key in stage.params},
        )

    def outs(self, stage: Stage) -> dict[str, str | None]:
        """Hashes of what a stage made, as it lies on disk now."""
        return {path: self.hasher.md5(self.project.root / path) for path in stage.outs}

    def data_version(self, artifact: str, partition: str | None = None) -> str | None:
        """Hash of an artifact or a part as it lies on disk now; None when it isn't there."""
        return self.hasher.md5(self.project.root / self.get(artifact, partition).main_out)

    @cached_property
    def _lock(self) -> Mapping[str, Any]:
        file = self.project.root / "dvc.lock"
        if not file.is_file():
            return {}
        return (load_yaml(file.read_text(encoding="utf-8")) or {}).get("stages") or {}

    def recorded(self, stage: Stage) -> Recorded | None:
        """The stage as dvc.lock holds it, or None when it was never recorded."""
        entry = self._lock.get(stage.name)
        if entry is None:
            return None
        return Recorded(
            fingerprint=Fingerprint(
                cmd=entry["cmd"],
                deps={dep["path"]: dep.get("md5") for dep in entry.get("deps", [])},
                params={k: v for values in entry.get("params", {}).values() for k, v in values.items()},
            ),
            outs={out["path"]: out["md5"] for out in entry.get("outs", [])},
        )

    def why_stale(self, stage: Stage) -> list[str]:
        """Why a stage would run, empty when it wouldn't; the same question as `dvc status <stage>`."""
        recorded = self.recorded(stage)
        if recorded is None:
            return ["never recorded"]
        reasons = [f"changed: {what}" for what in self.fingerprint(stage).changes(recorded.fingerprint)]
        for path, md5 in self.outs(stage).items():
            if md5 is None:
                reasons.append(f"missing: {path}")
            elif md5 != recorded.outs.get(path):
                reasons.append(f"modified: {path}")
        return reasons

    def code_version(self, artifact: str) -> str:
        """Hash of what all parts of an artifact share: command, code and input files, params.

        What only one partition depends on is left out; it is that partition's entry version.
        """
        stage = self.of(artifact)[0]
        shared = Stage(
            artifact=artifact,
            partition=None,
            cmd=artifact,
            deps=tuple(d for d in stage.deps if d not in stage.own_deps and not self.is_artifact(d)),
            params=tuple(p for p in stage.params if p not in stage.own_params),
            outs=(),
        )
        return _digest(self.fingerprint(shared))

    def entry_version(self, kind: PartitionKind, partition: str) -> str:
        """Hash of what only the parts of one key depend on: its entry in params, and a prompt template it names."""
        stages = [s for s in self.all if s.partition == partition and ARTIFACTS[s.artifact].partitions == kind]
        deps = {d for s in stages for d in s.own_deps if not self.is_artifact(d)}
        params = {p for s in stages for p in s.own_params}
        own = Stage("", partition, "", tuple(sorted(deps)), tuple(sorted(params)), ())
        return _digest(self.fingerprint(own))

    def _stage(self, name: str, body: Mapping[str, Any], key: str | None, item: Any) -> Stage:
        if unknown := set(body) - _KNOWN_STAGE_KEYS:
            raise SpavlError(f"dvc.yaml: stage '{name}' uses {', '.join(sorted(unknown))}, which is not read here")
        scope = {"key": key, "item": item}

        def filled(section: str) -> tuple[str, ...]:
            return tuple(self._fill(_path_of(entry), scope) for entry in body.get(section, []))

        def own(section: str) -> frozenset[str]:
            raw = [_path_of(entry) for entry in body.get(section, [])]
            return frozenset(self._fill(text, scope) for text in raw if re.search(r"\$\{(key|item)\b", text))

        return Stage(
            artifact=name,
            partition=key,
            cmd=self._fill(body["cmd"], scope),
            # One file may serve several roles; DVC keeps a dep once as well.
            deps=tuple(dict.fromkeys(filled("deps"))),
            params=filled("params"),
            outs=filled("outs") + filled("metrics"),
            own_deps=own("deps"),
            own_params=own("params"),
        )

    def _fill(self, text: Any, scope: Mapping[str, Any]) -> Any:
        """Replace `${…}` by values of the foreach item and of params.yaml."""
        if not isinstance(text, str):
            return text
        whole = _TEMPLATE.fullmatch(text)
        if whole:
            return self._value(whole[1], scope)
        return _TEMPLATE.sub(lambda match: str(self._value(match[1], scope)), text)

    def _value(self, path: str, scope: Mapping[str, Any]) -> Any:
        head = path.split(".")[0]
        value = lookup(scope if head in scope else self.raw_params, path)
        if value is None:
            raise SpavlError(f"dvc.yaml: ${{{path}}} is nothing", "Name a key of params.yaml that has a value.")
        return value


def lookup(values: Mapping[str, Any], path: str) -> Any:
    """Value under a dotted key path, or None."""
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _path_of(entry: str | Mapping[str, Any]) -> str:
    """An out may carry options; its path is the key."""
    return entry if isinstance(entry, str) else next(iter(entry))


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _digest(fingerprint: Fingerprint) -> str:
    content = {"deps": dict(fingerprint.deps), "params": dict(fingerprint.params)}
    return hashlib.md5(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
