"""Everything hostile that shared/suites holds, at a server under strace: no file, no host outside.

Every call on files and every connect of the server and its children is traced from the moment it
is ready. What may be opened: its data, the models, the folder that serves as a bucket, and what
Python loads of its own at first use. What may be reached: the one endpoint in the configuration.
"""

import base64
import collections
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from security.every_call import Request

SUITES = Path(__file__).parents[2].parent / "shared" / "suites"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.models,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not SUITES.is_dir(), reason="shared/suites is not here"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

OF_ITS_OWN = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2] / "src"))
"""Code that is imported when it is first needed."""
HARMLESS = {
    *("/dev/null", "/dev/urandom", "/etc/localtime", "/proc/meminfo", "/proc/cpuinfo"),
    # How many processors there are to use, and what a file of the console is called.
    *("/sys/devices/system/cpu/online", "/sys/fs/cgroup/cpuset/cpuset.cpus"),
    *("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max", "/etc/mime.types"),
    # How the C library is told to find the endpoint in the configuration by its name.
    *("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/hosts", "/etc/gai.conf"),
    "/var/run/nscd/socket",
}
SENTINEL = "from-here-on.jpg"

CALL = re.compile(
    r"^(?:\d+ +)?(?:\[pid +\d+\] )?(?P<name>open|openat|openat2|execve|connect)\((?P<rest>.*)$"
)
OPENED = re.compile(r"= \d+<(?P<path>[^>]*)>")
NAMED = re.compile(r'^(?:(?:AT_FDCWD|\d+)(?:<(?P<at>[^>]*)>)?, )?"(?P<name>(?:[^"\\]|\\.)*)"')
ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)')


class Listener:
    """A host that counts who comes and never answers anything of use."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.count = self.socket.getsockname()[1], 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                visitor, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            with visitor:
                visitor.recv(65536)
                visitor.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


class Traced:
    """A server under strace."""

    def __init__(self, folder, listener):
        self.root = folder / "bucket"
        shutil.copytree(SUITES / "images", self.root)
        (folder / "outside.jpg").write_bytes(b"secret")
        (self.root / "link.jpg").symlink_to(folder / "outside.jpg")
        self.data, self.log = folder / "data", folder / "strace"
        config = folder / "recollect.toml"
        config.write_text(
            f'[s3.buckets.album]\npath = "{self.root}"\n[s3.buckets.far]\n'
            f'endpoint = "http://127.0.0.1:{listener.port}"\naccess_key_id = "a"\n'
            'secret_access_key = "b"\n'
        )
        self.data.mkdir()
        settings = ["pack=default", "log_level=error", "s3_deadline_s=2", "console=true"]
        command = [sys.executable, "-m", "recollect", "serve", "--port", "0"]
        command += ["--data", str(self.data), "--config", str(config)]
        command += [word for pair in settings for word in ("--set", pair)]
        trace = ["strace", "-f", "-y", "-s", "4096", "-o", str(self.log), "--seccomp-bpf"]
        trace += ["-e", "trace=open,openat,openat2,execve,connect"]
        kept = ("RECOLLECT_MODELS", "PATH", "HOME", "XDG_CACHE_HOME")
        self.output = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [*trace, *command],
            env={name: os.environ[name] for name in kept if name in os.environ},
            stdout=self.output,
            stderr=self.output,
        )
        address = self.data / "address"
        while not address.exists():
            assert self.process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        self.port = int(address.read_text().strip().rpartition(":")[2])
        root = json.loads((self.data / "root-credentials.json").read_text())
        self.key = root["AccessKeyId"], root["SecretAccessKey"]
        self.statuses = collections.Counter()

    def call(self, operation, params, body=None):
        request = Request(f"127.0.0.1:{self.port}", operation, params, "aws")
        if body is not None:
            request.body = body
        request.sign(*self.key)
        status, error = request.send(self.port)
        self.statuses[status, error] += 1
        return status

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest("GET", path, skip_host=False)
            connection.endheaders()
            return connection.getresponse().status
        except (ValueError, UnicodeEncodeError, http.client.InvalidURL):
            return None  # It cannot even be written on a line.
        finally:
            connection.close()

    def stop(self):
        family = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        os.kill(int(family.split()[0]), signal.SIGTERM)
        self.process.wait(60)
        self.output.close()


@pytest.fixture(scope="module")
def listener():
    made = Listener()
    yield made
    made.socket.close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory, listener):
    made = Traced(tmp_path_factory.mktemp("traced"), listener)
    yield made
    if made.process.poll() is None:
        made.stop()


def strings():
    """Every string of the suites that is valid Unicode, once."""
    found = json.loads((SUITES / "strings/blns.json").read_text())
    for name in ("paths", "xss"):
        rows = json.loads((SUITES / f"strings/{name}.json").read_text())
        found += [row["value"].replace("{FILE}", "etc/passwd") for row in rows]
    return list(dict.fromkeys(found))


def events(log):
    """What was opened or tried, as (call, path or address, whether it was had)."""
    # A call that another thread's interrupted stands in two pieces.
    begun, lines = {}, []
    for line in log.read_text(errors="replace").splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>")
        elif rest.startswith("<... ") and "resumed>" in rest:
            lines.append(begun.pop(pid, "") + rest.partition("resumed>")[2])
        else:
            lines.append(rest)
    for line in lines:
        call = CALL.match(line)
        if call is None:
            continue
        name, rest = call["name"], call["rest"]
        if name == "connect":
            address = ADDRESS.search(rest)
            local = re.search(r'sun_path="([^"]+)"', rest)
            yield (
                name,
                f"{address[2]}:{address[1]}" if address else local[1] if local else rest,
                True,
            )
            continue
        opened, named = OPENED.search(rest), NAMED.match(rest)
        assert opened or named, line
        if opened:
            yield name, opened["path"], True
        else:
            path = named["name"].encode().decode("unicode_escape")
            yield name, str(Path(named["at"] or "/", path)), False


def test_nothing_outside_is_opened_and_nobody_else_reached(traced, listener):
    traced.call("CreateCollection", {"CollectionId": "c"})
    # Whatever is loaded at first use is loaded, and the controls leave their traces.
    picture = str(next(traced.root.rglob("*.png")).relative_to(traced.root))
    for bucket in ("album", "far"):
        image = {"S3Object": {"Bucket": bucket, "Name": picture}}
        traced.call("DetectFaces", {"Image": image})
    assert traced.call("DetectFaces", {"Image": {"S3Object": in_album("link.jpg")}}) == 400
    assert listener.count == 1
    assert traced.call("DetectFaces", {"Image": {"S3Object": in_album(SENTINEL)}}) == 400

    throw_strings(traced)
    throw_pictures(traced)
    throw_json(traced)

    assert traced.call("ListCollections", {}) == 200
    traced.stop()
    print(f"{sum(traced.statuses.values())} calls")
    for (status, error), count in traced.statuses.most_common():
        print(f"  {status} {error or 'OK':<40} {count}")
    assert not {status for status, _ in traced.statuses if status >= 500}
    judge(traced, listener)


def judge(traced, listener):
    models = os.environ.get("RECOLLECT_MODELS", str(Path.home() / ".cache/recollect"))
    allowed = (str(traced.data), str(traced.root), str(Path(models).resolve()), *OF_ITS_OWN)
    seen = list(events(traced.log))
    assert ("connect", f"127.0.0.1:{listener.port}", True) in seen, "the control was not seen"
    assert any(path.startswith(str(traced.root)) and had for _, path, had in seen)

    begin = max(at for at, (_, what, _) in enumerate(seen) if what.endswith(SENTINEL))
    outside, counts = set(), collections.Counter()
    for call, what, had in seen[begin:]:
        counts[call, had] += 1
        if call == "connect":
            inside = what == f"127.0.0.1:{listener.port}" or what in HARMLESS
        else:
            inside = what.startswith(allowed) or what in HARMLESS
        if not inside:
            outside.add((call, what, had))
    print(
        ", ".join(f"{call} {'done' if had else 'failed'} {n}" for (call, had), n in counts.items())
    )
    print(f"opened or reached outside: {len(outside)}", *sorted(outside), sep="\n  ")
    assert outside == set()
    assert not any("outside.jpg" in what and had for _, what, had in seen)


def throw_strings(traced):
    image = {"Bytes": base64.b64encode(b"no picture").decode()}
    for text in strings():
        traced.call("DetectFaces", {"Image": {"S3Object": in_album(text)}})
        traced.call("DetectFaces", {"Image": {"S3Object": {"Bucket": "far", "Name": text}}})
        traced.call("DetectFaces", {"Image": {"S3Object": in_album("a.jpg") | {"Version": text}}})
        traced.call("DetectFaces", {"Image": {"S3Object": {"Bucket": text, "Name": "a.jpg"}}})
        traced.call("DescribeCollection", {"CollectionId": text})
        traced.call("TagResource", {"ResourceArn": text, "Tags": {text: text}})
        traced.call("CreateUser", {"CollectionId": "c", "UserId": text})
        given = {"CollectionId": "c", "ExternalImageId": text, "Image": image}
        traced.call("IndexFaces", given)
        for path in (f"/console/{text}", f"/{text}"):
            status = traced.get("".join(c for c in path if " " < c < "\x7f"))
            assert status is None or status < 500


def throw_pictures(traced):
    for path in sorted(traced.root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            name = str(path.relative_to(traced.root))
            traced.call("DetectFaces", {"Image": {"Bytes": base64.b64encode(data).decode()}})
            traced.call("DetectFaces", {"Image": {"S3Object": in_album(name)}})


def throw_json(traced):
    for path in sorted((SUITES / "json").glob("*.json")):
        traced.call("DetectFaces", {}, path.read_bytes())
        traced.call("CreateUser", {}, b'{"CollectionId":"c","UserId":' + path.read_bytes() + b"}")


def in_album(name):
    return {"Bucket": "album", "Name": name}
