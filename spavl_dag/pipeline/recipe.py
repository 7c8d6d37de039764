"""How an artifact is declared: a function with its place in the graph, free of any orchestrator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spavl_dag.pipeline.layout import artifact_kind
from spavl_dag.pipeline.run import Run
from spavl_dag.pipeline.store import Made

Function = Callable[[Run], Made]


@dataclass(frozen=True, slots=True)
class Recipe:
    """An artifact's function and what the graph shows of it.

    Attributes:
        name: The artifact.
        function: Makes it.
        deps: The artifacts it reads.
        group: Group in the graph.
        kinds: What it is made with or of; shown as tags.
        asks_models: Whether it runs models, and so shares their pool and gets an MLflow run.
        of_baseline: Artifacts of which a part reads the baseline's part besides its own.
        description: The function's docstring.
    """

    name: str
    function: Function
    deps: tuple[str, ...]
    group: str
    kinds: frozenset[str]
    asks_models: bool
    of_baseline: tuple[str, ...]
    description: str


def artifact(
    *,
    deps: tuple[str, ...] = (),
    group: str,
    kinds: set[str],
    asks_models: bool = False,
    of_baseline: tuple[str, ...] = (),
) -> Callable[[Function], Recipe]:
    """Declare the decorated function as the maker of the artifact of its name.

    Args:
        deps: The artifacts it reads; dvc.yaml holds the same, and a test compares them.
        group: Group in the graph.
        kinds: At most three tags, such as "transformers" or "polars".
        asks_models: Whether it runs models.
        of_baseline: Those of the deps of which a part reads the baseline's part too.

    Raises:
        SpavlError: The function's name, or a dep, is no artifact.
    """

    def declare(function: Function) -> Recipe:
        name = artifact_kind(function.__name__).name
        described = (function.__doc__ or "").strip()
        return Recipe(
            name=name,
            function=function,
            deps=tuple(artifact_kind(dep).name for dep in deps),
            group=group,
            kinds=frozenset(kinds),
            asks_models=asks_models,
            of_baseline=of_baseline,
            description=described,
        )

    return declare
