"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder of the server")]
UrlOption = Annotated[str | None, typer.Option(help="Address of the server")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of settings", envvar="RECOLLECT_CONFIG"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
