"""The verbs of the command, which are loaded when they are asked for."""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules("u2net.cli")
