"""dvc.yaml, written from the declarations: one stage per artifact, with `foreach` where an artifact has parts.

A template such as `${roles.judge.prompt}` stays a template, so that another file named there needs no new dvc.yaml.
What params choose otherwise (the image source, a role's local weights, a benchmark with a prompt of its own) changes
the stages: then `spavl graph check` says so, and `spavl graph write` writes them anew.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator

from spavl_dag.errors import SpavlError
from spavl_dag.pipeline.declaration import Asset
from spavl_dag.pipeline.graph import Graph, command, read_path

_HEADER = """\
# Written by `spavl graph write` from the signatures in assets/; `spavl graph check` compares. Don't edit it by hand.
# One stage per artifact, one per key of `models` or `experiments` where it has parts: another key there needs nothing
# here. `runtime:` of params.yaml is in no stage: it can't change a result. An artifact is replaced whole by its command
# or stays as it was (`persist`).
stages:
"""

_VIEWS = """
# What `dvc metrics show` and `dvc plots show` print, from the report: the headline numbers that MLflow has.
metrics:
  - eval/report/metrics
plots:
  - eval/report/curves:
      template: curves
      x: step
  - eval/report/leaderboard.csv:
      template: bar_horizontal
      x: unsafe_rate
      y: checkpoint
      title: HarmEval unsafe rate
  - eval/report/data_scale.csv:
      x: pairs
      y: [unsafe_rate, harm_score]
      title: HarmEval by number of training pairs
"""


def stages_file(graph: Graph) -> str:
    """The text of dvc.yaml, as the declarations and params want it."""
    return _HEADER + "\n".join("\n".join(_stage(graph, asset)) + "\n" for asset in graph.assets.values()) + _VIEWS


def write_stages_file(graph: Graph) -> bool:
    """Write dvc.yaml where it isn't as it should be; says whether it was written."""
    wanted, file = stages_file(graph), graph.project.dvc_file
    if file.is_file() and file.read_text(encoding="utf-8") == wanted:
        return False
    temporary = file.with_name(f"{file.name}.new")
    temporary.write_text(wanted, encoding="utf-8")
    temporary.replace(file)
    return True


def compare_stages_file(graph: Graph) -> list[str]:
    """How dvc.yaml differs from what it should be, as lines of a unified diff; none when it doesn't."""
    file = graph.project.dvc_file
    there = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    wanted = stages_file(graph).splitlines()
    return list(difflib.unified_diff(there, wanted, "dvc.yaml", "dvc.yaml as params and assets/ want it", lineterm=""))


def refuse_outdated(graph: Graph) -> None:
    """Make sure that dvc.yaml is as it should be, so that no change goes unnoticed.

    Raises:
        SpavlError: It is behind; names the first difference and the command that writes it anew.
    """
    lines = [line for line in compare_stages_file(graph)[2:] if line[:1] in "+-"]
    if lines:
        shown = "".join(f"\n  {line}" for line in lines[:5])
        raise SpavlError(
            f"dvc.yaml is not what params.yaml and assets/ want ({len(lines)} lines differ):{shown}",
            "Run `spavl graph write`, and commit dvc.yaml.",
        )


def _stage(graph: Graph, asset: Asset) -> Iterator[str]:
    key = "${key}" if asset.partitions else None
    yield f"  {asset.name}:"
    indent = "    "
    if asset.partitions:
        yield f"    foreach: ${{{asset.partitions}}}"
        yield "    do:"
        indent = "      "
    summary = " ".join(asset.description.split("\n\n")[0].split())
    yield from _wrapped(f"{indent}desc: ", summary, indent)
    yield f"{indent}cmd: {command(asset.name, key)}"
    yield f"{indent}deps:"
    yield from (f"{indent}  - {_quoted(dep)}" for dep in _deps(graph, asset))
    params = _params(graph, asset)
    if params:
        yield f"{indent}params:"
        yield from (f"{indent}  - {_quoted(path)}" for path in params)
    yield f"{indent}outs:"
    for out in asset.outs(key):
        yield f"{indent}  - {_quoted(out)}:"
        yield f"{indent}      persist: true"


def _deps(graph: Graph, asset: Asset) -> list[str]:
    deps = list(graph.code(asset))
    for source in graph.sources_of(asset):
        deps += [_template(file, asset) for file in source.files]
    for owner, up in graph.reads(asset):
        part = None
        if owner.partitions and up.mode == "baseline":
            part = "${evaluation.baseline}"
        elif owner.partitions and up.mode == "one":
            part = "${key}"
        deps.append(read_path(owner, up, part))
    return list(dict.fromkeys(deps))


def _params(graph: Graph, asset: Asset) -> list[str]:
    paths = [path.replace("{key}", "${key}") for source in graph.sources_of(asset) for path in source.keys]
    once = list(dict.fromkeys(paths))
    return [path for path in once if not any(path.startswith(f"{other}.") for other in once)]


def _template(file: str, asset: Asset) -> str:
    """A file as dvc.yaml names it: the entry of a `foreach` is called item."""
    return file.replace(f"${{{asset.partitions}.{{key}}.", "${item.") if asset.partitions else file


def _quoted(text: str) -> str:
    return f'"{text}"' if "${key}" in text else text


def _wrapped(start: str, text: str, indent: str) -> Iterator[str]:
    lines = textwrap.wrap(text, 118 - len(start)) or [""]
    if len(lines) == 1 and ": " not in text and not text.startswith(("'", '"')):
        yield start + text
        return
    yield f"{start}>-"
    yield from (f"{indent}  {line}" for line in textwrap.wrap(text, 116 - len(indent)))
