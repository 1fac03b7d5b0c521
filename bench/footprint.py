"""What a server takes: seconds until it is ready, CPU of a call beside its picture, memory.

    python bench/footprint.py --pictures portrait.jpg                 # a minute
    python bench/footprint.py --pictures portrait.jpg --calls 50000   # and how memory grows

* ready: from the start of the process to the first 200 of /readyz, with an empty store
* CPU of a call beside its picture: of the server's process, from /proc. A call with a megabyte of
  noise in the place of a picture goes through HTTP, JSON, base64, signature, rules, policy and
  audit and is refused when the picture is looked at. What a search among 10,000 faces adds is that
  of SearchFaces without that of the same refusal with a kilobyte: HTTP, signature, policy and audit
* memory: PSS of the process and its children, after a warm-up and after so many searches
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import uvloop

from recollect import __version__
from recollect.cli.client import Client, from_data
from recollect.errors import InvalidImageFormatException
from recollect.measure import load, own, strangers
from recollect.measure.target import Calls

ACCOUNT, COLLECTION = "000000000000", "footprint"
STARTS, COSTED_CALLS = 5, 200
NOISE_BYTES = 1_000_000
WARM_UP_CALLS = 1000
PART_CALLS = 5000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=Path, nargs="+", required=True)
    parser.add_argument("--pack", default="default")
    parser.add_argument("--faces", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=0, help="searches for the growth of memory")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, pack {asked.pack}, Python {platform.python_version()}, "
        f"{os.cpu_count()} processors, {asked.faces} faces, seed {asked.seed}"
    )
    settings = {"pack": asked.pack, "log_level": "warning", "account": ACCOUNT}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        print(f"ready with an empty store: {ready_s(folder, settings)}")
        data = folder / "data"
        probes = [path.read_bytes() for path in asked.pictures]
        with own.running(data, settings) as server, from_data(data, server.url) as client:
            client.call("CreateCollection", CollectionId=COLLECTION)
            for probe in probes:
                index(client, probe)
        strangers.enrol(data, ACCOUNT, COLLECTION, asked.faces, asked.seed)
        server = opened.enter_context(own.running(data, settings))
        client = opened.enter_context(from_data(data, server.url))
        print(f"CPU of a call beside its picture: {cpu(client, server.process.pid, asked.seed)}")
        if asked.calls:
            memory(client, server, probes, asked.calls)


def ready_s(folder: Path, settings: dict[str, object]) -> str:
    """Seconds from start to ready, of several starts."""
    taken = []
    for number in range(STARTS):
        began = time.perf_counter()
        with own.running(folder / f"empty-{number}", settings):
            taken.append(time.perf_counter() - began)
    return f"median {np.median(taken):.2f} s, longest {max(taken):.2f} s of {STARTS} starts"


def index(client: Client, picture: bytes) -> str:
    """Enrol the face of a picture; its FaceId."""
    answer = client.call(
        "IndexFaces", CollectionId=COLLECTION, Image={"Bytes": picture}, MaxFaces=1
    )
    return answer["FaceRecords"][0]["Face"]["FaceId"]


def cpu(client: Client, pid: int, seed: int) -> str:
    """Milliseconds of the server's process for a call without vision, and for a search."""
    noise = np.random.default_rng(seed).bytes(NOISE_BYTES)
    faces = client.call("ListFaces", CollectionId=COLLECTION, MaxResults=1)["Faces"]

    def refused(picture: bytes) -> None:
        try:
            client.call("SearchFacesByImage", CollectionId=COLLECTION, Image={"Bytes": picture})
        except InvalidImageFormatException:
            return
        raise AssertionError("noise is no picture")

    def searched() -> None:
        client.call("SearchFaces", CollectionId=COLLECTION, FaceId=faces[0]["FaceId"], MaxFaces=5)

    costs = []
    for call in (lambda: refused(noise), lambda: refused(noise[:1000]), searched):
        for _ in range(20):
            call()
        before = processor_s(pid)
        for _ in range(COSTED_CALLS):
            call()
        costs.append(1000 * (processor_s(pid) - before) / COSTED_CALLS)
    large, small, search = costs
    return (
        f"{large:.2f} ms with 1 MB ({small:.2f} ms with 1 KB), {search - small:.2f} ms more for a "
        f"search: {large + search - small:.2f} ms together"
    )


def processor_s(pid: int) -> float:
    """Processor time of a process, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(client: Client, server: own.OwnServer, probes: list[bytes], calls: int) -> None:
    """Print the memory after a warm-up, and how it grows with calls."""
    searches = [
        {"CollectionId": COLLECTION, "Image": {"Bytes": probe}, "MaxFaces": 5} for probe in probes
    ]
    requests = Calls(client, "SearchFacesByImage", searches)
    run(server.url, requests, WARM_UP_CALLS)
    first = server.memory_bytes()
    print(f"memory after {WARM_UP_CALLS} searches: {first / 2**20:.0f} MiB", flush=True)
    for done in range(PART_CALLS, calls + 1, PART_CALLS):
        run(server.url, requests, PART_CALLS)
        now = server.memory_bytes()
        print(
            f"memory after {done} more: {now / 2**20:.0f} MiB, {now / first - 1:+.1%}", flush=True
        )


def run(url: str, requests: Calls, calls: int) -> None:
    """Have so many calls answered, three at a time."""
    left = iter(range(calls))

    async def client(wire: load.Wire) -> None:
        for number in left:
            while (code := await wire.send(requests(number))) in load.BUSY:
                await asyncio.sleep(1.0)
            assert code == load.OK, code

    async def everybody() -> None:
        wire = load.Wire(url)
        await asyncio.gather(*(client(wire) for _ in range(3)))
        wire.close()

    uvloop.run(everybody())


main()
