"""dvc.yaml as the project reads it, against DVC itself, Dagster's graph, and the imports of the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from spavl_dag.errors import SpavlError
from spavl_dag.pipeline.layout import ARTIFACTS, Project
from spavl_dag.pipeline.stages import Stages
from spavl_dag.pipeline.tables import SCHEMAS
from spavl_dag.yamls import load_yaml

ROOT = Path(__file__).resolve().parents[2]

# Modules that no stage depends on, each with the reason why a change of it changes no artifact.
PLUMBING = {
    "spavl_dag": "the version",
    "spavl_dag.inference": "docstring",
    "spavl_dag.states": "names; listed where steps call models",
    "spavl_dag.errors": "messages",
    "spavl_dag.inference.engines": "docstring; listed where models are asked",
    "spavl_dag.inference.engines.progress_bars": "what is shown",
    "spavl_dag.evaluation": "docstring; listed where items are scored",
    "spavl_dag.evaluation.schemas": "listed where items are scored; elsewhere it refuses tables",
    **{
        f"spavl_dag.params.{module}": "checks values that stand in params.yaml"
        for module in ("base", "checks", "evaluation", "load", "models", "pictograms", "sections", "training")
    },
    "spavl_dag.names": "checks values that stand in params.yaml",
    "spavl_dag.rules": "refuses artifacts, never changes one",
    "spavl_dag.pipeline": "docstring",
    "spavl_dag.pipeline.hashing": "names contents",
    "spavl_dag.pipeline.layout": "paths",
    "spavl_dag.pipeline.making": "order of work",
    "spavl_dag.pipeline.preview": "what is shown",
    "spavl_dag.pipeline.recipe": "declarations",
    "spavl_dag.pipeline.revision": "names the commit",
    "spavl_dag.pipeline.run": "joints; what is asked is part of every call's key",
    "spavl_dag.pipeline.stages": "reads dvc.yaml",
    "spavl_dag.pipeline.store": "reads and writes tables",
    "spavl_dag.pipeline.tables": "says which schema a table has",
    "spavl_dag.pipeline.validation": "refuses artifacts, never changes one",
    "spavl_dag.yamls": "reads params.yaml, dvc.yaml and dvc.lock",
    "spavl_dag.steps": "docstring",
    "spavl_dag.training": "docstring; listed where models are trained",
    "spavl_dag.training.schemas": "listed where models are trained; elsewhere it refuses tables",
    "spavl_dag.demo": "docstring",
    # Read by `run` for the taxonomy file; the stages whose steps use classes list it.
    "spavl_dag.taxonomy": "listed where steps use classes",
    "spavl_dag.stats": "listed where steps use intervals",
    "spavl_dag.media": "docstring",
    "spavl_dag.text": "listed where steps use it; elsewhere it redacts what is shown",
    "spavl_dag.media.decode": "listed where models see images; elsewhere it draws what is shown",
}


def imports_of(module: str) -> set[str]:
    """Modules of the project that a module imports, also inside functions."""
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.is_file():
        path = ROOT / module.replace(".", "/") / "__init__.py"
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("spavl_dag") and is_module(name)}


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def needed_by(artifact: str) -> set[str]:
    """Modules an asset needs, directly or through others, that can change its artifact."""
    found: set[str] = set()
    waiting = {f"assets.{artifact}"}
    while waiting:
        module = waiting.pop()
        new = {name for name in imports_of(module) if name not in PLUMBING} - found
        found |= new
        waiting |= new
    return found


def covered(module: str, deps: tuple[str, ...]) -> bool:
    path = module.replace(".", "/")
    return any(f"{path}.py" == dep or path == dep or path.startswith(f"{dep}/") for dep in deps)


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_code_deps_are_what_the_asset_imports(artifact: str):
    stage = Stages(Project(ROOT)).of(artifact)[0]
    lacking = {module for module in needed_by(artifact) if not covered(module, stage.deps)}
    assert not lacking, f"dvc.yaml: stage {artifact} lacks deps on {sorted(lacking)}"
    code = [dep for dep in stage.deps if dep.startswith(("spavl_dag/", "assets/")) and dep.endswith(".py")]
    needed = {module.replace(".", "/") + ".py" for module in needed_by(artifact) | {f"assets.{artifact}"}}
    reachable = needed | {m.replace(".", "/") + ".py" for m in PLUMBING}
    assert set(code) <= reachable, f"dvc.yaml: stage {artifact} has deps it doesn't import"


def test_what_the_files_hold_is_what_dagster_has():
    from assets import RECIPES, defs

    stages = Stages(Project(ROOT))
    graph = defs.resolve_asset_graph()
    for recipe in RECIPES:
        first = stages.of(recipe.name)[0]
        upstream = {stage.artifact for stage in stages.upstream(first)}
        assert upstream == set(recipe.deps), f"{recipe.name}: dvc.yaml and assets/ name different deps"
        node = graph.get(_key(recipe.name))
        parents = {key.to_user_string() for key in node.parent_keys} - {"models", "experiments"}
        assert parents == upstream
        partitions = [stage.partition for stage in stages.of(recipe.name)]
        have = node.partitions_def.get_partition_keys() if node.partitions_def else [None]
        assert have == partitions
        folder = ARTIFACTS[recipe.name].out(partitions[0])
        assert first.main_out in (folder, f"{folder}/{recipe.name}.parquet")
        tracked = [f"{folder}/{table}.parquet" for artifact, table in SCHEMAS if artifact == recipe.name]
        assert all(any(Path(path).is_relative_to(out) for out in first.outs) for path in tracked)
        assert node.code_version == stages.code_version(recipe.name)
    assert {recipe.name for recipe in RECIPES} == set(ARTIFACTS)


def _key(name: str):
    from dagster import AssetKey

    return AssetKey(name)


def test_numbers_are_read_as_dvc_writes_them():
    assert load_yaml("a: 5e-05\nb: 1.0e-4\nc: 1e3\nd: e5\ne: 12\n") == {
        **{"a": 5e-05, "b": 1e-4, "c": 1000.0},
        **{"d": "e5", "e": 12},
    }


def test_a_template_that_dvc_does_not_know_of_is_refused():
    stages = Stages(Project(ROOT))
    stages.refuse_unlisted("eval_responses", "prompts/pictograms/yes_no.j2")
    with pytest.raises(SpavlError, match=r"doesn't depend on prompts/judge\.j2"):
        stages.refuse_unlisted("eval_responses", "prompts/judge.j2")


def test_runtime_is_in_no_stage():
    for stage in Stages(Project(ROOT)).all:
        assert not any(param.split(".")[0] == "runtime" for param in stage.params), stage.name


def test_every_other_key_of_params_is_in_some_stage():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    used = {param for stage in Stages(Project(ROOT)).all for param in stage.params}
    for section, value in params.items():
        if section == "runtime":
            continue
        keys = [f"{section}.{key}" for key in value] if isinstance(value, dict) else [section]
        assert section in used or all(key in used for key in keys), f"{section} invalidates nothing"


def test_unknown_names_are_refused_with_what_there_is():
    stages = Stages(Project(ROOT))
    with pytest.raises(SpavlError, match="no partition 'nobody'"):
        stages.get("responses", "nobody")
    with pytest.raises(SpavlError, match="has one part per key of models"):
        stages.get("responses")
    with pytest.raises(SpavlError, match="has no partitions"):
        stages.get("captions", "high_hot")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stages: {captions: {cmd: x, frozen: true}}", "uses frozen"),
        ("stages: {nonsense: {cmd: x}}", "is no artifact"),
        ("stages: {captions: {cmd: 'x ${roles.none.prompt}'}}", "is nothing"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path: Path, text: str, told: str):
    (tmp_path / "dvc.yaml").write_text(text)
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    with pytest.raises(SpavlError, match=told):
        _ = Stages(Project(tmp_path)).all
