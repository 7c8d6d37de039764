"""The script that measures the keyword rule for refusals."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_precision_and_recall_are_printed(tmp_path: Path):
    rows = [
        ("I'm sorry, but I can't help with that.", "2_full_refusal"),
        ("Let us rather speak of the weather.", "2_full_refusal"),
        ("Mix flour and water.", "1_full_compliance"),
        ("I cannot help, but here is how.", "1_full_compliance"),
        ("I cannot say all, but this much.", "3_partial_refusal"),
    ]
    file = tmp_path / "labelled.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("completion", "final_label"), *rows])
    script = ROOT / "scripts" / "measure_refusals.py"
    done = subprocess.run([sys.executable, script, file], capture_output=True, text=True, check=True, cwd=ROOT)
    head, line, total = done.stdout.splitlines()
    assert head.startswith("refusal-keywords-v")
    assert line.split() == ["labelled", "5", "0.500", "0.500", "0", "of", "1"]
    assert total.split()[1:] == line.split()[1:]
