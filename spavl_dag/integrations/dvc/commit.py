"""Records in dvc.lock what was made outside `dvc repro`."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager

from spavl_dag.integrations.dvc.command import DvcError, inside_repro, run_dvc
from spavl_dag.integrations.dvc.ignore_file import ignore_unhashable
from spavl_dag.integrations.dvc.lock_file import keep_lock, read_lock
from spavl_dag.pipeline.graph import Graph
from spavl_dag.pipeline.make import Finished


class DvcCommit:
    """Records made stages in dvc.lock and DVC's cache, at once or, inside `deferred`, together.

    Args:
        graph: The project's artifacts.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._waiting: list[Finished] = []
        self._deferring = False

    def record(self, finished: Finished) -> str:
        """Record a stage that was made outside `dvc repro`.

        Returns:
            What was done, in words.

        Raises:
            DvcError: DVC failed, or what the stage was made from changed meanwhile; the artifact and the calls
                are kept, only the record is missing.
        """
        if inside_repro():
            self._graph.hasher.save()
            return "by dvc repro"
        self._waiting.append(finished)
        if self._deferring:
            return "by dvc commit, together with other stages"
        self.flush()
        return "by dvc commit"

    def flush(self) -> None:
        """Record what waits, in one dvc call.

        `dvc commit -f` blesses whatever lies on disk at that moment, so what changed since is left out and reported.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        graph = self._graph.with_fresh_eyes()
        graph.hasher.save()
        changed = {
            finished.stage.name: changes
            for finished in waiting
            if (changes := finished.meanwhile or graph.fingerprint(finished.stage).changes(finished.before))
        }
        names = {finished.stage.name for finished in waiting} - changed.keys()
        if names:
            read_lock(graph.project)  # a cut one is put back first: DVC would refuse it
            ignore_unhashable(graph)
            run_dvc(graph.project, ["commit", "--force", *_targets(graph, names)])
            keep_lock(graph.project)
        if changed:
            listed = "; ".join(f"{name} ({', '.join(what)})" for name, what in changed.items())
            raise DvcError(
                f"not recorded, because it changed while it was made: {listed}",
                "Make it again. Calls whose input is the same are in the ledger.",
            )

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Record everything made inside this block when it ends, also when it ends in an error."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            self.flush()


def _targets(graph: Graph, names: Set[str]) -> list[str]:
    """Stages as dvc takes them: all parts of an artifact by its name, because dvc writes its lock anew per target."""
    targets = []
    for artifact in graph.assets:
        parts = [stage.name for stage in graph.of(artifact)]
        made = [name for name in parts if name in names]
        if made:
            targets += [artifact] if made == parts else made
    return targets
