"""The command line as users call it."""

import subprocess
import sys
from pathlib import Path


def u2net(*arguments: str | Path, stdin: bytes | None = None, **options) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "u2net", *map(str, arguments)]
    given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run(command, capture_output=True, **given, **options)
