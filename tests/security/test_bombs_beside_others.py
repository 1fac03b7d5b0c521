"""Bombs thrown at a real server: what each costs it, and what the others notice."""

import base64
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from recollect.cli.client import from_data
from recollect.measure import own
from security.every_call import Request
from security.test_images import BROKEN, HARMLESS, TOO_LARGE
from security.test_json_bombs import BOMBS
from toys import picture

pytestmark = [pytest.mark.slow, pytest.mark.models]

CPU_S_MAX, GROWN_BYTES_MAX = 2.0, 512 << 20
OTHERS = 4
"""Callers beside the one who throws."""
PICTURE_BYTES_MAX = 5_242_880
KINDS = {
    "image": {"PNG of 30000 x 30000, one bit", "JPEG of 65535 a side", "JPEG of 10000 scans"}
    | {"zTXt that inflates to 200 MB, 16 times", "iCCP that inflates to 200 MB"}
    | {"iTXt that inflates to 200 MB", "PNG in a million chunks"},
    "body": {"100,000 lists deep", "digits", "bad base64", "escapes", "empty lists", "gzip"},
}


def bombs():
    """Twelve kinds and one more: a name, and the body of SearchFacesByImage."""
    for name, make in (TOO_LARGE | BROKEN | HARMLESS).items():
        if name in KINDS["image"]:
            data = make()
            if len(data) > PICTURE_BYTES_MAX:  # As many of it as are let in.
                data = data[:PICTURE_BYTES_MAX]
            image = {"Bytes": base64.b64encode(data).decode()}
            yield name, json.dumps({"CollectionId": "c", "Image": image}).encode()
    for name in sorted(KINDS["body"]):
        yield name, BOMBS[name]


def cpu_s(pids):
    ticks = 0
    for pid in pids:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / 100


def peak_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server as everybody has it, in a process of its own."""
    data = tmp_path_factory.mktemp("bombs") / "data"
    settings = {"pack": "default", "log_level": "error", "decode_children": 2, "call_threads": 4}
    with own.running(data, settings) as server, from_data(data, server.url) as client:
        client.call("CreateCollection", CollectionId="c")
        yield server, client


def throw(server, client, body):
    """One bomb, signed; the status."""
    port = int(server.url.rpartition(":")[2])
    request = Request(f"127.0.0.1:{port}", "SearchFacesByImage", {}, "aws")
    request.body = body
    return request.sign(client._key_id, client._secret).send(port)[0]


def test_each_bomb_costs_less_than_2_s_and_512_mib(served):
    server, client = served
    family = own._family(server.process.pid)
    count = 0
    for name, body in bombs():
        before_s, before_bytes = cpu_s(family), peak_bytes(server.process.pid)
        began = time.monotonic()
        status = throw(server, client, body)
        took_s, spent_s = time.monotonic() - began, cpu_s(family) - before_s
        grown = peak_bytes(server.process.pid) - before_bytes
        print(
            f"{name:<40} {len(body) >> 10:>6} KiB: {status}, {spent_s:.2f} s of CPU, "
            f"{took_s:.2f} s, +{grown >> 20} MiB"
        )
        assert status in {400, 413}
        assert spent_s < CPU_S_MAX
        assert grown < GROWN_BYTES_MAX
        assert own._family(server.process.pid) == family, "a child died of it"
        count += 1
    assert count >= 12


def test_the_others_hardly_notice(served):
    """p99 of calls that others make, beside one who throws bombs and without."""
    server, client = served
    ready = list(bombs())
    alone = latencies(client, lambda stop: stop.wait())

    def throw_until(stop):
        while not stop.is_set():
            for _, body in ready:
                if stop.is_set():
                    break
                throw(server, client, body)

    beside = latencies(client, throw_until)
    p99 = {name: np.percentile(taken, 99) for name, taken in (("alone", alone), ("beside", beside))}
    print(
        f"others' p99 {1000 * p99['alone']:.0f} ms alone ({len(alone)} calls), "
        f"{1000 * p99['beside']:.0f} ms beside bombs ({len(beside)} calls): "
        f"x{p99['beside'] / p99['alone']:.2f}"
    )
    assert p99["beside"] <= 2 * p99["alone"]


def latencies(client, disturb):
    """Seconds of each of many searches by several callers, while somebody else disturbs."""
    taken, stop = [], threading.Event()
    disturber = threading.Thread(target=disturb, args=(stop,))

    def call():
        image = {"Bytes": picture(1)}
        with client.another() as mine:
            for _ in range(150):
                began = time.monotonic()
                mine.call("DetectFaces", Image=image)
                taken.append(time.monotonic() - began)

    callers = [threading.Thread(target=call) for _ in range(OTHERS)]
    for thread in (disturber, *callers):
        thread.start()
    for thread in callers:
        thread.join()
    stop.set()
    disturber.join()
    return taken
