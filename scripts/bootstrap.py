"""Make, fix or confirm the environment in `.venv`: what `make setup` runs, with its switches as variables.

uv installs. Here is what it can't do: come with nothing but Python; know what pip was told about sources; find torch
in the build asked for; say in half a second that nothing is to do; make good what was cut short, deleted or moved;
let `dagster dev` and `dvc` find their way in this checkout. DVC gets an environment of its own, reached as
`.venv/bin/dvc`, because its antlr and Dagster's exclude each other. Standard library only.
"""

import ast
import contextlib
import csv
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON, UV, DVC = (VENV / "bin" / name for name in ("python", "uv", "dvc"))
DVC_HOME = VENV / "tools" / "dvc"
PINS = VENV / "pins.txt"
STATE = VENV / "setup.json"
PYTHON_VERSION = ".".join(map(str, sys.version_info[:3]))
# These would send an install elsewhere than into .venv, or bring another torch.
ASTRAY = r"PYTHON(HOME|PATH)|PIP_(PREFIX|TARGET|USER)|UV_(PREFIX|PYTHON|SYSTEM_PYTHON|TARGET|TORCH_BACKEND)"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not re.fullmatch(ASTRAY, name)}
ENVIRONMENT |= {"VIRTUAL_ENV": str(VENV), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_PYTHON_DOWNLOADS": "never"}
# Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each process would compile Dagster and torch again.
ENVIRONMENT |= {"UV_COMPILE_BYTECODE": "1", "UV_NO_PROGRESS": "1"}
ENVIRONMENT |= {"UV_TOOL_DIR": str(DVC_HOME.parent), "UV_TOOL_BIN_DIR": str(DVC.parent)}
MARK = "  # by make setup, for a bare `dagster dev`"
CHECK = """
import dagster, torch
dagster.AssetSelection.from_string("+anything")  # dies where DVC's antlr has crept in
print("dagster", dagster.__version__ + ", torch", torch.__version__ + ", GPU:", end=" ")
print(torch.cuda.get_device_name() if torch.cuda.is_available() else "none")
"""
State = dict[str, Any]


class SetupError(Exception):
    """A step failed; the message says what to do."""


def main() -> None:
    """Bring the environment into the state the checkout asks for."""
    os.chdir(ROOT)
    wait_for_other_setups()
    state: State = {}
    with contextlib.suppress(OSError, ValueError):
        state = dict(json.loads(STATE.read_text()))
    gpu = b"GPU" in subprocess.run("nvidia-smi -L", shell=True, capture_output=True).stdout
    torch = os.environ.get("TORCH") or state.get("torch") or ("auto" if gpu else "cpu")
    extras = str(os.environ.get("EXTRAS", state.get("extras", "")))
    key = hashlib.sha256(f"{torch} {extras}".encode())
    for path in (ROOT / "pyproject.toml", *sorted(ROOT.glob("constraints*.txt")), Path(__file__)):
        key.update(path.read_bytes())
    reason = reason_for_a_new_one(state)
    broken = [] if reason else forget_broken(VENV)
    if not reason and forget_broken(DVC_HOME):
        broken.append("dvc")
        state.pop("dvc", None)
    if reason or broken or state.get("key") != key.hexdigest() or not DVC.exists():
        build(state, torch, extras, reason, broken)
        write_state(state, extras=extras, key=key.hexdigest())
    else:
        say(f"ready (Python {state['python']}, torch {installed(VENV)['torch']})")
    write_dagster_home()
    tell_dvc_about_git()


def reason_for_a_new_one(state: State) -> str | None:
    """Why `.venv` can't be gone on with; None if it can."""
    if not os.path.lexists(VENV):
        return "there is none"
    if "python" not in state or not PYTHON.exists():
        return "the old one is incomplete"
    if state.get("root") != str(ROOT):
        return "the checkout was moved or copied"
    if os.environ.get("PYTHON") and state["python"] != PYTHON_VERSION:
        return "another Python was asked for"
    return None


def forget_broken(home: Path) -> list[str]:
    """Drop the metadata of packages with files missing or cut short, so that uv sees them as not installed."""
    broken = [info for info in home.glob("lib/python3.*/site-packages/*.dist-info") if not is_whole(info)]
    for info in broken:
        shutil.rmtree(info)
    return [info.name.split("-")[0] for info in broken]


def is_whole(info: Path) -> bool:
    """Whether every file that came with a package is there in its recorded size."""
    try:
        with open(info / "RECORD", newline="", encoding="utf-8") as record:
            files = [row for row in csv.reader(record) if not row[0].endswith(".pyc")]
        return all(os.stat(f"{info.parent}/{file}").st_size == int(size) for file, _, size in files if size)
    except (OSError, ValueError):
        return False


def build(state: State, torch: str, extras: str, reason: str | None, broken: list[str]) -> None:
    """Do what is missing between the present `.venv` and a checked one; `state` is brought up to date."""
    started = time.monotonic()
    if reason:
        say(f"Python {PYTHON_VERSION} -> .venv" + (f" (anew: {reason})" if os.path.lexists(VENV) else ""))
        if VENV.is_symlink() or VENV.is_file():
            VENV.unlink()
        shutil.rmtree(VENV, ignore_errors=True)
        # Not sys.executable: that may be in the very .venv that was just removed.
        run(getattr(sys, "_base_executable", None) or sys.executable, "-m", "venv", VENV)
        state.clear()
        write_state(state, root=str(ROOT), python=PYTHON_VERSION)
    if broken:
        say(f"fixing {', '.join(broken[:9])}{' and more' * (len(broken) > 9)}")
    write_state(state, key=None)  # until the end, so that a set-up cut short is taken up again
    names = ["dev", *re.findall(r"[\w.-]+", extras)]
    own = [path for name in names if (path := ROOT / f"constraints-{name}.txt").exists()]
    # torch==2.13.0 admits every build of it, torch==2.13.0+cpu that one only.
    text = (own or [ROOT / "constraints.txt"])[0].read_text()
    PINS.write_text(re.sub(r"^(torch==[^+;\s]+)\S*", r"\1", text, flags=re.MULTILINE))
    if installed(VENV).get("uv") != pin(PINS, "uv"):
        told = f"uv {pin(PINS, 'uv')}"
        run(PYTHON, "-m", "pip", "install", "--quiet", "--constraint", PINS, "uv", told=told)
    tell_uv_what_pip_knows()
    install_torch(state, torch)
    # vLLM brings torchvision and torchaudio, which must be of torch's build.
    backend = [f"--torch-backend={torch}"] if own and torch != "pypi" else []
    what = f"[{','.join(names)}]"
    command = ["--build-constraints", str(PINS), "--editable", f".{what}", *backend]
    uv_install(*command, told=f"spavl-dag{what}")
    if broken and (still := forget_broken(VENV)):
        # A file edited in place in .venv was changed in uv's cache too: they share it.
        run(UV, "cache", "clean", *still)
        uv_install(*command, told=f"{', '.join(still)} again")
    install_torchvision(state)
    install_dvc(state)
    # A folder full of packages proves nothing.
    seen = run(PYTHON, "-c", CHECK, told="checking that it starts").strip().splitlines()[-1]
    seen += f", dvc {run(DVC, '--version').strip()}"
    say(f"{seen}, antlr {' | '.join(installed(home)['antlr4_python3_runtime'] for home in (VENV, DVC_HOME))}")
    say(f"done in {time.monotonic() - started:.0f} s; commands are in .venv/bin")


def tell_uv_what_pip_knows() -> None:
    """Hand uv what pip was told about sources, which it doesn't read; what uv itself was told comes first."""
    listed = run(PYTHON, "-m", "pip", "config", "list")
    found = re.findall(r"^(global|install|:env:)\.([\w-]+)=(.+)$", listed, re.MULTILINE)
    found.sort(key=lambda entry: ("global", "install", ":env:").index(entry[0]))  # later ones take precedence
    pip = {name: str(ast.literal_eval(value)) for _, name, value in found}
    told = {
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_DEFAULT_INDEX": "" if "UV_INDEX_URL" in ENVIRONMENT else pip.get("index-url", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "UV_NO_INDEX": "1" if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
    }
    ENVIRONMENT.update({name: value for name, value in told.items() if value and name not in ENVIRONMENT})


def install_torch(state: State, build_name: str) -> None:
    """Install torch in the build asked for, unless it is there, and note where it came from.

    A wheel that pip's configuration points to comes first, then uv's index for the build. A plain install is
    never the fallback: on Linux it would bring several GB of CUDA to a machine without a GPU.
    """
    version = pin(PINS, "torch")
    present = installed(VENV).get("torch", "")
    if present.split("+")[0] == version and state.get("torch") == build_name and "source" in state:
        return
    sources = {f"uv --torch-backend={build_name}": [f"--torch-backend={build_name}"]}
    if build_name == "pypi" or (build_name == "cpu" and sys.platform == "darwin"):
        sources = {"the package index": []}
    elif build_name != "auto" and ENVIRONMENT.get("UV_FIND_LINKS"):
        sources = {"pip's find-links": ["--no-index"], **sources}
    failures = ""
    for source, options in sources.items():
        wanted = [f"torch=={version}+{build_name}", "--no-deps"] if "--no-index" in options else [f"torch=={version}"]
        try:
            told = f"torch {version} ({build_name}) from {source}"
            uv_install("--reinstall-package", "torch", *wanted, *options, told=told)
        except SetupError as error:
            cause = re.search(r"(?:hint|cause): (.+)", str(error))
            failures += f"  {source}: {cause[1] if cause else error}\n"
        else:
            write_state(state, torch=build_name, source=options)
            return
    raise SetupError(
        f"torch {version} could not be had as build '{build_name}' for Python {PYTHON_VERSION}. Tried:\n{failures}"
        "Ways out:\n"
        "  make setup TORCH=pypi   the plain torch of your package index (on Linux with GBs of CUDA)\n"
        "  make setup TORCH=auto   the build for this machine's GPU driver, from PyTorch's own index\n"
        "  make setup PYTHON=python3.11   another Python, if the wheel at hand is for that one\n"
        f"  PIP_FIND_LINKS=FOLDER make setup   a wheel of torch {version}+{build_name} is in FOLDER"
    )


def install_torchvision(state: State) -> None:
    """Install torchvision from where torch came from; one of another build can't be imported and goes again."""
    if "torchvision" in installed(VENV):
        return
    try:
        uv_install("torchvision", *state["source"])
        run(PYTHON, "-c", "import torchvision")
        say(f"torchvision {installed(VENV)['torchvision']}")
    except SetupError:
        if "torchvision" in installed(VENV):
            run(UV, "pip", "uninstall", "torchvision")
        say(f"no torchvision for torch {installed(VENV)['torch']} here: Qwen-VL and its like can't be loaded")


def install_dvc(state: State) -> None:
    """Install DVC as a tool with an environment of its own, reached through `.venv/bin/dvc`."""
    pins = ROOT / "constraints-dvc.txt"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if state.get("dvc") == wanted and DVC.exists() and "dvc" in installed(DVC_HOME):
        return
    # uv doesn't fix a tool that was cut short; made anew from the cache it takes seconds.
    shutil.rmtree(DVC_HOME, ignore_errors=True)
    DVC.unlink(missing_ok=True)
    # With libyaml DVC reads params.yaml, which it does once per stage, several times faster.
    what = ["--constraints", str(pins), "--with", "ruamel-yaml-clib", f"dvc=={pin(pins, 'dvc')}"]
    told = f"dvc {pin(pins, 'dvc')} in an environment of its own"
    run(UV, "tool", "install", "--python", PYTHON, *what, told=told)
    write_state(state, dvc=wanted)


def write_dagster_home() -> None:
    """Let a bare `dagster dev` find `.dagster`, by a line in `.env`; a DAGSTER_HOME that somebody else wrote stays."""
    home, env = ROOT / ".dagster", ROOT / ".env"
    home.mkdir(exist_ok=True)
    if not os.path.lexists(home / "dagster.yaml"):
        (home / "dagster.yaml").symlink_to(Path("..") / "dagster.yaml")
    lines = env.read_text().splitlines() if env.exists() else []
    others = [line for line in lines if not line.endswith(MARK)]
    quoted = str(home).replace("\\", "\\\\").replace("'", "\\'")
    line = f"DAGSTER_HOME='{quoted}'{MARK}"
    if line not in lines and not any(re.match(r"\s*(export\s+)?DAGSTER_HOME\s*=", other) for other in others):
        env.write_text("\n".join([*others, line, ""]))


def tell_dvc_about_git() -> None:
    """Let DVC work in a checkout without git (an unpacked archive), and with git again once there is one."""
    local, ours = ROOT / ".dvc" / "config.local", "[core]\n    no_scm = true\n"
    if not any((folder / ".git").exists() for folder in (ROOT, *ROOT.parents)):
        if not local.exists():
            local.write_text(ours)
    elif local.exists() and local.read_text() == ours:
        local.unlink()


def wait_for_other_setups() -> None:
    """Hold a lock on the folder, which leaves no file behind, for as long as this process and its installers live."""
    folder = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(folder, True)  # an installer that outlives a killed set-up keeps the next one waiting
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up of this checkout is running: waiting")
        fcntl.flock(folder, fcntl.LOCK_EX)


def run(*command: str | Path, told: str = "") -> str:
    """Run a command, keep its output in `.venv/setup.log`, and return what it printed; a step that is told is timed.

    Raises:
        SetupError: It failed; the end of its output.
    """
    started = time.monotonic()
    print(f"setup: {told} ..." if told else "", end="", flush=True)
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "close_fds": False}
    done = subprocess.run(command, env=ENVIRONMENT, **options)
    VENV.mkdir(exist_ok=True)
    with open(VENV / "setup.log", "a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}\n")
    if told:
        print(" no" if done.returncode else f" {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise SetupError(f"{tail}\n(exit status {done.returncode}; all output: .venv/setup.log)")
    return str(done.stdout)


def uv_install(*arguments: str | Path, told: str = "") -> None:
    """Install into `.venv` at the versions pinned."""
    run(UV, "pip", "install", "--constraints", PINS, *arguments, told=told)


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"setup: {text}", flush=True)


def write_state(state: State, **values: Any) -> None:
    """Keep what the next set-up has to know."""
    state |= values
    STATE.write_text(json.dumps(state, indent=1))


def installed(home: Path) -> dict[str, str]:
    """Names (as their folders write them) and versions of the packages in an environment."""
    folders = home.glob("lib/python3.*/site-packages/*.dist-info")
    return dict(folder.name.removesuffix(".dist-info").split("-", 1) for folder in folders)


def pin(constraints: Path, name: str) -> str:
    """The version a constraints file pins a package to."""
    found = re.search(rf"^{re.escape(name)}==([^\s;]+)", constraints.read_text(), re.MULTILINE)
    if not found:
        raise SetupError(f"{constraints.name} has no line '{name}==VERSION'. Fix: git checkout {constraints.name}")
    return found[1]


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"setup: failed.\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; `make setup` begins again.")
