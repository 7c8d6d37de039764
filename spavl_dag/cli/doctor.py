"""`spavl doctor`: is the environment fit, and if not, what fixes it?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spavl_dag.errors import ParamsError, SpavlError
from spavl_dag.extras import how_to_install
from spavl_dag.pipeline.layout import Project

_PACKAGES = ("dagster", "mlflow", "pandera", "polars", "datasets")
_OF_EXTRAS = {"torch": "transformers", "transformers": "transformers", "trl": "train", "dagster-webserver": "ui"}
_MIN_FREE_GB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        what: What was checked.
        found: What was found.
        fix: How to fix it; None when it is fine.
    """

    what: str
    found: str
    fix: str | None = None


def print_report(project: Project, as_json: bool) -> None:
    """Print all findings; exits with code 1 when something needs fixing."""
    findings = [finding for check in _CHECKS for finding in _told(check, project)]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table(title="spavl doctor")
        for column in ("", "what", "found", "fix"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            # Words, not signs: a terminal may know nothing but ASCII.
            mark = Text("fix", "red") if finding.fix else Text("ok", "green")
            table.add_row(mark, *(Text(text or "") for text in (finding.what, finding.found, finding.fix)))
        Console().print(table)
    if any(finding.fix for finding in findings):
        raise typer.Exit(1)


def _told(check: Callable[[Project], Iterator[Finding]], project: Project) -> Iterator[Finding]:
    """What a check finds; that it can't look is a finding too."""
    try:
        yield from check(project)
    except OSError as error:
        fix = "see to it that it can be read and written"
        yield Finding(check.__name__.strip("_"), f"{error.strerror}: {error.filename}", fix)


def _folder(project: Project) -> Iterator[Finding]:
    """Whether the project can be written, and whether all tools can deal with its path."""
    trouble = path_trouble(str(project.root))
    if trouble:
        yield Finding("path", str(project.root), f"{trouble}: rename the folder")
    closed = _unwritable(project)
    told = ", ".join(closed) or str(project.root)
    fix = "nothing can be made or recorded here; make it writable, or work in a copy"
    yield Finding("can't be written" if closed else "project", told, fix if closed else None)


def path_trouble(path: str) -> str | None:
    """Which character of a project's path a tool can't deal with, and what fails for it."""
    from spavl_dag.integrations.dagster.instance import url_characters

    if characters := url_characters(path):
        return f"Dagster's store can't be opened where the path has '{characters}'"
    if found := re.search(r"[*[\]]", path):  # `datasets` takes these for a pattern
        return f"`load_dataset` can't open the dataset where the path has '{found[0]}'"
    return None


def _unwritable(project: Project) -> list[str]:
    """Places of the project that are there and can't be written."""
    places = [project.root, project.work, project.ledger, project.dagster_home, project.root / "dvc.lock"]
    places += [project.root / name for name in (".dvc", "data", "models", "eval", "mlflow.db")]
    closed = [place for place in places if place.exists() and not os.access(place, os.W_OK)]
    return ["the whole project"] if closed[:1] == [project.root] else [place.name for place in closed]


def _versions(_project: Project) -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("python", sys.version.split()[0], "Python 3.11 or newer is needed" if old else None)
    fixes = dict.fromkeys(_PACKAGES, "`make setup`") | {name: how_to_install(of) for name, of in _OF_EXTRAS.items()}
    for name, fix in fixes.items():
        version = _version(name)
        yield Finding(name, version or "not installed", None if version else fix)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _antlr(_project: Project) -> Iterator[Finding]:
    """Dagster's selection parser needs antlr 4.13; an environment shared with dvc has 4.9."""
    version = _version("antlr4-python3-runtime") or "not installed"
    wrong = not version.startswith("4.13")
    yield Finding("antlr of Dagster", version, "take dvc out of this environment, then make setup" if wrong else None)


def _dvc(project: Project) -> Iterator[Finding]:
    from spavl_dag.integrations.dvc.command import DvcError, find_dvc, run_dvc

    dvc = find_dvc()
    if dvc is None or _unwritable(project):  # dvc writes even when it only looks
        yield Finding("dvc", dvc or "not found", None if dvc else "`make setup`")
        return
    try:
        yield Finding("dvc", run_dvc(project, ["--version"]).strip())
        if stopping := _stops_dvc(project):
            yield Finding("dvc repository", f"DVC can't hash {stopping}", "`spavl graph write` names it in .dvcignore")
            return
        run_dvc(project, ["status", "--quiet", "--json"])
        yield Finding("dvc repository", "readable")
    except DvcError as error:
        yield Finding("dvc repository", str(error.message).splitlines()[-1], "git init && dvc init, or fix dvc.yaml")


def _stops_dvc(project: Project) -> str:
    """What every dvc command would fail on, or wait for without end; "" where there is nothing, or nothing is known."""
    from spavl_dag.integrations.dvc.ignore_file import find_unnamed
    from spavl_dag.pipeline.load import load_graph

    try:
        return ", ".join(find_unnamed(load_graph(project)))
    except SpavlError:  # told by another check
        return ""


def _stages(project: Project) -> Iterator[Finding]:
    """Whether dvc.yaml is what assets/ and params.yaml want."""
    from spavl_dag.integrations.dvc.stages_file import compare_stages_file
    from spavl_dag.pipeline.load import load_graph

    try:
        behind = len(compare_stages_file(load_graph(project)))
    except ParamsError:
        return  # told by the check of params.yaml
    except SpavlError as error:
        yield Finding("dvc.yaml", error.message, error.hint or "`spavl graph check`")
        return
    told = (
        f"{behind} lines differ from what assets/ and params.yaml want" if behind else "as assets/ and params.yaml want"
    )
    yield Finding("dvc.yaml", told, "`spavl graph write`, and commit it" if behind else None)


def _params(project: Project) -> Iterator[Finding]:
    from spavl_dag.params.load import load_params
    from spavl_dag.taxonomy import load_taxonomy

    try:
        params = load_params(project.params_file)
        load_taxonomy(project.root / params.taxonomy.file)
        yield Finding("params.yaml", f"{len(params.models)} models")
    except SpavlError as error:
        yield Finding("params.yaml", error.message, error.hint or "spavl params check")


def _ledger(project: Project) -> Iterator[Finding]:
    from spavl_dag.inference.ledger import Ledger

    if not project.ledger.exists():
        yield Finding("ledger", "none yet")
        return
    try:
        with Ledger(project.ledger, read_only=True) as ledger:
            repeated = ledger.repeated_calls()
            yield Finding("ledger", f"{ledger.count():,} calls, {repeated:,} repeated")
    except SpavlError as error:
        yield Finding("ledger", error.message, error.hint or "restore it from a copy")


def _locks(project: Project) -> Iterator[Finding]:
    from filelock import FileLock, Timeout

    if _unwritable(project):
        return  # nor held
    held = []
    for file in sorted(project.locks.glob("*.lock")):
        try:
            with FileLock(file, timeout=0):
                pass
        except Timeout:
            held.append(file.stem)
    yield Finding("locks", f"held: {', '.join(held)}" if held else "free")


def _mlflow(project: Project) -> Iterator[Finding]:
    from spavl_dag.integrations.mlflow.client import tracking_uri
    from spavl_dag.params.load import load_params

    try:
        uri = tracking_uri(project, load_params(project.params_file).runtime.mlflow_uri)
    except SpavlError:
        return  # told by the check of params.yaml
    waiting = len(list((project.work / "mlflow_outbox").glob("*.json")))
    fix = "is the MLflow server up? They are logged with the next run" if waiting else None
    shown = uri.split("@")[-1]  # a URI may carry credentials
    yield Finding("MLflow", f"{shown}, {waiting} run(s) waiting", fix)


def _device(_project: Project) -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return  # told by the check of versions
    if torch.cuda.is_available():
        yield Finding("device", f"cuda: {torch.cuda.get_device_name(0)}")
        return
    smi = shutil.which("nvidia-smi")
    gpu = smi is not None and subprocess.run([smi], capture_output=True, check=False).returncode == 0
    fix = "torch has no CUDA build: rm -rf .venv && make setup TORCH=auto" if gpu else None
    yield Finding("device", f"cpu, {os.cpu_count()} cores", fix)


def _torchvision(_project: Project) -> Iterator[Finding]:
    version = _version("torchvision")
    if version is None or _version("torch") is None:
        yield Finding("torchvision", "not installed; Qwen-VL, LLaVA-OneVision, InternVL and their like need it")
        return
    try:
        import torchvision  # noqa: F401
    except Exception as error:  # of another build than torch: RuntimeError, OSError or ImportError
        fix = "take it out, all else works without: .venv/bin/uv pip uninstall torchvision"
        yield Finding("torchvision", f"{version} doesn't fit torch {_version('torch')}: {error}", fix)
    else:
        yield Finding("torchvision", version)


def _disk(project: Project) -> Iterator[Finding]:
    free = shutil.disk_usage(project.root).free / 1e9
    yield Finding("free disk", f"{free:.0f} GB", "make room" if free < _MIN_FREE_GB else None)


_CHECKS: tuple[Callable[[Project], Iterator[Finding]], ...] = (
    _versions,
    _antlr,
    _folder,
    _dvc,
    _params,
    _stages,
    _ledger,
    _locks,
    _mlflow,
    _device,
    _torchvision,
    _disk,
)
