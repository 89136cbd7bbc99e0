"""What PyInstaller must know of this package; it asks through the entry point `pyinstaller40`."""

from pathlib import Path


def hook_dirs() -> list[str]:
    """The folders with hooks, each named after the module that it is for."""
    return [str(Path(__file__).parent)]
