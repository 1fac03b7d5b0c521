"""The table of commands; serve and env."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from recollect import __version__
from recollect.cli import data as tending
from recollect.cli import (
    doctor,
    examples,
    intake,
    keys,
    master,
    measure,
    models,
    reindexing,
)
from recollect.cli.bench import index
from recollect.cli.bench import load as bench
from recollect.cli.failure import CommandError
from recollect.cli.options import ConfigOption, DataOption, JsonOption
from recollect.settings import SettingError, load

app = typer.Typer(
    name="recollect",
    help="A self-hosted face search server that speaks Amazon Rekognition's protocol.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
errors = Console(stderr=True)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one")] = None,
    data: DataOption = None,
    store: Annotated[str | None, typer.Option(help="postgresql:// URL of a shared store")] = None,
    config: ConfigOption = None,
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


def version(
    as_json: JsonOption = False,
) -> None:
    """Print the version."""
    print(json.dumps({"version": __version__}) if as_json else __version__)


SERVING, FACES, RIGHTS = "A server", "Faces", "Keys and records"
KEEPING, MODELS = "What is kept", "Models and figures"

app.command(rich_help_panel=SERVING)(serve)
app.command(rich_help_panel=SERVING)(env)
app.command(rich_help_panel=SERVING)(doctor.doctor)
app.command(rich_help_panel=SERVING)(version)
app.command("import", rich_help_panel=FACES)(intake.import_)
app.command(rich_help_panel=FACES)(intake.search)
app.command(rich_help_panel=FACES)(reindexing.reindex)
app.add_typer(tending.subject_app, name="subject", rich_help_panel=FACES)
app.add_typer(keys.key_app, name="key", rich_help_panel=RIGHTS)
keys.key_app.add_typer(master.app, name="master")
app.add_typer(keys.policy_app, name="policy", rich_help_panel=RIGHTS)
app.add_typer(tending.audit_app, name="audit", rich_help_panel=RIGHTS)
app.command(rich_help_panel=KEEPING)(tending.backup)
app.command(rich_help_panel=KEEPING)(tending.restore)
app.command(rich_help_panel=KEEPING)(tending.check)
app.add_typer(models.app, name="models", rich_help_panel=MODELS)
app.command(rich_help_panel=MODELS)(measure.evaluate)
app.add_typer(bench.app, name="bench", rich_help_panel=MODELS)
bench.app.command()(index.search)
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
