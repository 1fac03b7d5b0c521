"""What several nodes over one PostgreSQL cost beside the embedded store, and what they gain.

    python bench/cluster.py                    # a million faces of 128 dimensions
    python bench/cluster.py --faces 100000 --photo portrait.jpg

PostgreSQL is a real one, on this machine, over its socket. Figures, in this order:

join     A server is started over a database that holds the faces, told to read them before it is
         ready (`load_first = *`); from the start of its process to 200 from /readyz. Beside it the
         embedded store's start with the same faces.
search   The engine alone: one process searches a node's index and the embedded store's in turns,
         each search with the question to its truth how far the collection is.
call     SearchFaces through HTTP, signed and audited, at both servers in turns.
nodes    SearchFacesByImage with the real model: two nodes, each on a core of its own, against one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import psycopg

from recollect import __version__
from recollect.cli.client import Client, from_data
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries
from recollect.gallery.store import Enrolment, Face
from recollect.measure import own
from recollect.measure.synthetic import Synthetic, identifiers
from recollect.settings import Settings
from recollect.truth import open_store

ROOT = Path(__file__).parents[1]
ACCOUNT = "000000000000"
COLLECTION = "cluster"
BLOCK = 10_000
KIND = "mobile-128"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part of `nodes`")
    parser.add_argument("--photo", type=Path, help="a portrait; default: Eileen Collins, NASA")
    parser.add_argument("--pack", default="default")
    parser.add_argument("--only", action="append", help="join, search, call or nodes")
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {asked.faces:,} faces of 128 "
        f"dimensions ({KIND}), seed 1"
    )
    # The tests' own PostgreSQL, and the demo's picture.
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import postgres_server

    gallery = Synthetic(KIND, asked.faces, 1)
    parts = asked.only or ["join", "search", "call", "nodes"]
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        shared = Settings(data=folder / "node", store=postgres_server.local().url)
        embedded = Settings(data=folder / "embedded")
        for settings, fill in ((shared, fill_postgres), (embedded, fill_embedded)):
            began = time.perf_counter()
            with closing(open_store(settings)) as store:
                made = store.create_collection(
                    ACCOUNT,
                    COLLECTION,
                    pack=asked.pack,
                    model_version="5.0",
                    dimension=128,
                    tags={},
                )
                fill(settings, store, made, gallery)
            took = time.perf_counter() - began
            print(f"filled in {took:.0f} s: {settings.store or settings.data}", flush=True)
        if "search" in parts:
            search(shared, embedded, gallery, asked.probes)
        if "join" in parts or "call" in parts:
            served(shared, embedded, gallery, asked)
        if "nodes" in parts:
            nodes(shared, asked)


def enrolments(gallery, first, end):
    rows = np.arange(first, end)
    return [
        Enrolment(Face(i, i, None, (0.1, 0.2, 0.3, 0.4), 99.0, "5.0"), template)
        for i, template in zip(identifiers(rows), gallery.templates(rows), strict=True)
    ]


def fill_embedded(settings, store, collection, gallery):
    for first in range(0, gallery.faces, BLOCK):
        end = min(first + BLOCK, gallery.faces)
        store.add_faces(collection, enrolments(gallery, first, end))


def fill_postgres(settings, store, collection, gallery):
    """By COPY, with the store's own seal: a bulk load, not what is measured here."""
    box = store._box(collection, store._database)
    with psycopg.connect(settings.store) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY face_template FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "int8", "bytea", "bytea"])
            for first in range(0, gallery.faces, BLOCK):
                rows = np.arange(first, min(first + BLOCK, gallery.faces))
                ids = [bytes.fromhex(i.replace("-", "")) for i in identifiers(rows)]
                sealed = box.seal(ids, gallery.templates(rows))
                for row, face_id, template in zip(rows.tolist(), ids, sealed, strict=True):
                    copy.write_row((collection.key, row + 1, face_id, template))
        cursor.execute(
            "INSERT INTO face SELECT collection, id, row, id, NULL, .1, .2, .3, .4, 99, '5.0', 1,"
            " 0, NULL FROM face_template"
        )
        cursor.execute("UPDATE tally SET face_count = %s, row_count = %s", [gallery.faces] * 2)
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")


def search(shared, embedded, gallery, count):
    """Both engines in turns."""
    probes = gallery.probes(count)
    engines, times = [], {}
    with ExitStack() as opened:
        for name, settings in (("node", shared), ("embedded", embedded)):
            store = opened.enter_context(closing(open_store(settings)))
            arena = opened.enter_context(closing(Arena()))
            galleries = Galleries(store, arena, lambda _: None, first=["*"])
            began = time.perf_counter()
            galleries.load()
            print(f"{name}: index read in {time.perf_counter() - began:.1f} s", flush=True)
            engines.append((name, galleries, store.collection(ACCOUNT, COLLECTION)))
            times[name] = []
        answers = {}
        for number, probe in enumerate(probes):
            for name, galleries, collection in engines[:: 1 if number % 2 else -1]:
                began = time.perf_counter()
                answers[name] = galleries.search(collection, probe, count_max=4096, score_min=0.6)
                times[name].append(time.perf_counter() - began)
            assert answers["node"] == answers["embedded"], "the stores disagree"
    told(f"search, score_min .6, {count} probes in turns, answers equal", times)


def served(shared, embedded, gallery, asked):
    """Both servers, from their start."""
    with ExitStack() as opened:
        clients, times = [], {}
        for name, settings in (("node", shared), ("embedded", embedded)):
            more = {"pack": asked.pack, "log_level": "warning", "call_threads": 2}
            if settings.store:
                more |= {"store": settings.store, "load_first": "*"}
            began = time.perf_counter()
            opened.enter_context(own.running(settings.data, more))
            print(f"join: {name} ready {time.perf_counter() - began:.1f} s after its start")
            clients.append((name, opened.enter_context(from_data(settings.data))))
            times[name] = []
        rows = np.random.default_rng(2).integers(0, gallery.faces, asked.calls)
        for number, face_id in enumerate(identifiers(rows)):
            for name, client in clients[:: 1 if number % 2 else -1]:
                began = time.perf_counter()
                client.call("SearchFaces", CollectionId=COLLECTION, FaceId=face_id)
                times[name].append(time.perf_counter() - began)
        told(f"SearchFaces over HTTP, {asked.calls} calls in turns", times)


def nodes(shared, asked):
    """Two nodes on a core each against one, with as many callers for each."""
    from demo.pictures import photograph

    picture = asked.photo.read_bytes() if asked.photo else photograph("astronaut")
    key = None
    with ExitStack() as opened:
        urls = []
        for core in range(2):
            data = shared.data.with_name(f"core-{core}")
            data.mkdir(mode=0o700)
            for name in ("master.key", "root-credentials.json"):
                source = shared.data / name
                if source.exists():
                    (data / name).write_bytes(source.read_bytes())
                    (data / name).chmod(0o600)
            os.sched_setaffinity(0, {core})
            more = {"pack": asked.pack, "log_level": "warning", "store": shared.store}
            more |= {"load_first": "*", "call_threads": 2, "decode_children": 1}
            try:
                server = opened.enter_context(own.running(data, more))
            finally:
                os.sched_setaffinity(0, range(os.cpu_count()))
            urls.append(server.url)
            key = from_data(data)
        with key as client:
            client.call("IndexFaces", CollectionId=COLLECTION, Image={"Bytes": picture}, MaxFaces=1)
        rates = {}
        for turn in range(2):
            for count in (1, 2):
                done = calls(urls[:count], key, picture, asked.seconds)
                rates.setdefault(count, []).append(done / asked.seconds)
                print(f"nodes: {count}, turn {turn}: {done / asked.seconds:.2f} searches/s")
    one, two = max(rates[1]), max(rates[2])
    print(f"nodes: two serve {two / one:.2f} times the searches of one (best of two turns each)")


def calls(urls, key, picture, seconds):
    """SearchFacesByImage calls answered in so many seconds, two callers a node."""
    end, counts = time.perf_counter() + seconds, []

    def work(url):
        count = 0
        with Client(url, key._key_id, key._secret) as client:
            while time.perf_counter() < end:
                answer = client.call(
                    "SearchFacesByImage", CollectionId=COLLECTION, Image={"Bytes": picture}
                )
                assert answer["FaceMatches"]
                count += 1
        counts.append(count)

    threads = [threading.Thread(target=work, args=(url,)) for url in urls for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def told(what, times):
    p50 = {name: np.percentile(np.array(taken) * 1e3, 50) for name, taken in times.items()}
    for name, taken in times.items():
        low, high = np.percentile(np.array(taken) * 1e3, [5, 95])
        print(f"{what}: {name} p50 {p50[name]:.2f} ms (p5 {low:.2f}, p95 {high:.2f})")
    print(f"{what}: a node takes {p50['node'] / p50['embedded']:.3f} times the embedded store's")


if __name__ == "__main__":
    main()
