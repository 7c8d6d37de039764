"""One process of `accelerate launch`: `python -m spavl_dag.training.worker job.json`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path

from spavl_dag.errors import SpavlError
from spavl_dag.training.job import Job
from spavl_dag.training.runner import ERROR_FILE, PROGRESS_FILE, run_here
from spavl_dag.training.state import publish_text

_TRACEBACK_LINES = 25


def main(file: Path) -> None:
    """Run the job that the file holds; the first process tells how far it is, the first to fail tells why."""
    job = Job.from_json(file.read_text(encoding="utf-8"))

    def tell(label: str, done: int, total: int) -> None:
        if os.environ.get("RANK", "0") == "0":
            told = {"label": label, "done": done, "total": total}
            publish_text(job.work / PROGRESS_FILE, json.dumps(told))

    try:
        run_here(job, tell)
    except Exception as error:
        # torch's launcher buries it under its own report.
        with contextlib.suppress(FileExistsError), (job.work / ERROR_FILE).open("x", encoding="utf-8") as stream:
            stream.write(json.dumps(_described(error)))
        raise


def _described(error: Exception) -> dict[str, str | None]:
    if isinstance(error, SpavlError):
        return {"message": error.message, "hint": error.hint}
    lines = traceback.format_exc().splitlines()
    return {"message": "\n".join(lines[-_TRACEBACK_LINES:]), "hint": None}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
