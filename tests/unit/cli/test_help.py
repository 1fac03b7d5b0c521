"""Every command says how it is used, and says nothing in colour to a pipe."""

import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from recollect.cli.examples import EXAMPLES
from recollect.cli.main import app
from repo.test_code_blocks import misuse


def commands(command, path=()):
    """Every command of the program, by its words."""
    if not hasattr(command, "commands"):
        return {" ".join(path): command}
    found = {}
    for name, inner in command.commands.items():
        found |= commands(inner, (*path, name))
    return found


COMMANDS = commands(get_command(app))


def test_every_command_has_its_example():
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_can_be_typed_as_it_is(name):
    example = EXAMPLES[name].removeprefix('eval "$(').removesuffix(')"')
    program, *arguments = shlex.split(example)

    assert program == "recollect"
    assert " ".join(arguments).startswith(name)
    assert misuse(arguments) is None


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_example_and_no_colour_in_a_pipe(name):
    shown = CliRunner().invoke(app, [*name.split(), "--help"])

    assert shown.exit_code == 0
    assert "Example: " in shown.stdout
    assert "\x1b" not in shown.stdout
