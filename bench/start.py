"""How soon a full server answers its first search, what it holds, and what a search in it takes.

    python bench/start.py                                  # one collection of 1,000,000 faces
    python bench/start.py --collections 20000 --faces 50   # a minute to enrol, and a few to start

A server is started on the folder twice: with nothing but its store, as after a crash, and after a
clean stop, which leaves the index in a sealed file. Measured are the seconds from the start of its
process to the answer of the first SearchFaces, and its memory then (PSS, models and children
included). What reading the index takes of that is measured in this process, and then searches of
the index in collections by chance, each with its look at the store's change sequence.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from recollect import __version__
from recollect.cli.client import from_data
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries
from recollect.gallery.ids import new_face_id
from recollect.gallery.store import Enrolment, Face
from recollect.measure import own, strangers
from recollect.settings import Settings
from recollect.truth import open_store

ACCOUNT, DIMENSION, VERSION = "000000000000", 128, "4.0"
BATCH = 10_000
SEARCHES = 2_000
WRITERS = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--collections", type=int, default=1)
    parser.add_argument("--faces", type=int, default=1_000_000, help="of each collection")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} processors; collections of {DIMENSION} dimensions: {asked.collections:,}"
        f" of {asked.faces:,} faces, seed {asked.seed}"
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        data = Path(folder) / "data"
        began = time.perf_counter()
        enrol(data, asked.collections, asked.faces, asked.seed)
        rate = asked.collections * asked.faces / (time.perf_counter() - began)
        print(f"enrolled, {rate:,.0f} faces/s", flush=True)
        index(data, asked.seed)
        for state in ("from the store", "after a clean stop"):
            print(f"server {state}: {first_search(data)}", flush=True)


def name(number: int) -> str:
    """A collection."""
    return f"collection-{number:06}"


def enrol(data: Path, collections: int, faces: int, seed: int) -> None:
    """Fill a store; small collections by many threads, whose commits are made together."""
    vectors = strangers.templates(min(faces, 100_000), DIMENSION, seed)

    def fill(number: int) -> None:
        made = store.create_collection(
            ACCOUNT,
            name(number),
            pack="default",
            model_version=VERSION,
            dimension=DIMENSION,
            tags={},
        )
        for first in range(0, faces, BATCH):
            rows = range(first, min(first + BATCH, faces))
            store.add_faces(made, [enrolment(vectors[row % len(vectors)]) for row in rows])

    with closing(open_store(Settings(data=data))) as store, ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(fill, range(collections)))


def enrolment(template: np.ndarray) -> Enrolment:
    """A face of a picture of its own."""
    face = Face(new_face_id(), new_face_id(), None, (0.25, 0.25, 0.5, 0.5), 99.0, VERSION)
    return Enrolment(face, template)


def index(data: Path, seed: int) -> None:
    """Read the index in this process and search it."""
    with closing(open_store(Settings(data=data))) as store:
        collections = store.every_collection()
        total = sum(store.counts(collection)[0] for collection in collections)
        galleries = Galleries(store, Arena(), lambda _: None)
        before, began = resident_bytes(), time.perf_counter()
        galleries.load()
        taken_s, held = time.perf_counter() - began, resident_bytes() - before
        print(
            f"index read in {taken_s:.2f} s, {total / taken_s:,.0f} faces/s; "
            f"{held / 2**20:,.0f} MiB, {held / total:,.0f} bytes a face"
        )
        probes = strangers.templates(SEARCHES, DIMENSION, seed + 1)
        chance = np.random.default_rng(seed)
        times = []
        for probe in probes:
            collection = collections[chance.integers(len(collections))]
            began = time.perf_counter()
            galleries.search(collection, probe, count_max=4096, score_min=0.9426)
            times.append(time.perf_counter() - began)
        p50, p99 = np.percentile(np.array(times) * 1e3, [50, 99])
        print(f"search of the index: p50 {p50:.3f} ms, p99 {p99:.3f} ms", flush=True)


def first_search(data: Path) -> str:
    """Start a server, search once, stop it."""
    began = time.perf_counter()
    with own.running(data, {"pack": "default", "log_level": "warning"}) as server:
        ready_s = time.perf_counter() - began
        with from_data(data, server.url) as client:
            listed = client.call("ListFaces", CollectionId=name(0), MaxResults=1)["Faces"]
            client.call("SearchFaces", CollectionId=name(0), FaceId=listed[0]["FaceId"])
        searched_s = time.perf_counter() - began
        held = server.memory_bytes()
    return f"ready in {ready_s:.2f} s, searched in {searched_s:.2f} s, {held / 2**20:,.0f} MiB"


def resident_bytes() -> int:
    """Memory of this process that is really there."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
