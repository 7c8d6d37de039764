"""`spavl ui`: both servers answer, and Dagster shows what was made as fresh."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project

pytestmark = pytest.mark.slow

QUERY = """{ assetNodes { assetKey { path } groupName isMaterializable staleStatus
  assetMaterializations(limit: 1) { metadataEntries { label } }
  assetChecksOrError { ... on AssetChecks { checks { name } } }
  partitionStats { numPartitions numMaterialized } } }"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer")


def ask(url: str, query: str, variables: dict[str, Any] | None = None) -> Any:
    content = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def refused(url: str, **headers: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60).close()
    except urllib.error.HTTPError as error:
        return error.code == 403
    return False


def command_lines(project: Project) -> dict[int, str]:
    """Command lines of all processes that work in the project's folder, by process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() == project.root.resolve():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended meanwhile
            continue
    return {pid: line for pid, line in found.items() if line}


def test_both_user_interfaces_show_the_project(made_project: Project):
    dagster, mlflow = free_port(), free_port()
    log = made_project.root.parent / "ui.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "spavl_dag", "ui"),
                *("--dagster-port", str(dagster), "--mlflow-port", str(mlflow)),
            ],
            cwd=made_project.root,
            env=made_project.environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while "Ctrl-C ends both" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, "no addresses were told"
            time.sleep(0.2)
        # They answer at once, for they are told when they do.
        for address in (f"http://127.0.0.1:{mlflow}", f"http://127.0.0.1:{dagster}"):
            assert address in log.read_text()
            urllib.request.urlopen(address, timeout=30).close()
        end = time.monotonic() + 60
        nodes = []
        while not nodes and time.monotonic() < end:  # the code location loads after the server
            nodes = ask(f"http://127.0.0.1:{dagster}/graphql", QUERY)["assetNodes"]
            time.sleep(1)
        by_name = {node["assetKey"]["path"][0]: node for node in nodes}
        assert {"models", "base_model", "images", "responses", "dataset"} <= by_name.keys()
        for name, node in by_name.items():
            if not node["isMaterializable"]:
                continue
            if node["partitionStats"]:
                assert node["partitionStats"]["numMaterialized"] == node["partitionStats"]["numPartitions"] == 3
            else:
                assert node["staleStatus"] == "FRESH", name
            assert node["assetChecksOrError"]["checks"] or name == "report", name
        labels = {e["label"] for e in by_name["images"]["assetMaterializations"][0]["metadataEntries"]}
        assert {"dagster/row_count", "preview", "sample", "dvc_md5"} <= labels
        with urllib.request.urlopen(
            urllib.request.Request(
                f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/experiments/search",
                b'{"max_results": 10}',
                {"Content-Type": "application/json"},
            ),
            timeout=60,
        ) as answer:
            assert "generation" in {e["name"] for e in json.load(answer)["experiments"]}
        mutation = f"http://127.0.0.1:{dagster}/graphql?query=mutation%7BfreeConcurrencySlots(runId:%22x%22)%7D"
        told = log.read_text()
        for noise in ("SupersessionWarning", "DAGSTER_HOME", "Registry store URI", "telemetry", " INFO", "GET /"):
            assert noise not in told
        assert refused(mutation)
        assert refused(f"http://127.0.0.1:{dagster}/server_info", Host="evil.example")
        assert refused(f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/experiments/search", Host="evil.example")
        taken = made_project.spavl("ui", "--dagster-port", str(dagster), check=False)
        assert taken.returncode == 1
        assert f"port {dagster} is taken" in taken.stderr
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) in (0, 1)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_no_password_is_shown_and_the_servers_end_even_when_the_command_is_killed(made_project: Project):
    made_project.change_params(
        lambda params: params["runtime"].update(mlflow_uri="postgresql://me:S3cret@127.0.0.1:9/x")
    )
    ports = ["--dagster-port", str(free_port()), "--mlflow-port", str(free_port())]
    log = made_project.root.parent / "ui.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "spavl_dag", "ui", *ports],
            cwd=made_project.root,
            env=made_project.environment(),
            stdout=output,
            stderr=output,
        )
        end = time.monotonic() + 120
        lines: dict[int, str] = {}
        while not any("mlflow server" in line for line in lines.values()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
            lines = command_lines(made_project)
        process.kill()
        process.wait()
        while command_lines(made_project):
            assert time.monotonic() < end, command_lines(made_project)
            time.sleep(0.2)
    assert "S3cret" not in "".join([*lines.values(), log.read_text()])
