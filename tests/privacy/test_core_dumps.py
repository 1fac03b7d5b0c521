"""What a crash leaves: no dump of the memory that templates and keys lie in."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")

CRASH = """
import ctypes, os, sys
from recollect import app
if sys.argv[1] == "guarded":
    app._dump_no_core()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
os.abort()
"""


def crash(how, folder):
    """Whether the process that died could have been dumped, and the files it left."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard == 0:
        pytest.skip("core dumps are forbidden here altogether")
    died = subprocess.run(
        [sys.executable, "-c", CRASH, how],
        cwd=folder,
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )
    assert died.returncode < 0
    return int(died.stdout), list(folder.iterdir())


def test_a_server_that_crashes_leaves_no_core(tmp_path):
    assert crash("guarded", tmp_path) == (0, [])


def test_the_control_leaves_one(tmp_path):
    dumpable, files = crash("bare", tmp_path)

    assert dumpable == 1
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith(("|", "/")):
        pytest.skip(f"dumps go elsewhere here: {pattern.strip()}")
    assert [file.name.startswith("core") for file in files] == [True]
