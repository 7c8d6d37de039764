"""Shared by all tests: small projects, made with the real pipeline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from spavl_dag.yamls import dump_yaml, load_yaml

if os.environ.get("PYTEST_XDIST_WORKER"):
    # Two workers share two cores; threads that wait for each other would spin. Torch reads it when it is imported.
    os.environ["OMP_NUM_THREADS"] = "1"

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED_DATA = CHECKOUT.parent / "shared" / "data"

CLASSES = {"weapon": "weapon", "gamble": "gamble", "malware": "malware", "hate": "hate"}
MODELS = ("none_warm", "medium_warm", "high_warm")
EXPERIMENTS = ("base", "dpo", "ppo")
# A quarter of the default training: it names nothing rightly, but judges, prefers and writes well-formed texts.
QUICK_RECIPE: dict[str, Any] = {
    **{"vision_steps": 40, "vision_batch": 48, "text_layers": 2},
    **{"joint_steps": 420, "reading_steps": 0},
}

# It makes a project of its own, stage by stage, so it goes first: no worker is left alone with it at the end.
LONGEST = "test_dvc_repro_alone_makes_the_same"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first; xdist hands them out in this order."""
    items.sort(key=lambda item: (not item.name.startswith(LONGEST), item.get_closest_marker("slow") is None))


@dataclass
class Project:
    """A project folder and how to work with it from outside, as a user would."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        return load_yaml((self.root / "params.yaml").read_text())

    def change_params(self, change: Callable[[dict[str, Any]], None]) -> None:
        content = self.params
        change(content)
        (self.root / "params.yaml").write_text(dump_yaml(content))

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; its output is in the error when it fails."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def spavl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "spavl_dag", *arguments, check=check)

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", *arguments, check=check)

    def environment(self) -> dict[str, str]:
        """The environment of a user who is in the project: its code first, its tools on the PATH, nothing inherited."""
        bin_folder = str(Path(sys.executable).parent)
        inherited = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "DVC_STAGE", "DVC_ROOT")}
        return inherited | {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root),
            "COLUMNS": "120",
            "DVC_NO_ANALYTICS": "1",
            # Many processes start in one project: they share what the first one compiled.
            "PYTHONDONTWRITEBYTECODE": "",
            # Two test workers share two cores; threads that wait for each other would spin.
            "OMP_NUM_THREADS": "1",
            **self.env,
        }

    def recorded(self) -> dict[str, Any]:
        """The stages that dvc.lock holds."""
        stages: dict[str, Any] = load_yaml((self.root / "dvc.lock").read_text())["stages"]
        return stages

    def md5s(self) -> dict[str, str]:
        """Hash of every out, as dvc.lock holds it."""
        return {out["path"]: out["md5"] for stage in self.recorded().values() for out in stage["outs"]}

    def copy_to(self, folder: Path) -> Project:
        """The same project, with all it made, elsewhere."""
        shutil.copytree(self.root, folder, symlinks=True)
        return Project(folder, dict(self.env))


def new_project(folder: Path) -> Project:
    """A fresh clone with small params: four classes, three models."""
    names = (
        "assets",
        "spavl_dag",
        "prompts",
        "inputs",
        "dvc.yaml",
        "params.yaml",
        "dagster.yaml",
        ".dvcignore",
    )
    folder.mkdir(parents=True)
    for name in (*names, ".gitignore", "pyproject.toml"):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    (folder / "taxonomy.yaml").write_text(small_taxonomy())
    project = Project(folder)

    def small(params: dict[str, Any]) -> None:
        params["taxonomy"]["file"] = "taxonomy.yaml"
        params["models"] = {key: params["models"][key] for key in MODELS}
        params["images"]["per_class"] = 5
        params["safety_groups"]["count"] = 3
        params["dataset"] |= {"eval_questions_per_class": 2, "validation_share": 0.25}
        params["base_model"]["recipe"] = dict(QUICK_RECIPE)
        params["experiments"] = {key: params["experiments"][key] for key in EXPERIMENTS}
        params["experiments"]["ppo"]["optimizer"] |= {"batch_size": 8, "epochs": 1}
        for trained in (params["reward_model"], params["experiments"]["dpo"]):
            trained["optimizer"] |= {"batch_size": 8, "epochs": 1}
        for benchmark in params["evaluation"]["benchmarks"].values():
            benchmark["limit"] = 4

    project.change_params(small)
    project.run("git", "init", "-q")
    shutil.copytree(CHECKOUT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    project.run("git", "add", "-A")
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
    return project


def small_taxonomy() -> str:
    """Four of the published classes as a user's own taxonomy."""
    classes = [
        {"slug": slug, "name": name.title(), "keywords": [f"{name} {i}" for i in range(6)]}
        for slug, name in CLASSES.items()
    ]
    category = {"slug": "cat", "name": "A category", "classes": classes}
    return yaml.safe_dump({"domains": [{"slug": "dom", "name": "A domain", "categories": [category]}]})


@pytest.fixture
def fresh_project(tmp_path: Path) -> Project:
    """A project in which nothing was made."""
    return new_project(tmp_path / "project")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project made by `spavl demo`, once for all workers; copy it before you change it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    target = shared / "made-project"
    with FileLock(shared / "made-project.lock"):
        if not (target / "done").exists():
            shutil.rmtree(target, ignore_errors=True)
            project = new_project(target)
            told = project.spavl("demo")
            (target / "done").write_text(told.stdout + told.stderr)
    return target


@pytest.fixture
def made_project(made_once: Path, tmp_path: Path) -> Project:
    """A copy of a project in which everything was made by `spavl demo`."""
    return Project(made_once).copy_to(tmp_path / "project")
