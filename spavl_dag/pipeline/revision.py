"""Which commit is checked out."""

from __future__ import annotations

import subprocess
from pathlib import Path


def head_commit(root: Path) -> str:
    """The checked-out commit, with "+changes" when the work tree differs; "" outside git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return ""
    return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no") else commit
