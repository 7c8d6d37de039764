"""Make, fix or confirm the environment in `.venv`: what `make setup` runs.

Belongs here: everything between a bare `python3` and a working `.venv/bin/spavl`. Standard library only, and
no import of the project, because neither is there yet. Every step looks at what is on disk and does what is
missing, so a second call is quick and an interrupted one goes on where it stopped.

What it makes:
- `.venv` with uv, torch in the build asked for, the project (editable) and its tools, pinned by
  constraints.txt, or by constraints-EXTRA.txt for an extra that needs other versions;
- `.venv/tools/dvc`, DVC in an environment of its own (its antlr and Dagster's exclude each other), linked as
  `.venv/bin/dvc` and pinned by constraints-dvc.txt;
- `.env` and `.dagster/dagster.yaml`, so that a bare `dagster dev` in the root finds the project's own home.
"""

import argparse
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

OLDEST = (3, 11)


def leave_old_python() -> None:
    """Hand over to a newer Python on PATH, or say what is needed (old Pythons run this: plain syntax)."""
    if sys.version_info >= OLDEST:
        return
    newer = ["python3.%d" % minor for minor in (13, 12, 11)]  # noqa: UP031
    probe = "import sys; sys.exit(sys.version_info < (3, 11))"
    for name in newer:
        found = shutil.which(name)
        # A shim may exist for a version that is not installed, so ask it.
        if found and subprocess.call([found, "-c", probe], stderr=subprocess.DEVNULL) == 0:
            print("setup: %s is too old, going on with %s" % (sys.executable, name), flush=True)  # noqa: UP031
            os.execv(found, [found, *sys.argv])
    sys.exit(
        "setup: Python 3.11 or newer is needed, and {} is {}.{}.\n"
        "setup: install one, then name it: make setup PYTHON=python3.12".format(sys.executable, *sys.version_info[:2])
    )


leave_old_python()

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STATE = VENV / "setup.json"
LOG = VENV / "setup.log"
DVC_HOME = VENV / "tools" / "dvc"
CONSTRAINTS = ROOT / "constraints.txt"
DVC_CONSTRAINTS = ROOT / "constraints-dvc.txt"
ENV_NOTE = "# Dagster's home for this checkout; `make setup` keeps the next line right while this comment stays."

State = dict[str, Any]


class SetupError(Exception):
    """A step failed; the message says what to do."""


def main() -> int:
    """Bring the environment into the state the checkout asks for; return the exit status."""
    options = parse_arguments()
    os.chdir(ROOT)
    try:
        with one_at_a_time():
            state = read_state()
            choices = {
                "torch": options.torch or state.get("torch") or ("auto" if has_gpu() else "cpu"),
                "extras": state.get("extras", "") if options.extras is None else options.extras,
            }
            if not is_ready(state, choices, options.switch_python):
                build(state, choices, options.switch_python)
            write_dagster_home()
            tell_dvc_about_git()
    except SetupError as error:
        print(f"setup: failed.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the next `make setup` goes on from here.", file=sys.stderr)
        return 130
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the switches; a switch that is not given keeps what the last complete set-up used."""
    parser = argparse.ArgumentParser(description="Make, fix or confirm the environment in .venv.")
    parser.add_argument(
        "--torch",
        metavar="BUILD",
        help="cpu, auto (by the GPU's driver), a CUDA or ROCm build such as cu130, or pypi (the plain one of "
        "the package index); default: cpu without an NVIDIA GPU, else auto",
    )
    parser.add_argument("--extras", metavar="A,B", help="extras of pyproject.toml to install besides dev")
    parser.add_argument(
        "--switch-python",
        action="store_true",
        help="remake .venv if it has another Python than the one running this",
    )
    return parser.parse_args()


# --- Is there anything to do? -----------------------------------------------------------------------------


def read_state() -> State:
    """What the last set-up left, or nothing if it is unreadable."""
    try:
        state = json.loads(STATE.read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def is_ready(state: State, choices: dict[str, str], switch_python: bool) -> bool:
    """Whether `.venv` is whole and belongs to these inputs: a fifth of a second, no process, no network."""
    if state.get("key") != wanted_key(choices) or not (BIN / "python").exists():
        return False
    if switch_python and state["python"] != python_version():
        return False
    missing = next((place for place, count in state["files"].items() if count_files(VENV / place) < count), None)
    if missing:
        say(f"files are gone from .venv/{missing}: fixing")
        return False
    say(f"ready (Python {state['python']}, torch {state['torch_version']})")
    return True


def wanted_key(choices: dict[str, str]) -> str:
    """Hash of everything that decides what the environment must hold, the checkout's path included."""
    digest = hashlib.sha256(json.dumps([str(ROOT), choices], sort_keys=True).encode())
    for path in [ROOT / "pyproject.toml", *sorted(ROOT.glob("constraints*.txt")), Path(__file__).resolve()]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def parts() -> list[Path]:
    """What the environment consists of: the entries of both site-packages, and the folders of commands."""
    entries = [entry for home in (VENV, DVC_HOME) for entry in site_packages(home).iterdir()]
    return [entry for entry in entries if entry.name != "__pycache__"] + [BIN, DVC_HOME / "bin"]


def count_files(part: Path) -> int:
    """Number of files a part has; bytecode comes and goes, and dangling links don't count."""
    if not part.is_dir():
        return int(part.exists())
    count = 0
    waiting = [str(part)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        waiting.append(entry.path)
                elif not entry.is_symlink() or os.path.exists(entry.path):
                    count += 1
    return count


# --- Building ---------------------------------------------------------------------------------------------


def build(state: State, choices: dict[str, str], switch_python: bool) -> None:
    """Do whatever is missing between the present `.venv` and a checked one.

    Raises:
        SetupError: If a step fails.
    """
    started = time.monotonic()
    # From here until the end the key is missing, so that a set-up cut short is taken up again.
    state = {name: value for name, value in state.items() if name not in {"key", "files"}}
    make_venv(state, switch_python)

    broken = forget_broken(site_packages(VENV))
    if broken:
        say(f"fixing {', '.join(broken[:5])}" + (f" and {len(broken) - 5} more" if len(broken) > 5 else ""))
    environment = tool_environment()
    pins = constraints_for(choices["extras"])
    install_uv(pins, environment)
    state["torch_version"] = install_torch(state, choices["torch"], pins, environment)
    state["torch"] = state["torch_installed"] = choices["torch"]
    write_state(state)
    install_project(choices, pins, environment)
    install_dvc(environment)
    check(environment)

    state |= {"key": wanted_key(choices), "extras": choices["extras"]}
    state["files"] = {str(part.relative_to(VENV)): count_files(part) for part in parts()}
    write_state(state)
    say(f"done in {time.monotonic() - started:.0f} s; commands are in .venv/bin")


def make_venv(state: State, switch_python: bool) -> None:
    """Create `.venv`; create it anew where it can't be fixed: moved, another Python, or not starting.

    Args:
        state: What is known of the old one; brought up to date and written.
        switch_python: Whether the Python running this must be the one in `.venv`.
    """
    python = BIN / "python"
    if not VENV.exists():
        reason = ""
    elif state.get("root", str(ROOT)) != str(ROOT):
        reason = "the checkout was moved or copied"
    elif not (VENV / "pyvenv.cfg").exists() or not starts(python, "-m", "pip", "--version"):
        reason = "the old one is incomplete"
    elif switch_python and python_version(python) != python_version():
        reason = "another Python was asked for"
    else:
        state |= {"root": str(ROOT), "python": python_version(python)}
        write_state(state)
        return
    # Not sys.executable: that may be the very .venv about to be replaced.
    base = getattr(sys, "_base_executable", None) or sys.executable
    if not switch_python and starts(state.get("base", ""), "--version"):
        base = state["base"]
    state |= {"root": str(ROOT), "python": python_version(base), "base": base}
    state.pop("torch_installed", None)
    say(f"Python {state['python']} -> .venv" + (f" (made anew: {reason})" if reason else ""))
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir(exist_ok=True)
    write_state(state)
    try:
        run([base, "-m", "venv", str(VENV)], clean_environment())
    except SetupError as error:
        raise SetupError(
            f"{error}\n{base} can't make virtual environments. On Debian and Ubuntu: apt install "
            "python3-venv. Or name another Python: make setup PYTHON=python3.12"
        ) from None


def install_uv(pins: Path, environment: dict[str, str]) -> None:
    """Install uv through pip, so that nothing but Python is needed to begin with."""
    wanted = pin(pins, "uv")
    if installed_version(site_packages(VENV), "uv") == wanted and starts(BIN / "uv", "--version"):
        return
    with step(f"uv {wanted}"):
        run([str(BIN / "python"), "-m", "pip", "install", "--quiet", f"uv=={wanted}"], environment)


def install_torch(state: State, build_name: str, pins: Path, environment: dict[str, str]) -> str:
    """Install torch in the build asked for and return its version with the build's label.

    A wheel that pip's configuration points to comes first, then uv's index for the build. A plain install is
    never the fallback: on Linux it would bring several GB of CUDA to a machine without a GPU.

    Raises:
        SetupError: If the build can't be had, with the ways out.
    """
    version = pin(pins, "torch").split("+")[0]
    present = installed_version(site_packages(VENV), "torch")
    if present and present.split("+")[0] == version and state.get("torch_installed") == build_name:
        return present
    install = ["pip", "install", "--python", str(BIN / "python"), "--compile-bytecode", "--reinstall-package", "torch"]
    plain = build_name == "pypi" or (build_name == "cpu" and sys.platform == "darwin")
    attempts: list[tuple[str, list[str]]] = []
    if plain:
        attempts.append(("the package index", [f"torch=={version}"]))
    else:
        if build_name != "auto" and environment.get("UV_FIND_LINKS"):
            label = f"torch=={version}+{build_name}"
            attempts.append(("pip's find-links", ["--no-index", "--no-deps", label]))
        attempts.append((f"uv --torch-backend={build_name}", [f"torch=={version}", f"--torch-backend={build_name}"]))
    failures = []
    for source, arguments in attempts:
        try:
            with step(f"torch {version} ({build_name}) from {source}"):
                uv([*install, "--constraints", str(pins), *arguments], environment)
        except SetupError as error:
            failures.append(f"  {source}: {first_reason(str(error))}")
            continue
        return installed_version(site_packages(VENV), "torch") or version
    python = python_version(BIN / "python")
    raise SetupError(
        "\n".join(
            [
                f"torch {version} could not be had as build '{build_name}' for Python {python}. Tried:",
                *failures,
                "Ways out:",
                "  make setup TORCH=pypi   the plain torch of your package index (on Linux with GBs of CUDA)",
                "  make setup TORCH=auto   the build for this machine's GPU driver, from PyTorch's own index",
                "  make setup PYTHON=python3.11   another Python, if the wheel at hand is for that one",
                f"  PIP_FIND_LINKS=FOLDER make setup   a wheel of torch {version}+{build_name} is in FOLDER",
            ]
        )
    )


def install_project(choices: dict[str, str], pins: Path, environment: dict[str, str]) -> None:
    """Install the project editable with its dev tools, at the versions pinned.

    Everything is compiled at once: where PYTHONDONTWRITEBYTECODE is set, as in many containers, each process
    of a run would otherwise compile Dagster, MLflow and torch again, several seconds each.
    """
    wanted = ",".join(["dev", *extra_names(choices["extras"])])
    what = ["--constraints", str(pins), "--build-constraints", str(pins), "--editable", f".[{wanted}]"]
    what.append("--compile-bytecode")
    if pins != CONSTRAINTS and choices["torch"] != "pypi":
        # vLLM brings torchvision and torchaudio, which must be of the same build as torch.
        what.append(f"--torch-backend={choices['torch']}")
    with step(f"spavl-dag[{wanted}]"):
        uv(["pip", "install", "--python", str(BIN / "python"), *what], environment)


def install_dvc(environment: dict[str, str]) -> None:
    """Install DVC as a tool with an environment of its own, reached through `.venv/bin/dvc`."""
    wanted = pin(DVC_CONSTRAINTS, "dvc")
    site = site_packages(DVC_HOME)
    whole = (DVC_HOME / "uv-receipt.toml").exists() and (BIN / "dvc").exists() and not forget_broken(site)
    pins = dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", DVC_CONSTRAINTS.read_text(), re.MULTILINE))
    present = {name: version for name, version, _ in distributions(site)}
    right = all(pins.get(name, version) == version for name, version in present.items())
    if whole and right and "ruamel-yaml-clib" in present:
        return
    with step(f"dvc {wanted} in an environment of its own"):
        # uv doesn't fix a tool environment that was cut short; made anew from the cache it takes seconds.
        shutil.rmtree(DVC_HOME, ignore_errors=True)
        (BIN / "dvc").unlink(missing_ok=True)
        # With libyaml DVC reads params.yaml, which it does once per stage, several times faster.
        parser = f"ruamel-yaml-clib=={pin(DVC_CONSTRAINTS, 'ruamel-yaml-clib')}"
        what = ["--compile-bytecode", "--constraints", str(DVC_CONSTRAINTS), "--with", parser, f"dvc=={wanted}"]
        where = {"UV_TOOL_DIR": str(DVC_HOME.parent), "UV_TOOL_BIN_DIR": str(BIN)}
        uv(["tool", "install", "--python", str(BIN / "python"), *what], environment | where)


CHECK = """
import dagster, torch
dagster.AssetSelection.from_string("+anything")  # dies where DVC's antlr has crept in
print("dagster", dagster.__version__ + ", torch", torch.__version__ + ", GPU:", end=" ")
print(torch.cuda.get_device_name() if torch.cuda.is_available() else "none")
"""


def check(environment: dict[str, str]) -> None:
    """Start what was installed, since a folder full of packages proves nothing.

    Raises:
        SetupError: If a tool doesn't start or the two antlr versions are mixed up.
    """
    with step("checking that it starts"):
        seen = run([str(BIN / "python"), "-c", CHECK], environment).strip().splitlines()[-1]
        dvc = run([str(BIN / "dvc"), "--version"], environment).strip()
        antlr = [installed_version(site_packages(home), "antlr4-python3-runtime") for home in (VENV, DVC_HOME)]
        if antlr[0] is None or antlr[0] == antlr[1]:
            raise SetupError(f"antlr must differ for Dagster and DVC, found {antlr}. Fix: rm -rf .venv; make setup")
    say(f"{seen}, dvc {dvc}, antlr {antlr[0]} | {antlr[1]}")


# --- What is installed ------------------------------------------------------------------------------------


def site_packages(home: Path) -> Path:
    """The site-packages folder of an environment (a path that may not exist yet)."""
    return next(home.glob("lib/python3.*/site-packages"), home / "lib" / "site-packages")


def distributions(site: Path) -> list[tuple[str, str, Path]]:
    """Name (normalized), version and dist-info folder of every installed package."""
    found = []
    for info in sorted(site.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        found.append((re.sub(r"[-_.]+", "-", name).lower(), version, info))
    return found


def installed_version(site: Path, name: str) -> str | None:
    """Version of one installed package, or None."""
    return next((version for found, version, _ in distributions(site) if found == name), None)


def forget_broken(site: Path) -> list[str]:
    """Drop the metadata of packages with files missing or cut short, so that they count as not installed.

    Returns:
        The names of the packages dropped.
    """
    broken = []
    for name, _, info in distributions(site):
        if not is_whole(site, info):
            shutil.rmtree(info)
            broken.append(name)
    return broken


def is_whole(site: Path, info: Path) -> bool:
    """Whether every file of a package is there in its recorded size (bytecode aside)."""
    try:
        with open(info / "RECORD", newline="", encoding="utf-8") as record:
            for path, _, size in csv.reader(record):
                # A size is recorded for what the wheel brought, not for what installers write later.
                if not path.endswith(".pyc") and os.stat(site / path).st_size != int(
                    size or os.stat(site / path).st_size
                ):
                    return False
    except (OSError, ValueError):
        return False
    return (info / "METADATA").exists()


def extra_names(extras: str) -> list[str]:
    """The names in a list such as `vllm,ray`."""
    return re.findall(r"[\w.-]+", extras)


def constraints_for(extras: str) -> Path:
    """The pins to install with: an extra that excludes the usual ones brings its own."""
    own = (ROOT / f"constraints-{extra}.txt" for extra in extra_names(extras))
    return next((path for path in own if path.exists()), CONSTRAINTS)


def pin(constraints: Path, name: str) -> str:
    """The version a constraints file pins a package to.

    Raises:
        SetupError: If it has no pin.
    """
    found = re.search(rf"^{re.escape(name)}==([^\s;]+)", constraints.read_text(), re.MULTILINE)
    if not found:
        raise SetupError(
            f"{constraints.name} has no line '{name}==VERSION'. Fix: make constraints, or git checkout it."
        )
    return found[1]


def has_gpu() -> bool:
    """Whether an NVIDIA GPU answers (a driver's tool without a GPU doesn't count)."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and "GPU" in subprocess.run([tool, "-L"], capture_output=True, text=True).stdout


# --- Files of this machine --------------------------------------------------------------------------------


def write_dagster_home() -> None:
    """Let a bare `dagster dev` in the root find `.dagster`: `dagster` reads `.env` where it is started.

    A DAGSTER_HOME that somebody else wrote stays; our own line follows a checkout that was moved.
    """
    home = ROOT / ".dagster"
    home.mkdir(exist_ok=True)
    config = home / "dagster.yaml"
    if not os.path.lexists(config):
        config.symlink_to(Path("..") / "dagster.yaml")
    env = ROOT / ".env"
    text = env.read_text() if env.exists() else ""
    quoted = str(home).replace("\\", "\\\\").replace("'", "\\'")
    ours = f"{ENV_NOTE}\nDAGSTER_HOME='{quoted}'\n"
    written = re.compile(rf"^{re.escape(ENV_NOTE)}\n.*\n?", re.MULTILINE)
    if written.search(text):
        changed = written.sub(lambda _: ours, text)
    elif re.search(r"^\s*(export\s+)?DAGSTER_HOME\s*=", text, re.MULTILINE):
        return
    else:
        changed = text + ("\n" if text and not text.endswith("\n") else "") + ours
    if changed != text:
        env.write_text(changed)


def tell_dvc_about_git() -> None:
    """Let DVC work in a checkout without git (an unpacked archive), and with git again once there is one."""
    local = ROOT / ".dvc" / "config.local"
    ours = "[core]\n    no_scm = true\n"
    has_git = any((folder / ".git").exists() for folder in (ROOT, *ROOT.parents))
    if has_git and local.exists() and local.read_text() == ours:
        local.unlink()
    elif not has_git and not local.exists():
        local.parent.mkdir(exist_ok=True)
        local.write_text(ours)


# --- Running things ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for another set-up of this checkout; the lock is on the folder and leaves no file behind.

    Installers inherit it: one that outlives a killed set-up keeps the next from working in its midst.
    """
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running: waiting")
            fcntl.flock(folder, fcntl.LOCK_EX)
        os.set_inheritable(folder, True)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a step and say how long it took."""
    started = time.monotonic()
    print(f"setup: {what} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        print(" no", flush=True)
        raise
    print(f" {time.monotonic() - started:.0f} s", flush=True)


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"setup: {text}", flush=True)


def run(command: Sequence[str], environment: dict[str, str]) -> str:
    """Run a command, keep its output in the log, and return what it printed.

    Raises:
        SetupError: If it fails, with the end of its output.
    """
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        close_fds=False,  # one_at_a_time()
    )
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise SetupError(f"{tail or 'no output'}\n(exit status {done.returncode}; all output: {LOG.relative_to(ROOT)})")
    return done.stdout


def uv(arguments: Sequence[str], environment: dict[str, str]) -> None:
    """Run the environment's own uv."""
    run([str(BIN / "uv"), "--no-progress", *arguments], environment)


def first_reason(text: str) -> str:
    """The line of uv's error that says most: its hint, else the first cause, else the beginning."""
    for kind in ("hint", "cause", "error"):
        found = re.search(rf"^\s*{kind}: (.+)$", text, re.MULTILINE)
        if found:
            return found[1]
    return text.strip().splitlines()[0]


def clean_environment() -> dict[str, str]:
    """This process's environment without what would send an install elsewhere than into `.venv`."""
    astray = {
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "PYTHONHOME",
        "PYTHONPATH",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_REQUIRE_VIRTUALENV",
    }
    astray |= {
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
        "UV_TARGET",
        "UV_PREFIX",
        "UV_PROJECT_ENVIRONMENT",
        "UV_TORCH_BACKEND",
    }
    environment = {name: value for name, value in os.environ.items() if name not in astray}
    return environment | {
        "PIP_USER": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def tool_environment() -> dict[str, str]:
    """The environment for pip and uv: uv is handed what pip was told about sources, which it doesn't read."""
    environment = clean_environment()
    pip: dict[str, str] = {}
    listed = run([str(BIN / "python"), "-m", "pip", "config", "list"], environment)
    for section in ("global", "install", ":env:"):  # in rising order of precedence
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                pip[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    handed = {
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_DEFAULT_INDEX": "" if "UV_INDEX_URL" in environment else pip.get("index-url", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "UV_NO_INDEX": "1" if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
    }
    return {name: value for name, value in handed.items() if value} | environment


def starts(*command: str | Path) -> bool:
    """Whether a command can be started and ends well."""
    try:
        return subprocess.run(command, env=clean_environment(), capture_output=True).returncode == 0
    except OSError:
        return False


def python_version(python: str | Path | None = None) -> str:
    """Version of a Python as `3.11.7`; without a path, of the one running this."""
    if python is None:
        return ".".join(map(str, sys.version_info[:3]))
    ask = [str(python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.check_output(ask, env=clean_environment(), text=True).strip()


def write_state(state: State) -> None:
    """Write the state file in one move, so that it is never half there."""
    draft = STATE.with_suffix(".tmp")
    draft.write_text(json.dumps(state, indent=1))
    draft.replace(STATE)


if __name__ == "__main__":
    sys.exit(main())
