"""The page of documentation that lists the artifacts, written from their declarations."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph
from spavl_dag.schemas import hidden_columns, polars_schema

PAGE = "docs/artifacts.md"


def artifacts_page(graph: Graph) -> str:
    """The text of the page."""
    lines = [
        "# Artifacts",
        "",
        "Written by `spavl graph write` from the signatures in `assets/`. *Italic* columns hold texts that are hidden",
        "where they are shown, unless `runtime.show_text` is on.",
    ]
    for asset in graph.assets.values():
        lines += ["", *_section(graph, asset)]
    return "\n".join(lines) + "\n"


def _section(graph: Graph, asset: Asset) -> Iterator[str]:
    part = f"; one part per key of `{asset.partitions}`" if asset.partitions else ""
    yield f"## {asset.name}"
    yield ""
    yield asset.description
    yield ""
    yield f"- Declared in [assets/{asset.module.name}](../assets/{asset.module.name}), lies in `{asset.out()}/`{part}"
    modes = {"one": "", "all": " (all parts)", "baseline": " (the baseline's part)"}
    reads = [f"[{owner.name}](#{owner.name}){modes[up.mode]}" for owner, up in graph.reads(asset)]
    yield f"- Reads: {', '.join(reads) or 'no other artifact'}"
    keys = [f"`{key}`" for source in graph.sources_of(asset) for key in source.keys]
    yield f"- Params: {', '.join(dict.fromkeys(keys))}"
    if asset.checks:
        yield f"- Checks: {'; '.join(f'{check.description} ({check.severity})' for check in asset.checks)}"
    for spec in asset.tables:
        hidden = hidden_columns(spec.schema)
        columns = [f"*{name}*" if name in hidden else name for name in polars_schema(spec.schema)]
        about = (inspect.getdoc(spec.schema) or "").splitlines()[0]
        yield f"- Table `{spec.name}.parquet`: {about} {', '.join(columns)}."
