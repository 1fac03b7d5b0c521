"""A server of one's own for a measurement: started, found ready, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

KEPT = ("RECOLLECT_MODELS",)
"""The only settings that are taken over from the environment: a measurement states its own."""


class OwnServerError(Exception):
    """The server did not start; the message ends with what it printed."""


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server that is ready, on a free port of the loopback."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]

    def memory_bytes(self) -> int:
        """Memory of the server and its child processes, shared pages counted once (PSS).

        Who is not root gets the resident pages, shared ones in each process. 0 where the system
        has no /proc.
        """
        return sum(_memory_bytes(pid) for pid in _family(self.process.pid))


@contextmanager
def running(data: Path, settings: Mapping[str, object]) -> Iterator[OwnServer]:
    """Serve a data folder while the body runs; SIGTERM at its end.

    Args:
        data: the folder; `server.log` is written beside it.
        settings: by name, as `recollect serve --set` takes them.

    Raises:
        OwnServerError: it ended, or was not ready within a minute.
    """
    data.mkdir(parents=True, exist_ok=True)
    address = data / "address"
    address.unlink(missing_ok=True)
    command = [sys.executable, "-m", "recollect", "serve", "--port", "0", "--data", str(data)]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RECOLLECT_") or name in KEPT
    }
    log = data.with_name(f"{data.name}.log")
    with (
        log.open("w", encoding="utf-8") as output,
        # Our own interpreter and our own module, on settings of the caller's.
        subprocess.Popen(command, stdout=output, stderr=output, env=environ) as process,  # noqa: S603
    ):
        try:
            yield OwnServer(_ready(address, process, log), data, process)
        finally:
            process.terminate()
            try:
                process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _ready(address: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until /readyz answers 200; the server's URL."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OwnServerError(f"The server ended:\n{_tail(log)}")
        if address.exists():
            url = address.read_text(encoding="utf-8").strip()
            try:
                # A server of our own on the loopback, which has just written this address.
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310
                    return url
            except (urllib.error.URLError, ValueError):
                pass
        time.sleep(0.05)
    raise OwnServerError(f"The server was not ready in {READY_WITHIN_S:.0f} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _family(pid: int) -> list[int]:
    """A process and its descendants, as far as they are alive."""
    family = [pid]
    for parent in family:
        # A child is listed with the thread that made it.
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                family += map(int, children.read_text("ascii").split())
            except OSError:
                continue
    return family


def _memory_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except PermissionError:
        # A server forbids this to everybody but root; its resident pages are no secret.
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE_BYTES
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
