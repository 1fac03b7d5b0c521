"""A real server with a toy pack behind an unmodified boto3; the table of what long tests showed."""

import contextlib
import json
import os
import platform
import threading
import time
from dataclasses import replace
from pathlib import Path

import apsw
import boto3
import pytest
from botocore.config import Config

import drawings
import postgres_server
from recollect import app, truth
from recollect.settings import Settings
from recollect.wire.serve import Server

SHARED = Path(__file__).parents[1].parent / "shared"


class Running:
    """A server that listens, and what a client needs to reach it."""

    def __init__(self, settings: Settings, packs) -> None:
        self.server = app.build(settings, packs)
        self.listener = Server(
            self.server.asgi, host="127.0.0.1", port=0, limits=self.server.limits
        )
        self.thread = threading.Thread(target=self.listener.run)
        self.thread.start()
        while not self.listener.started:
            assert self.thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = self.listener.port
        self.url = f"http://127.0.0.1:{port}"
        self.clients = []
        self.root = json.loads((settings.data / "root-credentials.json").read_text())
        self.environ = {"RECOLLECT_STORE": settings.store} if settings.store else {}
        """What commands beside this server need, besides its data folder."""

    def client(self, key_id=None, secret=None, token=None, region="eu-west-1"):
        """An unmodified boto3 that sends whatever it is told, once."""
        client = boto3.client(
            "rekognition",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key_id or self.root["AccessKeyId"],
            aws_secret_access_key=secret or self.root["SecretAccessKey"],
            aws_session_token=token,
            # The client must not catch our mistakes for us.
            config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
        )
        self.clients.append(client)
        return client

    def key(self, *statements, name="somebody", **more):
        """A key whose policy has these statements."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        return truth.make_key(
            self.server.store,
            account=self.server.settings.account,
            name=name,
            policies=(policy,),
            **more,
        )

    def close(self):
        for client in self.clients:
            client.close()
        self.listener.stop()
        self.thread.join()
        self.server.close()


def pytest_addoption(parser):
    parser.addoption(
        "--pack",
        default="toy",
        help="model pack under the contract tests: toy, drawn, or the name of an installed one",
    )


STORES = ("sqlite", pytest.param("postgres", marks=pytest.mark.slow))
"""What the contract tests run on; a module that says `STORES` itself has more in the fast run."""


def pytest_generate_tests(metafunc):
    """Run what a caller sees on every store."""
    if "serve" in metafunc.fixturenames and "contract" in metafunc.module.__name__:
        stores = getattr(metafunc.module, "STORES", STORES)
        if metafunc.definition.get_closest_marker("embedded"):
            stores = ("sqlite",)
        metafunc.parametrize("serve", stores, indirect=True, scope="session")


@pytest.fixture(scope="session")
def serve(request, tmp_path_factory):
    """Start a server with the given settings changed; it is closed at the end of the session."""
    running = []
    usual = drawings.packs(
        request.config.getoption("--pack"), tmp_path_factory.mktemp("models"), SHARED
    )
    on_postgres = getattr(request, "param", "sqlite") == "postgres"

    def start(packs=None, **changes):
        if on_postgres and not changes.keys() & {"store", "data"}:
            # The server outlives the test, and so does what it stands on.
            changes["store"] = postgres_server.SESSION.enter_context(postgres_server.schema())
        settings = replace(
            Settings(
                data=tmp_path_factory.mktemp("data"),
                account="123456789012",
                decode_children=1,
                call_threads=4,
            ),
            **changes,
        )
        running.append(Running(settings, packs or usual))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="session")
def server(serve):
    """One server for all tests that leave nothing behind that others notice."""
    return serve()


@pytest.fixture(scope="session")
def rekognition(server):
    """boto3 as root on the common server."""
    return server.client()


@pytest.fixture
def collection(rekognition, request):
    """An empty collection of the test's own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:200]
    rekognition.create_collection(CollectionId=name)
    yield name
    with contextlib.suppress(rekognition.exceptions.ResourceNotFoundException):
        rekognition.delete_collection(CollectionId=name)


@pytest.fixture
def figure(record_property):
    """Note a row of the table at the end: what was done to it, how often, what came of it."""
    return lambda attack, rounds, result: record_property("figure", (attack, f"{rounds:,}", result))


def pytest_terminal_summary(terminalreporter):
    """Print the figures of a run of long tests, whoever of several processes found them."""
    if not terminalreporter.config.option.markexpr.startswith("slow"):
        return
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "figure"
    ]
    rows = [("attack", "rounds", "result"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    terminalreporter.section("what it withstood")
    terminalreporter.line(
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
    )
    for attack, rounds, result in rows:
        terminalreporter.line(f"{attack:{widths[0]}}  {rounds:>{widths[1]}}  {result}")
