"""`spavl ui`: the Dagster and MLflow servers of a project."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress

from rich.console import Console

from spavl_dag.cli.running import synchronize_tools
from spavl_dag.errors import BusyError, SpavlError
from spavl_dag.params.load import load_params
from spavl_dag.pipeline.layout import Project

_HOST = "127.0.0.1"


def serve(project: Project, dagster_port: int, mlflow_port: int) -> None:
    """Run both servers until Ctrl-C, or until one of them ends.

    Raises:
        SpavlError: A port is taken, or a server ended by itself.
    """
    from spavl_dag.extras import require_extra

    require_extra("ui")
    from spavl_dag.integrations.dagster.instance import prepare_home
    from spavl_dag.integrations.mlflow.client import tracking_uri
    from spavl_dag.integrations.mlflow.store import NO_TELEMETRY, shown

    for port in (dagster_port, mlflow_port):
        _refuse_taken(port)
    params = load_params(project.params_file)
    uri = tracking_uri(project, params.runtime.mlflow_uri)
    synchronize_tools(project)
    # A shell starts background jobs with Ctrl-C ignored, and servers would inherit that and never stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    environment = {
        **NO_TELEMETRY,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven helper processes for what isn't used here
        "PYTHONWARNINGS": "ignore:starlette.middleware.wsgi is deprecated",  # MLflow's own business
        **os.environ,
        "DAGSTER_HOME": str(prepare_home(project)),
    }
    # It may hold a password, and everybody can read a command line.
    secret = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_REGISTRY_STORE_URI": uri}
    commands: Mapping[str, list[str]] = {
        "Dagster": [
            *("spavl_dag.integrations.dagster.guard", "dev", "--host", _HOST, "--port", str(dagster_port)),
            *("--log-level", "warning"),  # what it does is in its pages
        ],
        "MLflow": [
            *("mlflow", "server", "--host", _HOST, "--port", str(mlflow_port)),
            *("--default-artifact-root", (project.root / "mlartifacts").as_uri(), "--workers", "1"),
            *("--uvicorn-opts", "--log-level warning"),  # no line per request
        ],
    }
    if uri.startswith("http"):
        commands = {"Dagster": commands["Dagster"]}  # the MLflow server is elsewhere
    where = shown(uri) if "MLflow" not in commands else f"http://{_HOST}:{mlflow_port}"
    console = Console()
    console.print(f"starting {' and '.join(commands)}", highlight=False)
    views = _views(uri, where)
    addresses = {"Dagster": f"http://{_HOST}:{dagster_port}", "MLflow": where}
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            servers[name] = subprocess.Popen(
                [sys.executable, "-m", "spavl_dag.cli.follow", *command],
                cwd=project.root,
                env=environment | (secret if name == "MLflow" else {}),
                stdin=subprocess.PIPE,
                # Ctrl-C of the terminal would reach MLflow's processes too, and they answer it with tracebacks.
                start_new_session=name == "MLflow",
            )
        _tell_when_they_answer(console, servers, addresses)
        if "MLflow" not in servers:
            console.print(f"MLflow:  {where}", highlight=False, soft_wrap=True)
        for what, address in views.items():
            console.print(f"  {what}: {address}", highlight=False, soft_wrap=True)
        console.print(f"Ctrl-C ends {'both' if len(servers) > 1 else 'it'}")
        while True:
            _refuse_ended(servers)
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("stopping")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once more would leave servers behind
        for name, server in servers.items():
            with suppress(ProcessLookupError):
                if name == "MLflow":
                    os.killpg(server.pid, signal.SIGTERM)
                else:
                    server.send_signal(signal.SIGINT)
        for server in servers.values():
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                server.kill()


def _tell_when_they_answer(
    console: Console, servers: Mapping[str, subprocess.Popen[bytes]], addresses: Mapping[str, str]
) -> None:
    """Print the address of each server once it can be opened.

    Raises:
        SpavlError: A server ended by itself.
    """
    waited_for = list(servers)
    while waited_for:
        _refuse_ended(servers)
        time.sleep(0.3)
        for name in [name for name in waited_for if _answers(addresses[name])]:
            console.print(f"{name + ':':8} {addresses[name]}", highlight=False, soft_wrap=True)
            waited_for.remove(name)


def _answers(address: str) -> bool:
    try:
        # This machine's own servers: a proxy of the environment is not asked.
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _refuse_ended(servers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    ended = [name for name, server in servers.items() if server.poll() is not None]
    if ended:
        raise SpavlError(f"the {' and '.join(ended)} server ended by itself", "Its last lines are above.")


def _views(uri: str, ui: str) -> dict[str, str]:
    """Addresses of MLflow's saved views; looked up before the server starts, which would make the store meanwhile."""
    from spavl_dag.integrations.mlflow.checkpoints import find_view

    found = {"leaderboard": find_view(uri, ui, "leaderboard"), "data scale": find_view(uri, ui, "data_scale")}
    return {what: address for what, address in found.items() if address}


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((_HOST, port)) == 0:
            raise BusyError(f"port {port} is taken", "Choose others with --dagster-port and --mlflow-port.")
