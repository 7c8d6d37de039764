"""Run a module as `python -m` does, until the process that started it is gone, even by kill -9.

That process keeps the other end of standard input open: nothing is ever written there, and it ends with it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the module that the arguments name."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    os.read(0, 1)
    if os.getpgrp() == os.getpid():  # with the processes that it started
        os.killpg(0, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
