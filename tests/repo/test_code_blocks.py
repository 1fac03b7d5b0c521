"""What the documents show works: code compiles, JSON parses, commands and names exist."""

import inspect
import json
import re
import shlex
from pathlib import Path

import pytest
from prometheus_client import Counter
from typer.main import get_command

from recollect import errors, telemetry
from recollect.cli.main import app
from recollect.settings import table
from recollect.wire import plain
from recollect.wire.policy import Policy

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("", "sh", "bash", "console")
COMMAND = re.compile(r"(?:^|\$\(|\S+/)recollect (?!&&)(.*)")
"""`recollect …` at the beginning of a line, behind a path or inside `$(…)`."""


def blocks(*languages):
    """Every fenced block in one of these languages, named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in BLOCK.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


def commands():
    """The arguments of every `recollect …` in a block of a shell."""
    found = []
    for block in blocks(*SHELLS):
        for line in block.values[0].replace("\\\n", " ").splitlines():
            said = COMMAND.search(line)
            if said is None:
                continue
            # What follows belongs to another command, or to the shell.
            arguments = re.split(r"\)\"|\s(?:&&|\||>|#)\s", said[1] + " ")[0]
            found.append(pytest.param(shlex.split(arguments), id=f"{block.id} {arguments[:60]}"))
    return found


def misuse(arguments):
    """What is wrong with a command line, or None; nothing is run."""
    command = get_command(app)
    context = command.make_context("recollect", ["version"])
    while hasattr(command, "get_command"):
        if not arguments:
            return None
        name, *arguments = arguments
        inner = command.get_command(context, name)
        if inner is None:
            return f"there is no command {name}"
        command = inner
    options = {flag: option for option in command.params for flag in option.opts}
    wants = [p for p in command.params if p.param_type_name == "argument"]
    given, index = 0, 0
    while index < len(arguments):
        flag = arguments[index]
        if flag.startswith("-"):
            if flag not in options:
                return f"{command.name} has no option {flag}"
            index += 0 if options[flag].is_flag else 1
            if index >= len(arguments):
                return f"{flag} lacks its value"
        else:
            given += 1
        index += 1
    if given < sum(argument.required for argument in wants):
        return f"{command.name} lacks an argument"
    if given > len(wants) and all(argument.nargs != -1 for argument in wants):
        return f"{command.name} takes fewer arguments"
    return None


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles(code):
    compile(code, "block", "exec")


@pytest.mark.parametrize("text", blocks("json"))
def test_json_parses_and_policies_can_be_evaluated(text):
    document = json.loads(text)

    if "Statement" in document:
        Policy.parse(text)


@pytest.mark.parametrize("arguments", commands())
def test_commands_exist_with_their_options(arguments):
    assert misuse(arguments) is None


def test_the_commands_of_the_documents_are_found():
    assert len(commands()) > 50


@pytest.mark.parametrize(
    "wrong",
    [
        "serv --data x",
        "serve --dat x",
        "key creat",
        "search --collection x",
        "version now",
        "search a.jpg --collection",
    ],
)
def test_wrong_commands_are_noticed(wrong):
    assert misuse(wrong.split()) is not None


def test_every_command_has_its_example():
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    for name, command in get_command(app).commands.items():
        for one in getattr(command, "commands", None) or [""]:
            assert f"recollect {name} {one}".rstrip() in page, f"{name} {one}".rstrip()


def test_every_metric_is_explained():
    page = (ROOT / "docs" / "running.md").read_text("utf-8")
    for metric in vars(telemetry).values():
        if type(metric).__module__ == Counter.__module__:
            name = metric.describe()[0].name
            total = "_total" if isinstance(metric, Counter) else ""
            assert f"`{name}{total}`" in page, name


def test_every_stage_of_a_call_is_named():
    page = (ROOT / "docs" / "running.md").read_text("utf-8")
    for path in (ROOT / "src").rglob("*.py"):
        for name in re.findall(r'\bstage\("(\w+)"\)', path.read_text("utf-8")):
            assert f"`{name}`" in page, name


def test_every_error_is_explained_with_its_status():
    page = (ROOT / "docs" / "plain-json.md").read_text("utf-8")
    bases = {errors.AnswerError, errors.ServiceError, errors.FrameworkError}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.AnswerError) and kind not in bases:
            (row,) = [line for line in page.splitlines() if f"`{name}`" in line]
            code = plain.code(kind.__new__(kind))
            assert f"`{code}` | {kind.web_status} |" in row, name


def test_settings_and_variables_that_are_named_exist():
    known = {variable for _, variable, _, _ in table()} | {"RECOLLECT_CONFIG"}
    for page in PAGES:
        for name in re.findall(r"\bRECOLLECT_[A-Z0-9_]*[A-Z0-9]\b", page.read_text("utf-8")):
            assert name in known | {"RECOLLECT_EVAL_DATA"}, f"{page.name} names {name}"


def slug(heading):
    """The anchor that a forge and the site make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_links_into_a_page_lead_to_a_heading():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text("utf-8")):
            text = (page.parent / target if target else page).read_text("utf-8")
            headings = {slug(h) for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
            assert anchor in headings, f"{page.name} links to {target}#{anchor}"


def test_the_site_has_every_page():
    listed = set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))

    assert listed >= {page.name for page in ROOT.glob("docs/*.md")}
