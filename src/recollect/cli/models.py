"""models: which packs are here, and how to get others."""

from __future__ import annotations

import typer
from rich.console import Console

from recollect.settings import load, models_folder

app = typer.Typer(help="Model packs: set up, list, show, pull, verify.", no_args_is_help=True)

console = Console(stderr=True)


@app.command()
def setup() -> None:
    """Build the embedded pack where it is missing; nothing to do where it is there."""
    from recollect.vision.packs import default

    default.build(models_folder(load({})), console.print)
