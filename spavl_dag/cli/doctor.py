"""`spavl doctor`: is the environment fit, and if not, what fixes it?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import typer
from rich.console import Console
from rich.table import Table

from spavl_dag.errors import SpavlError
from spavl_dag.pipeline.layout import Project

_PACKAGES = ("torch", "transformers", "trl", "datasets", "pandera", "polars", "dagster", "mlflow")
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
    findings = [finding for check in _CHECKS for finding in check(project)]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table(title="spavl doctor")
        for column in ("", "what", "found", "fix"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            table.add_row(
                "[red]✗[/]" if finding.fix else "[green]✓[/]",
                finding.what,
                finding.found,
                finding.fix or "",
            )
        Console().print(table)
    if any(finding.fix for finding in findings):
        raise typer.Exit(1)


def _versions(_project: Project) -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("python", sys.version.split()[0], "Python 3.11 or newer is needed" if old else None)
    for name in _PACKAGES:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", "make setup")


def _antlr(_project: Project) -> Iterator[Finding]:
    """Dagster's selection parser needs antlr 4.13; an environment shared with dvc has 4.9."""
    try:
        version = importlib.metadata.version("antlr4-python3-runtime")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    wrong = not version.startswith("4.13")
    yield Finding("antlr of Dagster", version, "take dvc out of this environment, then make setup" if wrong else None)


def _dvc(project: Project) -> Iterator[Finding]:
    from spavl_dag.integrations.dvc.command import DvcError, find_dvc, run_dvc

    if find_dvc() is None:
        yield Finding("dvc", "not found", "make setup")
        return
    try:
        yield Finding("dvc", run_dvc(project, ["--version"]).strip())
        run_dvc(project, ["status", "--quiet", "--json"])
        yield Finding("dvc repository", "readable")
    except DvcError as error:
        yield Finding("dvc repository", str(error.message).splitlines()[-1], "git init && dvc init, or fix dvc.yaml")


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
        with Ledger(project.ledger) as ledger:
            repeated = ledger.repeated_calls()
            yield Finding("ledger", f"{ledger.count():,} calls, {repeated:,} repeated")
    except SpavlError as error:
        yield Finding("ledger", error.message, error.hint)


def _locks(project: Project) -> Iterator[Finding]:
    from filelock import FileLock, Timeout

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


def _disk(project: Project) -> Iterator[Finding]:
    free = shutil.disk_usage(project.root).free / 1e9
    yield Finding("free disk", f"{free:.0f} GB", "make room" if free < _MIN_FREE_GB else None)


_CHECKS: tuple[Callable[[Project], Iterator[Finding]], ...] = (
    _versions,
    _antlr,
    _dvc,
    _params,
    _ledger,
    _locks,
    _mlflow,
    _device,
    _disk,
)
