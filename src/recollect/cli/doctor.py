"""doctor: looks at machine, models, data folder, clock and port, and says what to do."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from recollect.plan import plan
from recollect.settings import Settings, load, models_folder

if TYPE_CHECKING:
    from collections.abc import Callable

FREE_BYTES_MIN = 1 << 30
CLOCK_MIN = 1_735_689_600.0
"""1 January 2025: a clock before it has lost its battery."""


def doctor(
    data: Annotated[Path | None, typer.Option("--data", help="Data folder of the server")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs")] = False,
) -> None:
    """Check what a server needs; exits 1 where something is missing."""
    settings = load({"data": data})
    rows: list[dict[str, object]] = []
    for name, check in CHECKS.items():
        try:
            found = check(settings)
            rows.append({"check": name, "ok": True, "found": found})
        except Exception as problem:
            rows.append({"check": name, "ok": False, "found": str(problem)})
    if as_json:
        print(json.dumps(rows))
    else:
        table = Table("Check", "", "Found")
        for row in rows:
            table.add_row(str(row["check"]), "ok" if row["ok"] else "[red]no[/]", str(row["found"]))
        Console().print(table)
    raise typer.Exit(0 if all(row["ok"] for row in rows) else 1)


def _machine(settings: Settings) -> str:
    return f"{platform.machine()}, Python {sys.version.split()[0]}; {plan(settings)}"


def _kernel(_: Settings) -> str:
    from recollect.gallery.arena import Arena

    arena = Arena()
    try:
        return f"index scans with {arena.kernel}"
    finally:
        arena.close()


def _models(settings: Settings) -> str:
    from recollect.vision.pack import read_manifest

    manifests = sorted(models_folder(settings).glob("*/manifest.toml"))
    if not manifests:
        raise RuntimeError(f"none in {models_folder(settings)}: run `recollect models setup`")
    return ", ".join(
        f"{pack.name} {pack.model_version}"
        for pack in (read_manifest(path.parent) for path in manifests)
    )


def _folder(settings: Settings) -> str:
    folder = settings.data
    existing = folder if folder.exists() else folder.absolute().parent
    if not os.access(existing, os.W_OK):
        raise RuntimeError(f"{existing} cannot be written: choose another with --data")
    free = shutil.disk_usage(existing).free
    if free < FREE_BYTES_MIN:
        raise RuntimeError(f"only {free >> 20} MiB are free on the disk of {existing}")
    made = "is there" if folder.exists() else "will be made"
    return f"{folder} {made}, {free >> 30} GiB free"


def _clock(_: Settings) -> str:
    now = time.time()
    if now < CLOCK_MIN:
        raise RuntimeError(f"it says {time.ctime(now)}: signatures will be refused; set it")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def _port(settings: Settings) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as problem:
            raise RuntimeError(
                f"{settings.host}:{settings.port}: {problem.strerror}; choose another with --port"
            ) from None
    return f"{settings.host}:{settings.port} is free"


CHECKS: dict[str, Callable[[Settings], str]] = {
    "machine": _machine,
    "index": _kernel,
    "models": _models,
    "data folder": _folder,
    "clock": _clock,
    "port": _port,
}
