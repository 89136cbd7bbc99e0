"""Run a Python program that is killed as soon as it, or a child of it, asks for a socket that could reach a network.

`python sealed.py listen ARGUMENTS…` lets it make stream sockets, as a service must; a name is looked up by datagrams,
so that whoever asks for a host is killed still. `python sealed.py none ARGUMENTS…` lets it make none but local ones.
"""

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH_…, the number of socket(2)
_AF_UNIX, _AF_NETLINK, _SOCK_STREAM = 1, 16, 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_LOAD, _AND, _IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_JMP|JEQ|K, BPF_RET|K


def can_seal() -> bool:
    return (
        sys.platform == "linux" and platform.machine() in _ARCHITECTURES and Path("/proc/sys/kernel/seccomp").exists()
    )


def seal(*, may_listen: bool) -> None:
    """Install the filter in this process, for good, and for all that it starts."""
    architecture, socket = _ARCHITECTURES[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_IF_EQUAL, 0, 8, architecture),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
        (_IF_EQUAL, 0, 6, socket),
        (_LOAD, 0, 0, 16),  # the family
        (_IF_EQUAL, 4, 0, _AF_UNIX),
        (_IF_EQUAL, 3, 0, _AF_NETLINK),
        (_LOAD, 0, 0, 24),  # the kind
        (_AND, 0, 0, 0xF),
        (_IF_EQUAL, 0 if may_listen else 1, 1, _SOCK_STREAM),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    whole = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, whole, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "this system seals no process")


if __name__ == "__main__":
    seal(may_listen=sys.argv[1] == "listen")
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
