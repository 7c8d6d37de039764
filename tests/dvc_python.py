"""DVC's own code, run by the Python of its tool environment: what DVC makes of a file is asked, not guessed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from spavl_dag.integrations.dvc.command import find_dvc


def run_in_dvc(script: str, given: Any) -> Any:
    """What a script prints as JSON, given JSON on its standard input."""
    dvc = find_dvc()
    assert dvc is not None
    python = Path(dvc).resolve().parent / "python"
    done = subprocess.run(
        [str(python), "-c", script], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
