"""A whole dataset build at the size of the paper, with scripted answers: what a run costs besides its models.

Run from the project root: `python benchmarks/paper_size.py [--scale 1.0] [--json]`. At full size it takes ten minutes,
12 GB in the folder for temporary files and 2 GiB of memory. Linux only: it reads /proc.

A project is made in a temporary folder: pictures of 100 kB, three texts on each, twelve answering models, labels,
pairs, preferences in both orders, all by `engine: scripted`. Then `spavl demo --to dataset` is run as a user would,
twice.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from spavl_dag.inference.ledger import Ledger
from spavl_dag.taxonomy import load_taxonomy
from spavl_dag.yamls import dump_yaml, load_yaml

CHECKOUT = Path(__file__).parents[1]
IMAGES = 31_894
MODELS = 12
SECONDS = 180.0
GIBIBYTES = 2.0
SECONDS_OF_NOTHING = 20.0
_FILES = (
    "assets",
    "spavl_dag",
    "prompts",
    "params.yaml",
    "dvc.yaml",
    ".dvc",
    ".dvcignore",
    ".gitignore",
    "pyproject.toml",
)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Step:
    """What one artifact, or one command, took.

    Attributes:
        what: Its name.
        wall: Seconds by the clock.
        cpu: Seconds of processors, of all processes.
        gibibytes: Peak of the memory of the command's process.
    """

    what: str
    wall: float
    cpu: float
    gibibytes: float


def make_pictures(folder: Path, count: int, kilobytes: int, classes: list[str]) -> None:
    """Write distinct JPEG files: one body in eight files of a class, told apart by a comment in the file."""
    import io

    import numpy as np
    from PIL import Image

    def body(number: int) -> bytes:
        rng = np.random.default_rng(number)
        rough = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((320, 320), Image.Resampling.BICUBIC)
        noisy = np.clip(np.asarray(rough, np.int16) + rng.normal(0, 40, (320, 320, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=85)
        return file.getvalue()

    def write(number: int) -> None:
        encoded = body(number)
        target = folder / classes[number % len(classes)]
        target.mkdir(parents=True, exist_ok=True)
        for copy in range(number * 8, min(number * 8 + 8, count)):
            comment = str(copy).encode().ljust(max(1_000 * kilobytes - len(encoded) - 6, 16))[:60_000]
            marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            (target / f"{copy:06d}.jpg").write_bytes(encoded[:2] + marker + encoded[2:])

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, range((count + 7) // 8)))


def make_project(root: Path, images: int, kilobytes: int) -> None:
    """A project whose roles and models are all scripted."""
    root.mkdir()
    for name in _FILES:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
        else:
            shutil.copy(source, root / name)
    params = load_yaml((root / "params.yaml").read_text(encoding="utf-8"))
    for name, role in params["roles"].items():
        if role is not None:
            template = Path(role["prompt"]).name
            params["roles"][name] = role | {
                "engine": "scripted",
                "model": f"rehearsed/{name}",
                "prompt": f"prompts/{template}",
            }
    model = {"engine": "scripted", "prompt": "prompts/answer.j2", "decoding": {"max_new_tokens": 512}}
    params["models"] = {f"m{number:02d}": {"model": f"rehearsed/m{number:02d}", **model} for number in range(MODELS)}
    params["images"]["source"] = "folder"
    params["pairs"]["per_question"] = 1
    (root / "params.yaml").write_text(dump_yaml(params), encoding="utf-8")
    classes = [harm.slug for harm in load_taxonomy(root / params["taxonomy"]["file"]).classes]
    make_pictures(root / params["images"]["folder"], images, kilobytes, classes)
    spavl(root, "graph", "write")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)


def command(*arguments: str) -> list[str]:
    """A command line of this environment's `spavl`."""
    return [sys.executable, "-m", "spavl_dag", *arguments]


def environment(root: Path) -> dict[str, str]:
    """The project's own code first, this environment's tools on the PATH."""
    tools = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "DVC", "MLFLOW"))}
    return kept | {"PYTHONPATH": str(root), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}


def spavl(root: Path, *arguments: str) -> None:
    """Run a command that isn't measured."""
    subprocess.run(command(*arguments), cwd=root, env=environment(root), check=True, stdout=subprocess.DEVNULL)


def measured(root: Path, what: str, *arguments: str) -> list[Step]:
    """Run a command; what each artifact took, by the lines that it prints, then the whole."""
    started = last = time.perf_counter()
    before = 0.0
    steps: dict[str, Step] = {}
    process = subprocess.Popen(
        command(*arguments),
        cwd=root,
        env=environment(root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    peak = Peak(process.pid)
    for line in process.stderr:
        if made := re.match(r"made ([a-z_]+)(@\S+)? in", line):
            now, cpu = time.perf_counter(), processor_seconds(process.pid)
            name = made[1]
            known = steps.get(name, Step(name, 0.0, 0.0, 0.0))
            steps[name] = Step(
                name, known.wall + now - last, known.cpu + cpu - before, max(known.gibibytes, peak.reset())
            )
            last, before = now, cpu
        elif not line.strip().startswith("made"):
            print(line, end="", file=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{what} ended with {process.returncode}")
    highest = max([step.gibibytes for step in steps.values()] + [peak.reset()])
    whole = Step(what, time.perf_counter() - started, usage.ru_utime + usage.ru_stime, highest)
    return [*steps.values(), whole]


def processor_seconds(pid: int) -> float:
    """Of a process and of those of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


class Peak:
    """The highest memory of a process, from one look to the next.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._clear = Path(f"/proc/{pid}/clear_refs")
        self._last = 0.0
        self._done = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def reset(self) -> float:
        """GiB of resident memory at most since the last call."""
        self._look()
        found, self._last = self._last, 0.0
        try:
            self._clear.write_text("5")
        except OSError:
            self._done.set()
        return found

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            self._look()

    def _look(self) -> None:
        try:
            found = re.search(r"VmHWM:\s*(\d+) kB", self._status.read_text())
        except OSError:
            self._done.set()
            return
        if found:
            self._last = max(self._last, int(found[1]) / 2**20)


def calls_in(root: Path) -> int:
    """Model calls that the project's ledger holds."""
    with Ledger(root / ".spavl" / "ledger.db", read_only=True) as ledger:
        return ledger.count()


def main() -> int:
    """Measure, print, and compare with the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the paper's images")
    parser.add_argument("--kilobytes", type=int, default=100, help="size of a picture")
    parser.add_argument("--keep", type=Path, help="leave the project in this folder")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    images = round(IMAGES * arguments.scale)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.keep or Path(folder) / "project"
        make_project(root, images, arguments.kilobytes)
        taken_in = measured(root, "taking the pictures in", "demo", "--to", "images")
        built = measured(root, "captions to dataset", "demo", "--to", "dataset")
        again = measured(root, "again, with nothing to do", "demo", "--to", "dataset")[-1]
        calls = calls_in(root)
    whole = built[-1]
    met = whole.wall <= SECONDS and whole.gibibytes <= GIBIBYTES and again.wall <= SECONDS_OF_NOTHING
    report: dict[str, Any] = {
        "images": images,
        "kilobytes": arguments.kilobytes,
        "calls": calls,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "steps": [asdict(step) for step in (*taken_in, *built, again)],
        "microseconds_of_processor_per_call": 1e6 * whole.cpu / calls,
        "met": met,
    }
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0 if met or arguments.scale != 1.0 else 1


def table(report: dict[str, Any]) -> str:
    """The measurements for people."""
    lines = [
        f"{report['images']:,} pictures of {report['kilobytes']} kB, {report['calls']:,} calls; "
        f"{report['cores']} cores, load {report['load']:.1f} at the end",
        f"{'':<28}{'wall s':>10}{'cpu s':>10}{'peak GiB':>10}",
    ]
    lines += [f"{s['what']:<28}{s['wall']:>10.1f}{s['cpu']:>10.1f}{s['gibibytes']:>10.2f}" for s in report["steps"]]
    lines.append(f"processor time per call: {report['microseconds_of_processor_per_call']:.0f} µs")
    lines.append(f"targets: {SECONDS:.0f} s, {GIBIBYTES:.0f} GiB, {SECONDS_OF_NOTHING:.0f} s with nothing to do")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
