"""A process that gave up most system calls."""

import json
import os
import platform
import struct
import subprocess
import sys

import pytest

from recollect.vision import jail

PROGRAM = """
import errno, json, mmap, os, resource, signal, socket, sys, threading, time
from recollect.vision import jail

pair = socket.socketpair()
attempts = {
    "open": lambda: os.open("/etc/hostname", os.O_RDONLY),
    "create": lambda: os.open("here", os.O_WRONLY | os.O_CREAT),
    "socket": lambda: socket.socket(),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "unlink": lambda: os.unlink("here"),
    "mkdir": lambda: os.mkdir("here"),
    "rename": lambda: os.rename("here", "there"),
    "chdir": lambda: os.chdir("/"),
    "memfd": lambda: os.memfd_create("x"),
    "setuid": lambda: os.setuid(0),
    "limits of another": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)),
    "memory": lambda: mmap.mmap(-1, 1 << 24).close(),
    "heap": lambda: len(bytearray(1 << 26)),
    "own limits": lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
    "usage": lambda: resource.getrusage(resource.RUSAGE_SELF),
    "talk": lambda: (pair[0].send(b"x"), pair[1].recv(1)),
    "sleep": lambda: time.sleep(0.001),
}
entered = jail.enter()
outcomes = {}
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError as error:
        outcomes[name] = errno.errorcode[error.errno]
    else:
        outcomes[name] = "allowed"
sys.stdout.write(json.dumps([entered, outcomes]))
"""
ALLOWED = {"memory", "heap", "own limits", "usage", "talk", "sleep"}

here = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in jail.CALLS,
    reason="seccomp filters are Linux's, and known for two processors",
)


@here
def test_only_memory_time_and_the_connection_are_left(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )

    entered, outcomes = json.loads(result.stdout)

    assert entered
    assert outcomes == {name: "allowed" if name in ALLOWED else "EPERM" for name in outcomes}
    assert len(outcomes) == 20
    assert list(tmp_path.iterdir()) == []


def run(program, machine, number, argument=0, architecture=None):
    """Interpret the filter, as the kernel would: the obvious oracle."""
    words = {jail.CALL: number, jail.ARCHITECTURE: architecture or jail.ARCHITECTURES[machine]}
    words |= {jail.FIRST_ARGUMENT: argument & 0xFFFFFFFF, jail.FIRST_ARGUMENT + 4: argument >> 32}
    at, register = 0, 0
    while True:
        code, then, otherwise, operand = struct.unpack("HBBI", program[at])
        at += 1
        if code == jail.RETURN:
            return operand == jail.ALLOW
        if code == jail.LOAD:
            register = words[operand]
        else:
            assert code == jail.EQUAL
            at += then if register == operand else otherwise


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_allows_the_calls_of_its_list_and_no_others(machine):
    program = jail._program(machine)
    listed = set(jail.CALLS[machine].values())

    for number in range(600):
        # prlimit is allowed for the caller itself.
        assert run(program, machine, number) == (number in listed | {jail.PRLIMIT[machine]})
        assert not run(program, machine, number | 0x40000000), "another convention's numbers"
        assert not run(program, machine, number, architecture=0x40000003), "32 bits"
    for argument in (1, 1 << 32, 12345):
        assert not run(program, machine, jail.PRLIMIT[machine], argument)
