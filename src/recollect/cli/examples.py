"""What each command's help says, as wide as the terminal, and an example that could be typed."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer
    from typer.models import CommandInfo

KEY = "AKIA0123456789ABCDEF"
ARN = "arn:aws:rekognition:us-east-1:000000000000:collection/staff"

EXAMPLES = {
    "audit export": "recollect audit export audit.jsonl --data ./data",
    "audit tail": "recollect audit tail -n 50 --data ./data",
    "audit verify": "recollect audit verify --data ./data",
    "backup": "recollect backup /backup/recollect --data ./data --keep 14",
    "bench overload": "recollect bench overload ann.jpg --seconds 10",
    "bench search": "recollect bench search",
    "bench serve": "recollect bench serve ann.jpg ben.jpg --faces 10000",
    "bench stop": "recollect bench stop ann.jpg",
    "check": "recollect check --data ./data",
    "doctor": "recollect doctor --data ./data",
    "env": 'eval "$(recollect env --data ./data)"',
    "evaluate": "recollect evaluate ./labelled --pack mobilefacenet --out evaluation",
    "import": "recollect import ./pictures --collection staff --data ./data",
    "key create": "recollect key create --data ./data --name searcher --policy search.json",
    "key delete": f"recollect key delete {KEY} --data ./data",
    "key disable": f"recollect key disable {KEY} --data ./data",
    "key enable": f"recollect key enable {KEY} --data ./data",
    "key list": "recollect key list --data ./data",
    "key master add": "recollect key master add /etc/recollect/next.key",
    "key master retire": "recollect key master retire --data ./data",
    "key master rotate": "recollect key master rotate --data ./data",
    "key rotate": f"recollect key rotate {KEY} --data ./data",
    "models calibrate": "recollect models calibrate mobilefacenet ./labelled --set lfw",
    "models list": "recollect models list",
    "models pull": "recollect models pull mobilefacenet --accept-license",
    "models setup": "recollect models setup",
    "models show": "recollect models show default",
    "models use": "recollect models use mobilefacenet",
    "models verify": "recollect models verify",
    "policy attach": f"recollect policy attach {KEY} --policy search.json --data ./data",
    "policy show": f"recollect policy show {KEY} --data ./data",
    "policy simulate": f"recollect policy simulate {KEY} --action rekognition:SearchFaces "
    f"--resource {ARN}",
    "reindex": "recollect reindex staff --pack mobilefacenet --from ./pictures --data ./data",
    "restore": "recollect restore /backup/recollect/copy.db --data ./data",
    "search": "recollect search door.jpg --collection staff --data ./data",
    "serve": "recollect serve --data ./data --port 8080 --set search_threads=2",
    "subject erase": "recollect subject erase --user-id u-1047 --data ./data",
    "subject export": "recollect subject export --external-image-id ann --data ./data",
    "version": "recollect version",
}
"""By command; a test compares the keys with the commands and the lines with their options."""


def attach(app: typer.Typer) -> None:
    """Give every command of a program its example, and its help as paragraphs without breaks."""
    for path, command in _commands(app, ""):
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        if path in EXAMPLES:
            command.epilog = f"Example: {EXAMPLES[path]}"


def _commands(app: typer.Typer, above: str) -> Iterator[tuple[str, CommandInfo]]:
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        yield f"{above}{name}", command
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, f"{above}{group.name}" + " ")
