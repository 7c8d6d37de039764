"""The DAG: one module per artifact, each declaring what it reads in the signature of its function.

`ASSETS` finds them: a new module here with an `@asset` is a new artifact (`spavl graph write` adds its stage).
`assets.definitions` is what Dagster loads.
"""

from __future__ import annotations

import importlib
import pkgutil

from spavl_dag.pipeline.declaration import Asset


def _find() -> tuple[Asset, ...]:
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name != "definitions")
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Asset) and value.function.__module__ == module.__name__
    )


ASSETS = _find()
