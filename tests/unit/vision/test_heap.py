"""Pages that a call gave back are there for the next."""

import subprocess
import sys

import pytest

CALLS, PIECE_BYTES, PAGE_BYTES = 200, 2 << 20, 4096

COUNTED = f"""
import resource
from recollect.vision.heap import keep_freed_memory
{{keep}}
def call():
    return [bytes({PIECE_BYTES}) + b"." for _ in range(4)]
for _ in range(20):
    call()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({CALLS}):
    call()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    """Pages that the kernel had to find for some calls with 8 MiB each."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTED.format(keep=keep)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_a_call_works_with_the_pages_of_the_one_before():
    pages_of_a_call = 4 * PIECE_BYTES // PAGE_BYTES

    assert faults("keep_freed_memory()") < 2 * pages_of_a_call < faults("") / 10
