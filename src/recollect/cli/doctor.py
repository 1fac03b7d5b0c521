"""doctor: looks at everything a server needs, and says what to do where something is missing."""

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
from rich.markup import escape
from rich.table import Table

from recollect.cli.options import ConfigOption, DataOption, JsonOption
from recollect.plan import plan
from recollect.settings import Settings, load, models_folder

if TYPE_CHECKING:
    from collections.abc import Callable

FREE_BYTES_MIN = 1 << 30
STORE_DEADLINE_S = 5.0
CLOCK_SKEW_MAX_S = 300.0
"""Further apart, and stores refuse our signatures."""
CLOCK_MIN = 1_735_689_600.0
"""1 January 2025: a clock before it has lost its battery."""


def doctor(
    data: DataOption = None,
    store: Annotated[str | None, typer.Option(help="postgresql:// URL of a shared store")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check what a server needs; exits 1 where something is missing."""
    settings = load({"data": data, "store": store}, config=config)
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
            verdict = "[green]ok[/]" if row["ok"] else "[bold red]no[/]"
            table.add_row(str(row["check"]), verdict, escape(str(row["found"])))
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
    from recollect.vision.manifest import read_manifest

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


def _store(settings: Settings) -> str:
    """Open the truth as a command does, beside a server that may be running."""
    from recollect import truth

    if not settings.store and not (settings.data / "recollect.db").exists():
        return "none yet: the first start makes it, with its keys"
    store = truth.open_store(settings, exclusive=False)
    try:
        count = len(store.every_collection())
    finally:
        store.close()
    kind = "PostgreSQL" if settings.store else "SQLite"
    return f"{kind} opens with its master key, collections: {count}"


def _pictures(settings: Settings) -> str:
    """Look at every bucket of the configuration; a store's own clock is compared with ours."""
    if not settings.buckets:
        return "no bucket is configured: calls bring their pictures along"
    for name, bucket in settings.buckets.items():
        if bucket.path:
            if not Path(bucket.path).is_dir():
                raise RuntimeError(f"the folder of bucket {name}, {bucket.path}, is not there")
            continue
        skew_s = _skew_of(name, bucket.endpoint)
        if abs(skew_s) > CLOCK_SKEW_MAX_S:
            raise RuntimeError(
                f"bucket {name}: its clock and this one's are {abs(skew_s):.0f} s apart: set it"
            )
    return ", ".join(settings.buckets) + (" answers" if len(settings.buckets) == 1 else " answer")


def _skew_of(name: str, endpoint: str) -> float:
    """Seconds that a store's clock is ahead of ours; 0 where it does not say."""
    from email.utils import parsedate_to_datetime
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(endpoint, method="HEAD")  # noqa: S310 - an address of the configuration
    try:
        with urlopen(request, timeout=STORE_DEADLINE_S) as answer:  # noqa: S310
            said = answer.headers.get("date")
    except HTTPError as refusal:
        # Whoever refuses is there: the check has no key in its request.
        said = refusal.headers.get("date")
        refusal.close()
    except (OSError, ValueError) as problem:
        raise RuntimeError(
            f"bucket {name}: {endpoint} does not answer ({problem}): look at endpoint and network"
        ) from None
    return parsedate_to_datetime(said).timestamp() - time.time() if said else 0.0


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
            if running := _running(settings):
                return f"{running} is served already, from this data folder"
            raise RuntimeError(
                f"{settings.host}:{settings.port}: {problem.strerror}; choose another with --port"
            ) from None
    return f"{settings.host}:{settings.port} is free"


def _running(settings: Settings) -> str | None:
    """The address that a server of this data folder wrote, where something listens there."""
    from urllib.parse import urlsplit

    try:
        url = (settings.data / "address").read_text(encoding="utf-8").strip()
        where = urlsplit(url)
        socket.create_connection((where.hostname, where.port), STORE_DEADLINE_S).close()
    except (OSError, ValueError):
        return None
    return url if where.port == settings.port else None


CHECKS: dict[str, Callable[[Settings], str]] = {
    "machine": _machine,
    "index": _kernel,
    "models": _models,
    "data folder": _folder,
    "store": _store,
    "pictures in S3": _pictures,
    "clock": _clock,
    "port": _port,
}
