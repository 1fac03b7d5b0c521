"""Builds the search kernel into the package where there is a C compiler; hatchling calls it.

Run by hand (`python hatch_build.py`) it builds the kernel into a checkout.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "src" / "recollect" / "gallery"
SOURCE = FOLDER / "_scan.c"
LIBRARY = FOLDER / "_scan.so"

# No -march=native: the kernel asks the processor at run time what it can do.
FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno"]
FLAGS += [
    "-fopenmp-simd",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-Werror=implicit-function-declaration",
]


def compiler() -> list[str] | None:
    """The C compiler that the environment names, or the first one found."""
    if named := os.environ.get("CC"):
        return shlex.split(named)
    found = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    return None if found is None else [found]


def build(library: Path = LIBRARY, extra: tuple[str, ...] = ()) -> None:
    """Compile the kernel.

    Raises:
        FileNotFoundError: there is no compiler.
        subprocess.CalledProcessError: it fails.
    """
    command = compiler()
    if command is None:
        raise FileNotFoundError("no C compiler: none of cc, gcc and clang is here")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    unfinished = library.with_suffix(".tmp")
    command += [*FLAGS, *extra, f'-DSOURCE_DIGEST="{digest}"', "-shared"]
    command += ["-o", str(unfinished), str(SOURCE), "-lm"]
    try:
        subprocess.run(command, check=True)
        # Renamed, for a running server may have the old one mapped.
        unfinished.replace(library)
    finally:
        unfinished.unlink(missing_ok=True)


class KernelHook(BuildHookInterface[Any]):
    """Adds the kernel to a wheel or an editable install, and says so where it cannot."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and tag the wheel for this platform: it needs no particular Python."""
        LIBRARY.unlink(missing_ok=True)
        try:
            build()
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(
                f"The compiled search kernel was not built ({error}). Searches will use numkong, "
                "which gives the same answers two to four times slower."
            )
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append("src/recollect/gallery/_scan.so")

    def clean(self, versions: list[str]) -> None:
        """Remove what was built."""
        LIBRARY.unlink(missing_ok=True)


if __name__ == "__main__":
    build()
