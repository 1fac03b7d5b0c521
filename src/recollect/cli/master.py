"""key master: another master key in the place of the one that everything at rest hangs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recollect.cli.options import DataOption
from recollect.settings import load

app = typer.Typer(
    help="The master key: rotate; or add a second one and retire the first.", no_args_is_help=True
)


BACK_UP = (
    "Copies made before open with the key of their time, until the next `recollect backup` to their"
    " folder: then all of that folder opens with the new one."
)


@app.command("rotate")
def rotate(data: DataOption = None) -> None:
    """Replace the master key in its file, beside a running server; the old one opens nothing more.

    Cut short, even by a power cut, nothing is lost: run it again.
    """
    from recollect import truth

    path = truth.rotate_master_key(load({"data": data}))
    print(f"The new master key lies in {path}; the one before it opens this data no more.")
    print(BACK_UP)


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="File of the new key, mode 0600; made if missing")],
    data: DataOption = None,
) -> None:
    """Let a second master key open the data: for one from a command, or of several servers.

    Afterwards let every server have the new key, one by one, then `retire` the old one.
    """
    from recollect import truth

    truth.add_master_key(load({"data": data}), file)
    print(f"The key in {file} opens this data too, until `recollect key master retire`.")


@app.command("retire")
def retire(data: DataOption = None) -> None:
    """Refuse every master key but the one that the settings give now."""
    from recollect import truth

    truth.retire_master_keys(load({"data": data}))
    print("Only the master key of the settings opens this data from now on.")
    print(BACK_UP)
