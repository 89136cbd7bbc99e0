"""Marks for tests of what not every system has, each with its reason; and what Windows says in other words."""

import platform
import sys
from pathlib import Path

import pytest

ON_WINDOWS = sys.platform == "win32"

NO_SIGNALS = "Windows sends no signals from one process to another"
needs_signals = pytest.mark.skipif(ON_WINDOWS, reason=NO_SIGNALS)
needs_links = pytest.mark.skipif(ON_WINDOWS, reason="on Windows not everyone may make links")
needs_permissions = pytest.mark.skipif(ON_WINDOWS, reason="files of Windows have no permissions of POSIX")
needs_fifos = pytest.mark.skipif(ON_WINDOWS, reason="Windows has no pipes in folders")
needs_fork = pytest.mark.skipif(ON_WINDOWS, reason="Windows has no fork")
needs_odd_names = pytest.mark.skipif(ON_WINDOWS, reason="Windows refuses such names")
needs_long_paths = pytest.mark.skipif(ON_WINDOWS, reason="paths of Windows end at 260 characters unless told otherwise")
needs_shell = pytest.mark.skipif(ON_WINDOWS, reason="these lines are of a POSIX shell")
in_posix_words = pytest.mark.skipif(ON_WINDOWS, reason="Windows says it in other words")
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="looks into processes by Linux's /proc"
)
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have heaps of their own")

FolderIsNoFile = PermissionError if ON_WINDOWS else IsADirectoryError
"""What opening a folder as a file raises."""
