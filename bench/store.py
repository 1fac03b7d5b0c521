"""What the embedded store costs: one durable face, many faces, reading all of them back.

    python bench/store.py                    # 100,000 faces of 128 dimensions, in the temp folder
    python bench/store.py --faces 1000000 --batch 10000 --dimension 512 --folder /data/scratch

Durable means committed with synchronous=FULL to an encrypted database, template sealed. The figure
for one face stands beside the disk's own: 32 KiB (four pages, what such a commit writes) written
over in place and followed by fdatasync, in turns with it. Rates are given by the clock and by the
thread's CPU time, because a busy machine slows the one and not the other.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
import uuid
from pathlib import Path

import apsw
import numpy as np

from recollect import __version__
from recollect.gallery.ids import new_face_id
from recollect.gallery.sqlite import SQLiteStore
from recollect.gallery.store import Enrolment, Face

PROBED_BYTES = 4 * 8192
DISK_BYTES = 16 << 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=2_000, help="faces of one bulk transaction")
    parser.add_argument("--single", type=int, default=1_000, help="faces enrolled one by one")
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, SQLite {apsw.sqlite_lib_version()}, Python "
        f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}; {asked.faces:,} faces of {asked.dimension} dimensions, seed 0"
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        measure(Path(folder), asked)


def measure(folder, asked):
    """Fill a store in bulk, add single faces, read everything back."""
    store = SQLiteStore(folder / "data", bytes(32), clock=time.time, ids=lambda: str(uuid.uuid4()))
    collection = store.create_collection(
        "000000000000",
        "bench",
        pack="none",
        model_version="4.0",
        dimension=asked.dimension,
        tags={},
    )
    chance = np.random.default_rng(0)
    rates = []
    for _ in range(0, asked.faces, asked.batch):
        enrolments = faces(chance, asked.batch, asked.dimension)
        rates.append(timed(lambda batch=enrolments: store.add_faces(collection, batch)))
    tenth = max(1, len(rates) // 10)
    for name, part in (("first tenth", rates[:tenth]), ("last tenth", rates[-tenth:])):
        wall, cpu = (
            sum(seconds) / (len(part) * asked.batch) for seconds in zip(*part, strict=True)
        )
        print(f"bulk, {name}: {1 / wall:,.0f} faces/s, {1 / cpu:,.0f} by CPU time")

    disk = Disk(folder / "disk")
    store_s, disk_s = [], []
    for enrolment in faces(chance, asked.single, asked.dimension):
        store_s.append(timed(lambda one=enrolment: store.add_faces(collection, [one]))[0])
        disk_s.append(timed(disk.write)[0])
    print(
        f"one durable face: {percentiles(store_s)}; the disk alone: {percentiles(disk_s)}; "
        f"ratio of the medians {statistics.median(store_s) / statistics.median(disk_s):.2f}"
    )

    store.close()
    store = SQLiteStore(folder / "data", bytes(32), clock=time.time, ids=lambda: str(uuid.uuid4()))
    count = 0

    def scan():
        nonlocal count
        count = sum(len(block.ids) for block in store.scan([collection])[1])

    wall, cpu = timed(scan)
    print(f"reading back: {count / wall:,.0f} faces/s, {count / cpu:,.0f} by CPU time")
    size = (folder / "data" / "recollect.db").stat().st_size
    print(f"on disk: {size / count:,.0f} bytes a face")
    store.close()


def faces(chance, count, dimension):
    """Enrolments of random unit vectors, each of a picture of its own."""
    templates = chance.standard_normal((count, dimension), np.float32)
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    return [
        Enrolment(Face(new_face_id(), uuid4(), None, (0.1, 0.2, 0.3, 0.4), 99.0, "4.0"), template)
        for template in templates
    ]


def uuid4():
    """An ImageId: of a picture's content, so without order."""
    return str(uuid.uuid4())


class Disk:
    """A file that is there in full and written over, as a write-ahead log in use is."""

    def __init__(self, path):
        self.file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self.file, bytes(DISK_BYTES), 0)
        os.fsync(self.file)
        self.place = 0

    def write(self):
        """Write one commit's worth, durably."""
        os.pwrite(self.file, os.urandom(PROBED_BYTES), self.place)
        os.fdatasync(self.file)
        self.place = (self.place + PROBED_BYTES) % (DISK_BYTES - PROBED_BYTES)


def timed(work):
    """Seconds by the clock and of this thread's CPU time."""
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - wall, time.thread_time() - cpu


def percentiles(seconds):
    """Median and 99th percentile in ms."""
    p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return f"p50 {p50:.3f} ms, p99 {p99:.3f} ms"


if __name__ == "__main__":
    main()
