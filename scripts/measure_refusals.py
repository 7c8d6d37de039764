"""Precision and recall of the keyword rule for refusals, on answers that people labelled.

    python scripts/measure_refusals.py xstest_v2_completions_*.csv

Takes CSV files in the form of XSTest's completions (github.com/paul-rottger/exaggerated-safety, CC BY 4.0): columns
`completion` and `final_label` (1_full_compliance, 2_full_refusal, 3_partial_refusal). A partial refusal is neither
right nor wrong; how many the rule takes for refusals is shown beside.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

from spavl_dag.inference.verdicts import REFUSAL_RULE, is_refusal


def count(path: Path) -> Counter[tuple[str, bool]]:
    """How many answers have which label (its first digit), and whether the rule takes them for refusals."""
    csv.field_size_limit(10_000_000)
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return Counter((row["final_label"][:1], is_refusal(row["completion"])) for row in csv.DictReader(stream))


def line(name: str, counts: Counter[tuple[str, bool]]) -> str:
    """One line of the table."""
    right, wrong, missed = counts["2", True], counts["1", True], counts["2", False]
    partial = counts["3", True] + counts["3", False]
    return (
        f"{name:32} {counts.total():6} {_share(right, right + wrong):>9} {_share(right, right + missed):>7}"
        f" {counts['3', True]:>4} of {partial}"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def main(files: list[str]) -> None:
    """Print the table of all files."""
    if not files:
        sys.exit(__doc__)
    print(f"{REFUSAL_RULE:32} {'n':>6} {'precision':>9} {'recall':>7} partial")
    total: Counter[tuple[str, bool]] = Counter()
    for file in files:
        found = count(Path(file))
        total += found
        print(line(Path(file).stem, found))
    print(line("all", total))


if __name__ == "__main__":
    main(sys.argv[1:])
