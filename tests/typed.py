"""A command of `recollect` as it is typed in a folder; for a nursery, where it starts at once."""

import json
import os
import sys

# What the commands import when they run, so that it is there when one is born.
import recollect.app
import recollect.truth
from recollect.cli import main as program

assert recollect.app
assert recollect.truth


def main(folder, environ, *arguments):
    """Run it; the process ends with the command's exit code, errors among its output.

    Args:
        folder: where it is typed.
        environ: all of its environment, as JSON.
        arguments: what stands behind `recollect`.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(json.loads(environ))
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    sys.argv = ["recollect", *arguments]
    code = 0
    try:
        program.main()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
