"""What a second client gains on a second processor, beside what the processors themselves give.

    python bench/cores.py --picture portrait.jpg                  # two minutes
    python bench/cores.py --picture portrait.jpg --set call_threads=3

Bare is image to template in a process of its own: no server, no lock between the two. That two such
processes do less than twice as much as one is the machine's: threads of one core, caches and memory
that they share. What the server loses beside it is ours. All take turns, round by round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import uvloop

from recollect import __version__
from recollect.cli.client import from_data
from recollect.measure import load, own
from recollect.measure.target import Calls
from recollect.settings import load as load_settings
from recollect.settings import models_folder
from recollect.vision.image import Decoder
from recollect.vision.pack import load as load_pack

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

ACCOUNT, COLLECTION = "000000000000", "cores"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--pack", default="default")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--set", action="append", default=[], help="a setting, as NAME=VALUE")
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, pack {asked.pack}, Python {platform.python_version()}, "
        f"{os.cpu_count()} processors; {asked.rounds} rounds of {asked.seconds:g} s"
    )
    picture = asked.picture.read_bytes()
    settings = {"pack": asked.pack, "log_level": "warning", "account": ACCOUNT}
    settings |= dict(pair.split("=", 1) for pair in asked.set)
    with ExitStack() as opened:
        workers = [worker(opened, picture, asked.pack) for _ in range(2)]
        data = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "data"
        server = opened.enter_context(own.running(data, settings))
        client = opened.enter_context(from_data(data, server.url))
        client.call("CreateCollection", CollectionId=COLLECTION)
        image = {"Bytes": picture}
        client.call("IndexFaces", CollectionId=COLLECTION, Image=image, MaxFaces=1)
        calls = Calls(client, "SearchFacesByImage", [{"CollectionId": COLLECTION, "Image": image}])

        def bare(count: int) -> float:
            for pipe in workers[:count]:
                pipe.send(asked.seconds)
            return sum(pipe.recv() for pipe in workers[:count])

        def served(count: int) -> float:
            outcomes = uvloop.run(
                load.closed_loop(server.url, calls, clients=count, seconds=asked.seconds)
            )
            return float(load.summary(outcomes, asked.seconds)["goodput_per_s"])

        rates: dict[tuple[str, int], list[float]] = {}
        for number in range(asked.rounds + 1):
            for name, way in (("bare", bare), ("server", served)):
                for count in (1, 2):
                    rate = way(count)
                    if number:  # The first round warms everything up.
                        rates.setdefault((name, count), []).append(rate)
    for name, unit in (("bare", "processes"), ("server", "clients")):
        one, two = rates[name, 1], rates[name, 2]
        ratios = [second / first for first, second in zip(one, two, strict=True)]
        print(
            f"{name}: {statistics.median(one):.1f}/s with one, {statistics.median(two):.1f}/s with "
            f"two {unit}: {statistics.median(ratios):.2f} times "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def worker(opened: ExitStack, picture: bytes, pack: str) -> Connection:
    """A process that makes templates for as long as it is told, and says how many a second."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=work, args=(theirs, picture, pack), daemon=True
    )
    process.start()
    opened.callback(process.terminate)
    return ours


def work(pipe: Connection, picture: bytes, name: str) -> None:
    """Image to template on one thread."""
    cv2.setNumThreads(1)
    pack = load_pack(models_folder(load_settings({})) / name)
    decoder = Decoder(1)
    while True:
        seconds = pipe.recv()
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            pixels = decoder.decode(picture, long_side_max=1280).pixels
            assert pack.largest_face(pixels, "NONE") is not None
            count += 1
        pipe.send(count / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
