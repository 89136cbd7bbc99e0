"""Other people's packages, each in an environment of its own under `.peers`."""

import os
import subprocess
import venv
from pathlib import Path


def install_peer(name: str, version: str, extra: str = "") -> str:
    """The interpreter of `.peers/NAMEEXTRA`, in which this version of the package is installed, with its extra."""
    folder = Path(__file__).parents[1] / ".peers" / (name + extra)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    asked = [python, "-c", f"import importlib.metadata as m; print(m.version('{name}'))"]
    if subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() != version:
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{name}{extra}=={version}"], check=True)
    return str(python)
