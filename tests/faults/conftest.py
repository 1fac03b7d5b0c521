"""What fault tests share: processes to be killed, and the table of what the long runs showed."""

import os
import platform

import apsw
import pytest

from nursery import Nursery


@pytest.fixture(scope="session")
def writers():
    """A nursery of processes that write to a store until they are killed."""
    nursery = Nursery("busy_store")
    yield nursery
    nursery.close()


@pytest.fixture
def figure(record_property):
    """Note a row of the table at the end: what was done to it, how often, what came of it."""
    return lambda attack, rounds, result: record_property("figure", (attack, f"{rounds:,}", result))


def pytest_terminal_summary(terminalreporter):
    """Print all figures of the run, whoever of several processes found them."""
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "figure"
    ]
    if not rows:
        return
    rows = [("attack", "rounds", "result"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    terminalreporter.section("what it withstood")
    terminalreporter.line(
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
    )
    for attack, rounds, result in rows:
        terminalreporter.line(f"{attack:{widths[0]}}  {rounds:>{widths[1]}}  {result}")
