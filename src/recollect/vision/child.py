"""A process that runs a module of ours, with a connection as its standard input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence


def start(
    module: str,
    connection: socket.socket,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process without waiting for it.

    It gets none of this process's environment, so no secret of it, and no open file but standard
    error.

    Args:
        module: name of the module it runs as a program.
        connection: its end of a pair of sockets; the caller closes its own copy.
        arguments: for the command line.
        environment: variables beside those that every such process gets.

    Raises:
        OSError: the system makes no further process.
    """
    return subprocess.Popen(  # noqa: S603 - nothing of it comes from a caller of the API
        [sys.executable, "-P", "-s", "-m", module, *arguments],
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        env={
            # Where this process found its modules, so that the child finds the same ones.
            "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path),
            "OPENBLAS_NUM_THREADS": "1",
            # glibc would return the memory of each job to the kernel and fault it in anew.
            "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
            "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
            **(environment or {}),
        },
        cwd="/",
        # Ctrl-C is for the server, which ends its children itself.
        start_new_session=True,
    )
