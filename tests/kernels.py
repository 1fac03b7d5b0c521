"""Every form of the index's kernel that this machine can run, by a name for parametrised tests."""

import atexit
import contextlib
import functools
import importlib.util
import shutil
import tempfile
from pathlib import Path

import pytest

from recollect.gallery.kernel import NumkongKernel, NumpyKernel
from recollect.gallery.native import LIBRARY, NativeKernel

NAMES = ["numpy", "numkong", "native-0", "native-1", "native-2"]
"""The compiled ones: the fastest instruction set here, the next, the one after it."""

BUILD = Path(__file__).parents[1] / "hatch_build.py"


def kernel_named(name):
    """Make a kernel; skips the test where it cannot be had."""
    match name.split("-"):
        case ["numpy"]:
            return NumpyKernel()
        case ["numkong"]:
            return NumkongKernel()
        case ["native", index]:
            try:
                return NativeKernel(int(index), library())
            except IndexError as error:
                pytest.skip(str(error))


@functools.cache
def library():
    """The kernel as it was installed, or built from the source where that has changed since."""
    with contextlib.suppress(OSError):
        NativeKernel()
        return LIBRARY
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    path = Path(folder) / "_scan.so"
    build_hook().build(path)
    return path


def build_hook():
    """The build's own module; skips the test where there is no compiler."""
    specification = importlib.util.spec_from_file_location("hatch_build", BUILD)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    if module.compiler() is None:
        pytest.skip("no C compiler")
    return module
