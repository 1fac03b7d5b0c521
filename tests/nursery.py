"""Processes that are there in a moment: forked from one that has imported everything already.

Run as a program it is that one: each line it reads is a module whose `main(*arguments)` a child
runs, its stdout a named pipe; it answers with the child's number and, when it has ended, how.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

PR_SET_PDEATHSIG = 1


class Child:
    """A process of a nursery; `stdout` is its unbuffered end for reading."""

    def __init__(self, nursery, pid, stdout):
        self._nursery, self.pid, self.stdout = nursery, pid, stdout
        self.ended = False

    def kill(self):
        """End it suddenly."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self):
        """Let it take no further step; what it has asked of the system may still be under way."""
        os.kill(self.pid, signal.SIGSTOP)
        while not all(state in "TD" for state in self._states()):
            time.sleep(0.0001)

    def _states(self):
        """Of its threads, as /proc has them: T stopped, D in the hands of a disk."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            yield (thread / "stat").read_text().rpartition(")")[2].split()[0]

    def wait(self):
        """Wait for its end: the exit code, or the negative number of the signal."""
        status = int(self._nursery.stdout.readline())
        self.ended = True
        return os.waitstatus_to_exitcode(status)


class Nursery:
    """Bears one child at a time; each runs `main` of a module, alone and new.

    Args:
        module: name of the test module, imported before the first birth.
    """

    def __init__(self, module):
        self._folder = tempfile.TemporaryDirectory()
        self._pipe = Path(self._folder.name) / "stdout"
        os.mkfifo(self._pipe)
        paths = os.pathsep.join(sys.path)
        self._process = subprocess.Popen(
            [sys.executable, __file__, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Threads of a library would not be there after a fork.
            env=os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        )

    @contextlib.contextmanager
    def child(self, *arguments):
        """A child at work; killed where it has not ended at the end."""
        request = json.dumps([str(self._pipe), *map(str, arguments)])
        print(request, file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        assert pid > 1
        with self._pipe.open("rb", buffering=0) as stdout:
            child = Child(self._process, pid, stdout)
            try:
                yield child
            finally:
                if not child.ended:
                    with contextlib.suppress(ProcessLookupError):
                        child.kill()
                    child.wait()

    def close(self):
        self._process.stdin.close()
        assert self._process.wait() == 0
        self._process.stdout.close()
        self._folder.cleanup()


def die_with_parent():
    """Leave nobody behind where a run of the tests is killed itself (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(module):
    die_with_parent()
    bears = importlib.import_module(module).main
    for request in sys.stdin:
        pipe, *arguments = json.loads(request)
        pid = os.fork()
        if not pid:
            die_with_parent()
            os.dup2(os.open(pipe, os.O_WRONLY), sys.stdout.fileno())
            try:
                bears(*arguments)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            sys.stdout.flush()
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
