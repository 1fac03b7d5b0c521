"""The table of commands; serve and env."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from recollect import __version__
from recollect.cli import (
    bench,
    doctor,
    examples,
    intake,
    keys,
    master,
    measure,
    models,
    reindexing,
    searching,
)
from recollect.cli import data as tending
from recollect.cli.failure import CommandError
from recollect.cli.options import DataOption, JsonOption
from recollect.settings import SettingError, load

app = typer.Typer(
    name="recollect",
    help="A self-hosted face search server that speaks Amazon Rekognition's protocol.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(keys.key_app, name="key")
keys.key_app.add_typer(master.app, name="master")
app.add_typer(keys.policy_app, name="policy")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")
bench.app.command()(searching.search)
app.command("import")(intake.import_)
app.command("reindex")(reindexing.reindex)
app.command("search")(intake.search)
app.command("backup")(tending.backup)
app.command("restore")(tending.restore)
app.command("check")(tending.check)
app.command("doctor")(doctor.doctor)
app.add_typer(tending.audit_app, name="audit")
app.add_typer(tending.subject_app, name="subject")
app.command("evaluate")(measure.evaluate)

errors = Console(stderr=True)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one")] = None,
    data: DataOption = None,
    store: Annotated[str | None, typer.Option(help="postgresql:// URL of a shared store")] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings", envvar="RECOLLECT_CONFIG")
    ] = None,
    pack: Annotated[str | None, typer.Option(help="Model pack of new collections")] = None,
    no_auth: Annotated[
        bool | None, typer.Option("--no-auth", help="Let anybody do anything")
    ] = None,
    other: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, as NAME=VALUE")
    ] = None,
) -> None:
    """Serve until told to stop; ready when /readyz answers 200."""
    from recollect import app as server

    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "data": data,
        "store": store,
        "pack": pack,
        "no_auth": no_auth,
    }
    for pair in other or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise SettingError(f"--set takes NAME=VALUE, not {pair!r}")
        flags[name.replace("-", "_")] = value
    server.run(load(flags, config=config))


@app.command()
def env(
    data: DataOption = None,
    port: Annotated[int | None, typer.Option(help="Port of the server")] = None,
) -> None:
    """Print the variables that point AWS's SDKs and command line at this server."""
    settings = load({"data": data, "port": port})
    path = settings.data / "root-credentials.json"
    try:
        root = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(
            f"{path} does not exist: the first `recollect serve --data {settings.data}` makes it"
        ) from None
    address = settings.data / "address"
    url = f"http://{settings.host}:{settings.port}"
    if port is None and address.exists():
        url = address.read_text(encoding="utf-8").strip()
    print(
        f"export AWS_ACCESS_KEY_ID={shlex.quote(root['AccessKeyId'])} "
        f"AWS_SECRET_ACCESS_KEY={shlex.quote(root['SecretAccessKey'])} "
        # boto3 and the command line read the one, every other SDK the other.
        f"AWS_DEFAULT_REGION={shlex.quote(settings.region)} "
        f"AWS_REGION={shlex.quote(settings.region)} "
        f"AWS_ENDPOINT_URL_REKOGNITION={shlex.quote(url)}"
    )


@app.command()
def version(
    as_json: JsonOption = False,
) -> None:
    """Print the version."""
    print(json.dumps({"version": __version__}) if as_json else __version__)


examples.attach(app)


def main() -> None:
    """Run the command line; a mistake of the caller's exits 2 with one clear line."""
    from recollect.errors import AnswerError
    from recollect.gallery.store import StoreUnusable
    from recollect.vision.manifest import PackError
    from recollect.wire.serve import ListenError

    try:
        app()
    except (SettingError, CommandError, StoreUnusable, PackError, ListenError) as error:
        errors.print(f"[bold red]recollect:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except AnswerError as error:
        errors.print(f"[bold red]{error.code}:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
