"""dvc.lock: what each stage looked like when it was last recorded, and so whether it is stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spavl_dag.integrations.dvc.lock_file import read_lock
from spavl_dag.pipeline.graph import Fingerprint, Graph, Stage


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stage as dvc.lock holds it.

    Attributes:
        fingerprint: What it was made from.
        outs: Hashes of what was made, by path.
    """

    fingerprint: Fingerprint
    outs: Mapping[str, str]


class Lock:
    """dvc.lock of a graph's project, read once.

    Args:
        graph: The artifacts, as they are now.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def recorded(self, stage: Stage) -> Recorded | None:
        """The stage as it was last recorded, or None when it never was."""
        entry = self._stages.get(stage.name)
        if entry is None:
            return None
        return Recorded(
            fingerprint=Fingerprint(
                cmd=entry["cmd"],
                deps={dep["path"]: dep.get("md5") for dep in entry.get("deps", [])},
                params={k: v for values in entry.get("params", {}).values() for k, v in values.items()},
            ),
            outs={out["path"]: out["md5"] for out in entry.get("outs", []) if "md5" in out},
        )

    def why_stale(self, stage: Stage) -> list[str]:
        """Why a stage would run, empty when it wouldn't; the same question as `dvc status <stage>`."""
        recorded = self.recorded(stage)
        if recorded is None:
            return ["never recorded"]
        reasons = [f"changed: {what}" for what in self.graph.fingerprint(stage).changes(recorded.fingerprint)]
        for path, md5 in self.graph.outs(stage).items():
            if md5 is None:
                reasons.append(f"missing: {path}")
            elif md5 != recorded.outs.get(path):
                reasons.append(f"modified: {path}")
        return reasons

    @cached_property
    def _stages(self) -> Mapping[str, Any]:
        return read_lock(self.graph.project)
