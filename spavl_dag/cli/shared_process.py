"""One process for all stages of one `dvc repro`, so that libraries and weights are loaded once and not per stage.

DVC starts `spavl run` anew for each stage. The first one starts a process that stays until that dvc ends; each stage
hands its command over to it, with its terminal, environment and folder, and ends with its exit code. What it does there
is what it would have done itself: `spavl demo` runs all stages in one process in the same way. If a stage's own process
is killed, the work ends at once; if the shared one is, the stage fails and the next starts another. `SPAVL_SHARED=0`
turns it off. See docs/decisions/0017-one-process-per-dvc-repro.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_START_SECONDS = 20.0
_LOOK_EVERY = 0.1  # seconds between two looks at whether dvc still runs
_STANDARD = (0, 1, 2)

LIBRARY = Path(__file__).resolve().parents[1]


def hand_over(arguments: list[str]) -> int | None:
    """Let the shared process of this dvc run a command.

    Args:
        arguments: Of `spavl`, without its name.

    Returns:
        The exit code, or None where the command is to be run here: outside `dvc repro`, for other commands than
        `run`, where there can be no shared process, or in a folder with its own copy of this code (an experiment in a
        temporary folder), which that copy has to run.
    """
    wanted = os.environ.get("DVC_STAGE") and arguments[:1] == ["run"] and os.environ.get("SPAVL_SHARED", "1") != "0"
    if not wanted or not hasattr(socket, "send_fds") or not hasattr(socket, "AF_UNIX") or _has_other_code(Path.cwd()):
        return None
    try:
        address = _address(os.getppid())
        code = _ask(address, arguments)
        if code is None:
            _start(address)
            code = _ask(address, arguments)
    except OSError:
        return None
    return code


def _has_other_code(folder: Path) -> bool:
    """Whether a folder holds this library, and another copy of it than the one that runs."""
    own = folder / LIBRARY.name
    return (own / "__init__.py").is_file() and own.resolve() != LIBRARY


def _ask(address: Path, arguments: list[str]) -> int | None:
    """The exit code of the command; None if nobody takes it."""
    asked = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        try:
            server.connect(str(address))
            socket.send_fds(server, [len(asked).to_bytes(8, "big")], list(_STANDARD))
            server.sendall(asked)
            told = _read(server, 8)
        except OSError:
            return None
        if not told:
            return None
        process = int.from_bytes(told, "big")
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both; the other one answers
        signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(process, number))
        try:
            answer = _read(server, 8)
        finally:
            signal.signal(signal.SIGINT, before)
    if not answer:
        print("error: the process that ran this stage was ended (killed, or out of memory)", file=sys.stderr)
        print("Run it again: finished calls are in the ledger and are not made again.", file=sys.stderr)
        return 1
    return int.from_bytes(answer, "big", signed=True)


def _start(address: Path) -> None:
    """Start the shared process, and wait until it listens."""
    command = [sys.executable, "-P", "-m", "spavl_dag.cli.shared_process", str(address), str(os.getppid())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if address.exists():
            return
        time.sleep(0.01)


def _address(dvc: int) -> Path:
    """Where the shared process of a dvc listens: short, for a socket's path is, and nobody else's folder."""
    folder = Path(tempfile.gettempdir()) / f"spavl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to others")
    code = hashlib.sha256(f"{sys.executable}\n{LIBRARY}".encode()).hexdigest()[:8]
    return folder / f"{dvc}-{code}"


def serve(address: Path, dvc: int) -> None:
    """Run the commands that are handed over, one after another, until dvc has ended.

    Args:
        address: Where to listen.
        dvc: Process id of the dvc whose stages are run.
    """
    started = _code_state()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        new = address.with_suffix(".new")
        new.unlink(missing_ok=True)
        listening.bind(str(new))
        listening.listen(1)
        new.replace(address)  # whoever sees it can connect
        listening.settimeout(_LOOK_EVERY)
        _set_streams([os.open(os.devnull, os.O_RDWR)] * 3)  # dvc's own output must end with dvc
        try:
            while _exists(dvc):
                try:
                    client, _ = listening.accept()
                except TimeoutError:
                    continue
                if _code_state() != started:
                    break  # edited code needs a new process, which is started when this one takes nothing
                with client, contextlib.suppress(OSError):
                    client.settimeout(None)
                    client.sendall(_run(client).to_bytes(8, "big", signed=True))
        except KeyboardInterrupt:
            pass  # of the terminal, between two stages
        address.unlink(missing_ok=True)


def _run(client: socket.socket) -> int:
    """Run one command in the client's place."""
    length, streams, *_ = socket.recv_fds(client, 8, len(_STANDARD))
    asked: dict[str, Any] = json.loads(_read(client, int.from_bytes(length, "big")))
    client.sendall(os.getpid().to_bytes(8, "big"))
    done = threading.Event()
    threading.Thread(target=_end_with, args=(client, done), daemon=True).start()
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["spavl", *asked["arguments"]]
    _set_streams(streams)
    from spavl_dag.cli import run_command

    try:
        run_command()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    finally:
        done.set()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        _set_streams([os.open(os.devnull, os.O_RDWR)] * 3)
    return code


def _end_with(client: socket.socket, done: threading.Event) -> None:
    """End this process, and so its work, when the client's is gone: as if the stage had been killed itself."""
    with contextlib.suppress(OSError):
        client.recv(1)
    if not done.is_set():
        os._exit(1)


def _set_streams(files: list[int]) -> None:
    for number, file in zip(_STANDARD, files, strict=True):
        os.dup2(file, number)
    for file in set(files):
        os.close(file)


def _read(connection: socket.socket, length: int) -> bytes:
    """So many bytes; none if the other side is gone."""
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 16))
        if not part:
            return b""
        parts += part
    return bytes(parts)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def _code_state() -> dict[str, tuple[int, int]]:
    """Times and sizes of the library's and the assets' files: an edited one needs a new process."""
    return {str(file): (about.st_mtime_ns, about.st_size) for file in _code_files() for about in [file.stat()]}


def _code_files() -> Iterator[Path]:
    for folder in (LIBRARY, LIBRARY.parent / "assets"):
        yield from folder.rglob("*.py")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
