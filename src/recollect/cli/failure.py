"""How a command says that it cannot do what it was asked."""


class CommandError(Exception):
    """The message says why and what to do; the exit code is 2."""
