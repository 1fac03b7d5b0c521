"""What encryption, audit and access control together add to one SearchFacesByImage.

    python bench/trust.py                              # 720p portrait, 10,000 faces, 1,000 calls
    python bench/trust.py --calls 50 --folder /dev/shm   # a disk that costs nothing

By ablation: two servers in this process answer in turns, the one as everybody has it, the other
with a database in clear, without signature, policy and audit. Each call is a signed HTTP request
over one kept connection, so the client's own work is the same for both, and both decode in the same
child processes. Beside it the first server's own stages, and what the disk takes for the same
bytes: 8 KiB (a page, what a commit of the audit log writes) over old ones, then fdatasync, in turns
with the calls. Bytes of others that wait for the disk are written before.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import apsw
import cv2
import numpy as np
from prometheus_client import REGISTRY

from recollect import __version__, app, telemetry
from recollect.cli.client import from_data
from recollect.gallery.sqlite import database
from recollect.measure import strangers
from recollect.settings import Settings
from recollect.truth import open_store
from recollect.wire.serve import Server

COLLECTION, ACCOUNT = "calls", "000000000000"
STAGES = ("authenticate", "authorise", "audit")
PROBED_BYTES = 8192
SHARE_MAX, ADDED_MS_MAX = 0.05, 1.0
"""The aim: at most this part of a call, and so much of its time on a quiet disk."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faces", type=int, default=10_000, help="enrolled")
    parser.add_argument("--calls", type=int, default=1000, help="of each server")
    parser.add_argument("--pack", default="default", help="model pack")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    parser.add_argument("--seed", type=int, default=7, help="of the strangers and the order")
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, SQLite {apsw.sqlite_lib_version()}, Python "
        f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}; pack {asked.pack}, {asked.faces:,} faces, seed {asked.seed}, "
        f"{asked.calls} calls each, 720p"
    )
    telemetry.configure_log("warning")
    picture = portrait(1280, 720)
    with ExitStack() as opened:
        root = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=asked.folder)))
        opened.enter_context(in_clear(root / "bare"))
        opened.enter_context(one_decoder())
        settings = Settings(data=root / "whole", pack=asked.pack)
        pool = app.model_pool(settings, 1)
        opened.callback(pool.close)
        packs = pool.packs
        calls = {}
        for name in ("whole", "bare"):
            own = replace(settings, data=root / name)
            enrol(own, packs[asked.pack], asked)
            calls[name] = opened.enter_context(serving(own, packs, bare=name == "bare"))
        os.sync()
        disk = opened.enter_context((root / "probe").open("wb", buffering=0))
        report(*in_turns(calls, picture, disk, asked.calls, asked.seed))


def report(times: dict[str, np.ndarray], stages: dict[str, float]) -> None:
    """Print what was added, by ablation and by stages, beside the disk's own time."""
    whole, bare, disk = (1000 * np.median(times[name]) for name in ("whole", "bare", "disk"))
    differences = np.sort(1000 * (times["whole"] - times["bare"]))
    added = float(np.median(differences))
    # Half the width of the 68 % interval that order statistics give: no outlier moves it.
    middle, steps = len(differences) / 2, np.sqrt(len(differences)) / 2
    low, high = differences[int(middle - steps)], differences[int(middle + steps)]
    spread = (high - low) / 2
    listed = ", ".join(f"{name} {1000 * seconds:.2f} ms" for name, seconds in stages.items())
    staged = 1000 * sum(stages.values())
    print(f"one call    p50 {whole:7.2f} ms as it is, {bare:.2f} ms without all three")
    print(f"by ablation     {added:7.2f} ms (standard error {spread:.2f}), {added / whole:.1%}")
    print(f"by stages       {staged:7.2f} ms, {staged / whole:.1%}: {listed} (means)")
    print(f"the disk        {disk:7.2f} ms for 8 KiB and fdatasync, the audit's share of it")
    kept = added / whole <= SHARE_MAX and added <= ADDED_MS_MAX
    print(f"aim: at most {SHARE_MAX:.0%} and {ADDED_MS_MAX:g} ms: {'met' if kept else 'missed'}")


def in_turns(calls, picture, disk, count, seed):
    """Seconds of each call of each kind, and the mean seconds of each stage of the whole one."""
    disk.write(bytes(PROBED_BYTES))
    ways = {name: lambda call=call: call(picture) for name, call in calls.items()}
    ways["disk"] = lambda: (os.pwrite(disk.fileno(), os.urandom(PROBED_BYTES), 0), sync(disk))
    for way in ways.values():
        way()  # What is loaded at first use is not measured.
    times = {name: np.empty(count) for name in ways}
    names, chance = list(ways), np.random.default_rng(seed)
    before = {stage: stage_s(stage) for stage in STAGES}
    for turn in range(count):
        # In an order of chance: each finds the caches of whichever came before.
        for name in chance.permutation(names):
            began = time.perf_counter()
            ways[name]()
            times[name][turn] = time.perf_counter() - began
    return times, {stage: (stage_s(stage) - before[stage]) / count for stage in STAGES}


def sync(disk) -> None:
    os.fdatasync(disk.fileno())


def stage_s(stage: str) -> float:
    """Seconds spent in a stage so far."""
    return (
        REGISTRY.get_sample_value("recollect_stage_duration_seconds_sum", {"stage": stage}) or 0.0
    )


def enrol(settings, pack, asked):
    """Fill a folder before it is served."""
    store = open_store(settings)
    store.create_collection(
        ACCOUNT,
        COLLECTION,
        pack=pack.name,
        model_version=pack.version,
        dimension=pack.dimension,
        tags={},
    )
    store.close()
    strangers.enrol(settings.data, ACCOUNT, COLLECTION, asked.faces - 1, asked.seed)


@contextmanager
def serving(settings, packs, *, bare):
    """A call of a server of its own: picture in, an answer with a match out."""
    built = app.build(settings, packs)
    if bare:
        endpoint = built.endpoint
        identify = app._identify(replace(settings, no_auth=True), built.store)
        endpoint._identify = identify
        endpoint._authorise = lambda *_: None
        endpoint._record = lambda outcome: telemetry.answered(
            outcome.operation, "OK", outcome.ended - outcome.started
        )
    listener = Server(built.asgi, host="127.0.0.1", port=0, limits=built.limits)
    thread = threading.Thread(target=listener.run)
    thread.start()
    while not listener.started:
        time.sleep(0.01)
    with from_data(settings.data, f"http://127.0.0.1:{listener.port}") as client:

        def call(picture):
            image = {"Bytes": picture}
            answer = client.call("SearchFacesByImage", CollectionId=COLLECTION, Image=image)
            assert answer["FaceMatches"], "the enrolled face was not found"

        image = {"Bytes": portrait(1280, 720)}
        client.call("IndexFaces", CollectionId=COLLECTION, Image=image, MaxFaces=1)
        try:
            yield call
        finally:
            client.close()
            listener.stop()
            thread.join()
            built.close()


@contextmanager
def in_clear(folder):
    """Have the databases below a folder written in clear."""
    opened = database.Database._open

    def open_plain(self, path):
        if folder not in path.parents:
            return opened(self, path)
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(path), flags, "unix")
        connection.pragma("page_size", database.PAGE_BYTES)
        return connection

    database.Database._open = open_plain
    try:
        yield
    finally:
        database.Database._open = opened


@contextmanager
def one_decoder():
    """Have every server decode in the same processes.

    How the memory of such a process happens to lie makes a difference of some 0.3 ms, another in
    each run, which is of the order of what is measured.
    """
    real, made = app.Decoder, []

    def decoder(*args, **more):
        if not made:
            made.append(real(*args, **more))
        return made[0]

    app.Decoder = decoder
    try:
        yield
    finally:
        app.Decoder = real


def portrait(width: int, height: int) -> bytes:
    """The upper part of the astronaut's portrait in these sides, as JPEG."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from demo.pictures import photograph

    pixels = cv2.imdecode(np.frombuffer(photograph("astronaut"), np.uint8), cv2.IMREAD_COLOR)
    rows = pixels.shape[1] * height // width
    resized = cv2.resize(pixels[:rows], (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


if __name__ == "__main__":
    main()
