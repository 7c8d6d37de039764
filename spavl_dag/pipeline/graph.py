"""All artifacts of a project and what each depends on, with its state on disk now.

Belongs here: from declarations and params to stages, and from stages to fingerprints. What a stage looked like when it
was last recorded is DVC's to say (`integrations.dvc.lock`). Nothing here runs anything or changes a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spavl_dag.errors import SpavlError
from spavl_dag.params.load import load_params
from spavl_dag.params.sections import Params
from spavl_dag.pipeline.code import code_files
from spavl_dag.pipeline.declaration import Asset, Context, Source, TableSpec, Upstream
from spavl_dag.pipeline.hashing import ContentHasher
from spavl_dag.pipeline.layout import Project
from spavl_dag.schemas import Table as Schema
from spavl_dag.yamls import load_yaml


@dataclass(frozen=True, slots=True)
class Stage:
    """One artifact, or one part of it, and what it depends on.

    Attributes:
        artifact: The artifact's and the stage's name.
        partition: Key of its section of params, or None.
        deps: Files and folders, relative to the project.
        params: Key paths of params.yaml.
        outs: What it makes; the first is what other stages read, and its hash is the artifact's data version.
    """

    artifact: str
    partition: str | None
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]

    @property
    def name(self) -> str:
        """The stage's name as DVC shows it."""
        return f"{self.artifact}@{self.partition}" if self.partition else self.artifact

    @property
    def cmd(self) -> str:
        """The command that makes it."""
        return command(self.artifact, self.partition)

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
        """What differs from an earlier fingerprint, in words, down to the leaf of a section of params."""
        found = ["command"] if self.cmd != other.cmd else []
        found += [path for path in self.deps.keys() | other.deps.keys() if self.deps.get(path) != other.deps.get(path)]
        for key in self.params.keys() | other.params.keys():
            found += [f"params {leaf}" for leaf in _differing(key, other.params.get(key), self.params.get(key))]
        return sorted(found)


class Graph:
    """The artifacts of a project, as declared and as params choose.

    Args:
        project: The project.
        assets: Its declarations.
        params: Checked params; read from the project when None.
        hasher: Shared between readings, so that nothing is hashed twice.

    Raises:
        ParamsError: params.yaml is not valid.
    """

    def __init__(
        self,
        project: Project,
        assets: Iterable[Asset],
        params: Params | None = None,
        hasher: ContentHasher | None = None,
    ) -> None:
        self.project = project
        self.params = params or load_params(project.params_file)
        self.hasher = hasher or ContentHasher(project.root, project.hashes)
        self.context = Context(self.params, project.root)
        self.assets: Mapping[str, Asset] = self._ordered({asset.name: asset for asset in assets})

    def asset(self, name: str) -> Asset:
        """Look an artifact up.

        Raises:
            SpavlError: There is none of that name.
        """
        if name not in self.assets:
            raise SpavlError(f"there is no artifact '{name}'", f"One of: {', '.join(self.assets)}.")
        return self.assets[name]

    def owner(self, schema: type[Schema]) -> tuple[Asset, TableSpec]:
        """The artifact that has the table with that schema, and the table."""
        return _owner(self.assets.values(), schema)

    @cached_property
    def raw_params(self) -> Mapping[str, Any]:
        """params.yaml as it is, for comparison with dvc.lock."""
        content = load_yaml(self.project.params_file.read_text(encoding="utf-8-sig"))
        return content if isinstance(content, Mapping) else {}

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, in an order in which they can be made."""
        return tuple(
            self._stage(asset, key)
            for asset in self.assets.values()
            for key in (self.params.keys(asset.partitions) if asset.partitions else [None])
        )

    def of(self, artifact: str) -> list[Stage]:
        """The stages of an artifact: one, or one per partition."""
        return [stage for stage in self.stages if stage.artifact == artifact]

    def get(self, artifact: str, partition: str | None = None) -> Stage:
        """One stage.

        Raises:
            SpavlError: There is no such stage; says which there are.
        """
        asset = self.asset(artifact)
        stages = self.of(artifact)
        for stage in stages:
            if stage.partition == partition:
                return stage
        if asset.partitions is None:
            raise SpavlError(f"'{artifact}' has no partitions", "Leave --partition out.")
        keys = ", ".join(str(stage.partition) for stage in stages)
        if partition is None:
            raise SpavlError(
                f"'{artifact}' has one part per key of {asset.partitions}", f"Name one with --partition: {keys}."
            )
        raise SpavlError(f"'{artifact}' has no partition '{partition}'", f"One of: {keys}.")

    def reads(self, asset: Asset) -> list[tuple[Asset, Upstream]]:
        """The artifacts that an asset reads, in the order of its signature."""
        found = [(self._upstream_asset(up), up) for up in asset.upstream(self.context)]
        return list({(owner.name, up.mode): (owner, up) for owner, up in found}.values())

    def sources_of(self, asset: Asset) -> list[Source]:
        """What an asset depends on beside artifacts: also who takes part, where it reads all parts of one."""
        found = asset.sources(self.context)
        for owner, up in self.reads(asset):
            if up.mode == "all" and owner.partitions:
                found.append(Source(f"params/{owner.partitions}", (owner.partitions,)))
            elif up.mode == "baseline":
                found.append(Source("params/evaluation/baseline", ("evaluation.baseline",)))
        return list(dict.fromkeys(found))

    def upstream(self, stage: Stage) -> list[Stage]:
        """Stages whose outs the given one reads, whole or in part."""
        return [
            other
            for other in self.stages
            if other is not stage and any(_overlap(dep, out) for dep in stage.deps for out in other.outs)
        ]

    def behind(self, *stages: Stage) -> list[Stage]:
        """All stages that the given ones come from, directly or not, in an order in which they can be made."""
        found: set[str] = set()
        waiting = list(stages)
        while waiting:
            for stage in self.upstream(waiting.pop()):
                if stage.name not in found:
                    found.add(stage.name)
                    waiting.append(stage)
        return [stage for stage in self.stages if stage.name in found]

    def path(self, file: str, partition: str | None = None) -> str:
        """The path that a source's file stands for: itself, or what params name at `${key.path}`.

        Raises:
            SpavlError: Params name nothing there.
        """
        if not file.startswith("${"):
            return file
        key = file[2:-1].replace("{key}", str(partition))
        named = lookup(self.raw_params, key)
        if not isinstance(named, str):
            raise SpavlError(f"params.yaml: {key} names no file", "It must be a path, relative to the project.")
        return named.rstrip("/")

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

    def data_version(self, stage: Stage) -> str | None:
        """Hash of what others read of a stage, as it lies on disk now; None when it isn't there."""
        return self.hasher.md5(self.project.root / stage.main_out)

    def code(self, asset: Asset) -> tuple[str, ...]:
        """Code that an asset's artifact depends on, relative to the project."""
        return code_files(asset.function.__module__, self.project.root)

    def code_version(self, asset: Asset) -> str:
        """Hash of that code."""
        return _digest({path: self.hasher.md5(self.project.root / path) for path in self.code(asset)})

    @cached_property
    def sources(self) -> Mapping[str, Source]:
        """Everything that no asset makes and some asset depends on, by name."""
        found: dict[str, Source] = {}
        for asset in self.assets.values():
            for source in self.sources_of(asset):
                known = found.setdefault(source.name, source)
                if known != source:
                    raise SpavlError(f"two assets declare '{source.name}' differently")
        return found

    def source_version(self, source: Source, partition: str | None = None) -> str:
        """Hash of a source's values and files, as they are now."""
        keys = [key.replace("{key}", str(partition)) for key in source.keys]
        files = [self.path(file, partition) for file in source.files]
        return _digest(
            {
                "params": {key: lookup(self.raw_params, key) for key in keys},
                "files": {file: self.hasher.md5(self.project.root / file) for file in files},
            }
        )

    def with_fresh_eyes(self) -> Graph:
        """The same graph, read anew from disk."""
        return Graph(self.project, self.assets.values(), None, self.hasher.anew())

    def _stage(self, asset: Asset, key: str | None) -> Stage:
        deps = list(self.code(asset))
        params: list[str] = []
        for source in self.sources_of(asset):
            params += [path.replace("{key}", str(key)) for path in source.keys]
            deps += [self.path(file, key) for file in source.files]
        for owner, up in self.reads(asset):
            deps.append(read_path(owner, up, self._partition_read(asset, owner, up, key)))
        return Stage(asset.name, key, tuple(dict.fromkeys(deps)), _without_covered(params), asset.outs(key))

    def _partition_read(self, asset: Asset, owner: Asset, up: Upstream, key: str | None) -> str | None:
        if owner.partitions is None or up.mode == "all":
            return None
        if up.mode == "baseline":
            return self.params.evaluation.baseline
        if asset.partitions != owner.partitions:
            raise SpavlError(
                f"asset {asset.name} reads one part of {owner.name} and has no such partitions itself",
                "Ask for AllPartitions[…].",
            )
        return key

    def _upstream_asset(self, up: Upstream) -> Asset:
        return self.asset(up.artifact) if isinstance(up.artifact, str) else self.owner(up.artifact)[0]

    def _ordered(self, assets: Mapping[str, Asset]) -> dict[str, Asset]:
        """The assets in an order in which they can be made."""
        self.assets = assets
        ordered: dict[str, Asset] = {}
        waiting: list[str] = []

        def add(asset: Asset) -> None:
            if asset.name in ordered:
                return
            if asset.name in waiting:
                raise SpavlError(f"assets read each other in a circle: {' <- '.join([*waiting, asset.name])}")
            waiting.append(asset.name)
            for owner, _ in self.reads(asset):
                add(owner)
            waiting.pop()
            ordered[asset.name] = asset

        for asset in assets.values():
            add(asset)
        return ordered


def command(artifact: str, partition: str | None) -> str:
    """The command that makes a stage."""
    return f"spavl run {artifact}" + (f" --partition {partition}" if partition else "")


def read_path(owner: Asset, up: Upstream, partition: str | None) -> str:
    """What a stage depends on that reads an artifact: one table of those that have pictures, else the folder."""
    if owner.files:
        names = [table.name for table in owner.tables if table.schema is up.artifact] or [owner.name]
        return f"{owner.out(partition)}/{names[0]}.parquet"
    return owner.out(partition)


def lookup(values: Mapping[str, Any], path: str) -> Any:
    """Value under a dotted key path, or None."""
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _owner(assets: Iterable[Asset], schema: type[Schema]) -> tuple[Asset, TableSpec]:
    found = [(asset, table) for asset in assets for table in asset.tables if table.schema is schema]
    if len(found) != 1:
        names = ", ".join(asset.name for asset, _ in found) or "no asset"
        raise SpavlError(f"{schema.__name__} must be a table of one asset, and is of {names}")
    return found[0]


def _without_covered(keys: Sequence[str]) -> tuple[str, ...]:
    """Key paths, each once, without those inside a section that is named as well."""
    once = list(dict.fromkeys(keys))
    return tuple(key for key in once if not any(key.startswith(f"{other}.") for other in once))


def _differing(path: str, before: Any, after: Any) -> list[str]:
    """The leaves in which two values differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = sorted(before.keys() | after.keys(), key=str)
        return [leaf for key in keys for leaf in _differing(f"{path}.{key}", before.get(key), after.get(key))]
    return [] if before == after else [path]


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.md5(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
