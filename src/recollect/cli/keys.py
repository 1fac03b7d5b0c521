"""key and policy: who may do what."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from recollect.cli.failure import CommandError
from recollect.cli.options import DataOption, JsonOption
from recollect.settings import load
from recollect.wire.bearer import token as bearer_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recollect.gallery.store import AccessKey, Store
    from recollect.settings import Settings

key_app = typer.Typer(
    help="Access keys: create, list, rotate, disable, enable, delete; the master key.",
    no_args_is_help=True,
)
policy_app = typer.Typer(
    help="Policies: attach one to a key, show, simulate.", no_args_is_help=True
)

KeyArgument = Annotated[str, typer.Argument(metavar="ACCESS_KEY_ID")]


@key_app.command("create")
def create(
    name: Annotated[str, typer.Option(help="User name, the last part of the key's ARN")],
    policy: Annotated[Path, typer.Option(help="IAM policy document: what the key may do")],
    data: DataOption = None,
    account: Annotated[str | None, typer.Option(help="Account of twelve digits")] = None,
    bearer: Annotated[bool, typer.Option("--bearer", help="A bearer key for plain HTTP")] = False,
    expires_s: Annotated[float | None, typer.Option(help="Life of the key in seconds")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print its secret, once; a running server knows it at once."""
    from recollect import truth

    document = _policy_document(policy)
    with _store(load({"data": data})) as (store, settings):
        key = truth.make_key(
            store,
            account=account or settings.account,
            name=name,
            policies=(document,),
            bearer_key=bearer,
            expires_s=expires_s,
        )
    shown = {"AccessKeyId": key.key_id, "SecretAccessKey": key.secret, "UserName": key.name}
    if key.session_token:
        shown["SessionToken"] = key.session_token
    if bearer:
        shown["BearerToken"] = bearer_token(key.key_id, key.secret)
    if as_json:
        print(json.dumps(shown))
        return
    for title, value in shown.items():
        print(f"{title}: {value}")
    Console(stderr=True).print("The secret is shown this once; it cannot be read again.")


@key_app.command("list")
def list_keys(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the keys, without their secrets."""
    with _store(load({"data": data})) as (store, _):
        found = store.access_keys()
    rows = [
        {
            "AccessKeyId": key.key_id,
            "UserName": key.name,
            "Account": key.account,
            "Kind": "bearer" if key.bearer else "sigv4",
            "Status": "Active" if key.active else "Inactive",
            "ExpiresAt": key.expires_at,
            "Policies": len(key.policies),
        }
        for key in found
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(*(rows[0] if rows else ["AccessKeyId"]))
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)


@key_app.command("disable")
def disable(key_id: KeyArgument, data: DataOption = None) -> None:
    """Refuse a key from now on; `enable` takes it back."""
    with _store(load({"data": data})) as (store, _):
        store.update_key(key_id, active=False)


@key_app.command("enable")
def enable(key_id: KeyArgument, data: DataOption = None) -> None:
    """Accept a disabled key again."""
    with _store(load({"data": data})) as (store, _):
        store.update_key(key_id, active=True)


@key_app.command("delete")
def delete(key_id: KeyArgument, data: DataOption = None) -> None:
    """Remove a key for good."""
    with _store(load({"data": data})) as (store, _):
        store.delete_key(key_id)


@key_app.command("rotate")
def rotate(key_id: KeyArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Make a second key of the same user and policies; disable the old one when it is unused."""
    from recollect import truth

    with _store(load({"data": data})) as (store, _):
        old = _key(store, key_id)
        key = truth.make_key(
            store, account=old.account, name=old.name, policies=old.policies, bearer_key=old.bearer
        )
    shown = {"AccessKeyId": key.key_id, "SecretAccessKey": key.secret, "UserName": key.name}
    if key.bearer:
        shown["BearerToken"] = bearer_token(key.key_id, key.secret)
    print(json.dumps(shown) if as_json else "\n".join(f"{k}: {v}" for k, v in shown.items()))


@policy_app.command("attach")
def attach(
    key_id: KeyArgument,
    policy: Annotated[list[Path], typer.Option(help="IAM policy document; may be repeated")],
    data: DataOption = None,
) -> None:
    """Replace a key's policies; a running server follows at once."""
    documents = [_policy_document(path) for path in policy]
    with _store(load({"data": data})) as (store, _):
        store.update_key(key_id, policies=documents)


@policy_app.command("show")
def show(key_id: KeyArgument, data: DataOption = None) -> None:
    """Print the policies of a key as a JSON list."""
    with _store(load({"data": data})) as (store, _):
        print(json.dumps([json.loads(p) for p in _key(store, key_id).policies], indent=2))


@policy_app.command("simulate")
def simulate(
    key_id: KeyArgument,
    action: Annotated[str, typer.Option(help="Action, such as rekognition:SearchFaces")],
    resource: Annotated[str, typer.Option(help="ARN of the resource, or *")] = "*",
    context: Annotated[
        list[str] | None, typer.Option(help="Condition key, as aws:SourceIp=203.0.113.7")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a key's policies allow an action; exits 1 where they do not."""
    from recollect.wire import access
    from recollect.wire.policy import compiled

    pairs = [pair.partition("=")[::2] for pair in context or []]
    with _store(load({"data": data})) as (store, _):
        key = _key(store, key_id)
    decision = access.decide(
        [compiled(text) for text in key.policies], action, resource, access.context_of(pairs)
    )
    if decision.statement is None:
        reason = "no statement allows it"
    else:
        reason = f"statement {decision.statement} of policy {decision.policy} decides"
    if as_json:
        print(json.dumps({"Allowed": decision.allowed, "Reason": reason, "Sid": decision.sid}))
    else:
        print(f"{'allowed' if decision.allowed else 'denied'}: {reason}")
    raise typer.Exit(0 if decision.allowed else 1)


@contextmanager
def _store(settings: Settings) -> Iterator[tuple[Store, Settings]]:
    """The data folder's store, beside a server that may be running."""
    from recollect import truth

    store = truth.open_store(settings, exclusive=False)
    try:
        yield store, settings
    finally:
        store.close()


def _key(store: Store, key_id: str) -> AccessKey:
    key = store.access_key(key_id)
    if key is None:
        raise CommandError(f"there is no access key {key_id}")
    return key


def _policy_document(path: Path) -> str:
    """Read a policy and refuse one that could not be evaluated."""
    from recollect.wire.policy import Policy, PolicyError

    try:
        text = path.read_text(encoding="utf-8")
        Policy.parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from None
    except PolicyError as error:
        raise CommandError(f"{path} is no policy that can be evaluated: {error}") from None
    return text
