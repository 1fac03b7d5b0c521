"""What several nodes over one PostgreSQL cost beside the embedded store, and what they gain.

    python bench/cluster.py                    # a million faces of 128 dimensions
    python bench/cluster.py --faces 100000 --photo portrait.jpg

PostgreSQL is a real one, on this machine, over its socket. Figures, in this order:

join     A server is started over a database that holds the faces, told to read them before it is
         ready (`load_first = *`); from the start of its process to 200 from /readyz. Beside it the
         embedded store's start with the same faces.
search   The engine alone: one process searches a node's index and the embedded store's in turns,
         each search with its two questions to its truth: the collection, with how far it is, and
         the faces that may be found, with their templates.
call     SearchFacesByImage with the real model, and SearchFaces, which needs none and so shows
         what the stores cost: through HTTP, signed and audited, at both servers in turns.
nodes    SearchFacesByImage with the real model, two callers a server: two servers against one, each
         pinned to a core of its own. First nodes; then nodes that may use half a core each (root,
         cgroups), so that there is as much room for PostgreSQL and the callers beside two as
         beside one; then embedded stores with a copy of the faces each, which share nothing but
         the machine. The processor time of a call is given for the server, PostgreSQL and callers.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager
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
            nodes(shared, embedded, asked)


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
            engines.append((name, galleries, store))
            times[name] = []
        answers = {}
        for number, probe in enumerate(probes):
            for name, galleries, store in engines[:: 1 if number % 2 else -1]:
                began = time.perf_counter()
                collection = store.collection(ACCOUNT, COLLECTION)
                answers[name] = galleries.search_faces(
                    collection, probe, count_max=4096, score_min=0.6
                )
                times[name].append(time.perf_counter() - began)
            assert answers["node"] == answers["embedded"], "the stores disagree"
    told(f"search, score_min .6, {count} probes in turns, answers equal", times)


def served(shared, embedded, gallery, asked):
    """Both servers, from their start."""
    with ExitStack() as opened:
        clients = []
        for name, settings in (("node", shared), ("embedded", embedded)):
            more = {"pack": asked.pack, "log_level": "warning", "call_threads": 2}
            if settings.store:
                more |= {"store": settings.store, "load_first": "*"}
            began = time.perf_counter()
            opened.enter_context(own.running(settings.data, more))
            print(f"join: {name} ready {time.perf_counter() - began:.1f} s after its start")
            clients.append((name, opened.enter_context(from_data(settings.data))))
        picture = portrait(asked)
        searched = {"CollectionId": COLLECTION, "Image": {"Bytes": picture}}
        in_turns(clients, "SearchFacesByImage", [searched] * (asked.calls // 2))
        rows = np.random.default_rng(2).integers(0, gallery.faces, asked.calls)
        in_turns(
            clients,
            "SearchFaces",
            [{"CollectionId": COLLECTION, "FaceId": face_id} for face_id in identifiers(rows)],
        )


def in_turns(clients, operation, calls):
    times = {name: [] for name, _ in clients}
    for number, params in enumerate(calls):
        for name, client in clients[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            client.call(operation, **params)
            times[name].append(time.perf_counter() - began)
    told(f"{operation} over HTTP, {len(calls)} calls in turns", times)


def portrait(asked):
    from demo.pictures import photograph

    return asked.photo.read_bytes() if asked.photo else photograph("astronaut")


def nodes(shared, embedded, asked):
    """Two servers against one: nodes, embedded stores, and nodes with half a core each."""
    picture = portrait(asked)
    first, second = (shared.data.with_name(f"core-{core}") for core in range(2))
    for data in (first, second):
        data.mkdir(mode=0o700)
        for source in (shared.data / "master.key", shared.data / "root-credentials.json"):
            if source.exists():
                shutil.copy2(source, data)
    with ExitStack() as opened:
        servers = [
            opened.enter_context(pinned(core, data, asked, store=shared.store, load_first="*"))
            for core, data in enumerate((first, second))
        ]
        # Only the first node that ever starts knows the root key.
        key = opened.enter_context(from_data(first))
        enrol(key, picture)
        scaling("nodes", servers, key, picture, asked.seconds)
        with halved(servers) as possible:
            if possible:
                scaling("nodes with half a core each", servers, key, picture, asked.seconds)
    with ExitStack() as opened:
        copy = embedded.data.with_name("embedded-copy")
        opened.enter_context(pinned(0, embedded.data, asked))
        enrol(opened.enter_context(from_data(embedded.data)), picture)
    shutil.copytree(embedded.data, copy)
    with ExitStack() as opened:
        servers = [
            opened.enter_context(pinned(core, data, asked))
            for core, data in enumerate((embedded.data, copy))
        ]
        key = opened.enter_context(from_data(copy))
        scaling("embedded", servers, key, picture, asked.seconds)


def enrol(client, picture):
    client.call("IndexFaces", CollectionId=COLLECTION, Image={"Bytes": picture}, MaxFaces=1)


@contextmanager
def pinned(core, data, asked, **more):
    """A server that runs on one core only."""
    more |= {"pack": asked.pack, "log_level": "warning", "call_threads": 2, "decode_children": 1}
    with ExitStack() as opened:
        os.sched_setaffinity(0, {core})
        try:
            server = opened.enter_context(own.running(data, more))
        finally:
            os.sched_setaffinity(0, range(os.cpu_count()))
        yield server


@contextmanager
def halved(servers):
    """Let each server use half a core at most; whether that can be done here."""
    groups = []
    try:
        for server in servers:
            group = Path(f"/sys/fs/cgroup/cpu/recollect-{server.process.pid}")
            group.mkdir()
            groups.append(group)
            (group / "cpu.cfs_period_us").write_text("10000")
            (group / "cpu.cfs_quota_us").write_text("5000")
            for process in family(server.process.pid):
                (group / "cgroup.procs").write_text(str(process.pid))
    except OSError as error:
        print(f"nodes with half a core each: not tried, {error}")
        yield False
    else:
        yield True
    finally:
        for group in groups:
            for pid in (group / "cgroup.procs").read_text().split():
                (group.parent / "cgroup.procs").write_text(pid)
            group.rmdir()


def family(pid):
    import psutil

    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def busy_s(pid):
    """Processor time that a process and its descendants have used."""
    times = [process.cpu_times() for process in family(pid)]
    return sum(spent.user + spent.system for spent in times)


def scaling(what, servers, key, picture, seconds):
    """The calls a second of one server and of two, and the processor time of a call."""
    import postgres_server

    postgres = postgres_server.local().server.get_pid()
    rates, costs = {}, {}
    for turn in range(2):
        for count in (1, 2):
            some = servers[:count]
            pids = [server.process.pid for server in some]
            before = sum(map(busy_s, pids)), busy_s(postgres), time.process_time()
            done = calls([server.url for server in some], key, picture, seconds)
            after = sum(map(busy_s, pids)), busy_s(postgres), time.process_time()
            rates.setdefault(count, []).append(done / seconds)
            spent = [1e3 * (late - early) / done for early, late in zip(before, after, strict=True)]
            costs.setdefault(count, []).append(spent)
            print(
                f"{what}: {count}, turn {turn}: {done / seconds:.2f} searches/s; processor time of "
                "one: server {:.1f} ms, PostgreSQL {:.1f}, callers {:.1f}".format(*spent)
            )
    one, two = max(rates[1]), max(rates[2])
    alone, beside = (min(server for server, _, _ in costs[count]) for count in (1, 2))
    print(
        f"{what}: two serve {two / one:.2f} times the searches of one (best of two turns each); a "
        f"search costs a server {beside / alone:.2f} times as much beside another",
        flush=True,
    )


def calls(urls, key, picture, seconds):
    """SearchFacesByImage calls answered in so many seconds, two callers a server."""
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
