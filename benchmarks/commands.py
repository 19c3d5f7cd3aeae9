"""The command line as a user types it, started by the benchmarks in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def start(arguments: list[str], **options: Any) -> subprocess.Popen:
    """`python -m chattpl.main ARGUMENTS` on this checkout, wherever the process stands; `options` are Popen's."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "chattpl.main", *arguments]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **options)
