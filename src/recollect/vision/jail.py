"""What a process that decodes may still ask of the kernel: memory, and its one connection."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
SECCOMP_MODE_FILTER = 2

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
"""BPF: load a word of seccomp_data, jump if equal, return."""
CALL, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in seccomp_data; an argument has two words."""
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of linux/audit.h."""

# Numbers of asm/unistd_64.h and asm-generic/unistd.h. Nothing here opens a file, makes a socket,
# starts a program or a thread, or reaches another process.
CALLS = {
    "x86_64": {
        # Its connection and the descriptors that come through it.
        **{"read": 0, "write": 1, "close": 3, "poll": 7, "ppoll": 271},
        **{"sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47},
        **{"fstat": 5, "newfstatat": 262, "lseek": 8, "fcntl": 72},
        # Memory.
        **{"mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28},
        # Waiting, time and chance.
        **{"futex": 202, "sched_yield": 24, "nanosleep": 35, "clock_nanosleep": 230},
        **{"clock_gettime": 228, "gettimeofday": 96, "getrandom": 318, "restart_syscall": 219},
        # Itself.
        **{"rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131},
        **{"getpid": 39, "gettid": 186, "getrusage": 98, "sched_getaffinity": 204},
        **{"exit": 60, "exit_group": 231},
    },
    "aarch64": {
        **{"read": 63, "write": 64, "close": 57, "ppoll": 73},
        **{"sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212},
        **{"fstat": 80, "newfstatat": 79, "lseek": 62, "fcntl": 25},
        **{"mmap": 222, "mprotect": 226, "munmap": 215, "brk": 214, "mremap": 216, "madvise": 233},
        **{"futex": 98, "sched_yield": 124, "nanosleep": 101, "clock_nanosleep": 115},
        **{"clock_gettime": 113, "gettimeofday": 169, "getrandom": 278, "restart_syscall": 128},
        **{"rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "sigaltstack": 132},
        **{"getpid": 172, "gettid": 178, "getrusage": 165, "sched_getaffinity": 123},
        **{"exit": 93, "exit_group": 94},
    },
}
PRLIMIT = {"x86_64": 302, "aarch64": 261}
"""Allowed for pid 0, which is the caller itself."""


def enter() -> bool:
    """Give up every other system call for good; they fail with EPERM from here on.

    Returns:
        False where there is no such thing: another system than Linux, another processor than the
        two above, or a kernel without seccomp.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ARCHITECTURES:
        return False
    program = b"".join(_program(machine))
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, then a pointer to them.
    filter_ = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    # Pictures come into no core dump, whatever the kernel does with its dumps.
    if prctl(PR_SET_DUMPABLE, 0, None, 0, 0) != 0 or prctl(PR_SET_NO_NEW_PRIVS, 1, None, 0, 0) != 0:
        return False
    return bool(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0) == 0)


def _program(machine: str) -> list[bytes]:
    """BPF instructions, 8 bytes each: code, jump if true, jump if false, operand."""
    calls = sorted(CALLS[machine].values())

    def instruction(code: int, operand: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("HBBI", code, then, otherwise, operand)

    refuse = instruction(RETURN, REFUSE)
    return [
        instruction(LOAD, ARCHITECTURE),
        instruction(EQUAL, ARCHITECTURES[machine], then=1),
        refuse,
        instruction(LOAD, CALL),
        # Jumps count the instructions in between: the rest of the calls, and 6 for prlimit.
        *(
            instruction(EQUAL, number, then=len(calls) - 1 - at + 6)
            for at, number in enumerate(calls)
        ),
        instruction(EQUAL, PRLIMIT[machine], otherwise=4),
        instruction(LOAD, FIRST_ARGUMENT),
        instruction(EQUAL, 0, otherwise=2),
        instruction(LOAD, FIRST_ARGUMENT + 4),
        instruction(EQUAL, 0, then=1),
        refuse,
        instruction(RETURN, ALLOW),
    ]
