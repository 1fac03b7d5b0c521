"""1,000 known templates, ids and names at a real server: readable nowhere, deleted for good."""

import base64
import contextlib
import os
import resource
import shutil
import signal
import time

import numpy as np
import pytest

from enrolments import ACCOUNT, enrolment, face_id, faces_of, image_id, template
from recollect import truth
from recollect.cli.client import from_data
from recollect.gallery.backup import backup, restore
from recollect.measure import own
from recollect.settings import Settings
from toys import picture

pytestmark = [pytest.mark.slow, pytest.mark.models, pytest.mark.timeout(600)]

COUNT, DIMENSION, ERASED = 1000, 128, 400
GONE_WITHIN_S = 60.0


def enrol(settings):
    """1,000 people, half of them with a user of their name."""
    with contextlib.closing(truth.open_store(settings)) as store:
        staff = store.create_collection(
            settings.account,
            "staff",
            pack="default",
            model_version="4.0",
            dimension=DIMENSION,
            tags={"purpose": "doors-of-berlin"},
        )
        store.add_faces(staff, [enrolment(n, dimension=DIMENSION) for n in range(COUNT)])
        for n in range(0, COUNT, 2):
            store.create_user(staff, f"user-of-{n}", None)


def needles():
    """What would give somebody away, each at least 8 bytes long."""
    yield from (b"doors-of-berlin",)
    for n in range(COUNT):
        yield from (face_id(n).encode(), image_id(n).encode(), f"person-{n}.jpg".encode())
        yield from (raw(face_id(n)), raw(image_id(n)), f"user-of-{n}".encode().ljust(8, b"\0"))
        row = template(n, DIMENSION)
        for kind in ("<f4", "<f2", "<f8"):
            data = row.astype(kind).tobytes()
            # A middle part and the base64 of its beginning: a whole one could be cut by a page.
            yield from (data[:32], data[32:64], data[-32:], data.hex()[:64].encode())
            yield base64.b64encode(data)[:40]


def raw(text):
    return bytes.fromhex(text.replace("-", ""))


class Needles:
    """Looks for many byte strings at once, by their first 8 bytes."""

    def __init__(self, wanted):
        self.by_start = {}
        for needle in wanted:
            self.by_start.setdefault(needle[:8], []).append(needle)
        self.starts = np.sort(np.frombuffer(b"".join(self.by_start), "<u8"))

    def found(self, data):
        """Those that stand in the data."""
        seen = set()
        for shift in range(min(8, len(data))):
            words = np.frombuffer(data, "<u8", (len(data) - shift) // 8, shift)
            if not len(words):
                break
            at = np.searchsorted(self.starts, words).clip(max=len(self.starts) - 1)
            for word in np.flatnonzero(self.starts[at] == words):
                place = shift + 8 * int(word)
                candidates = self.by_start[data[place : place + 8]]
                seen.update(c for c in candidates if data.startswith(c, place))
        return seen

    def in_files(self, *folders):
        """Those that stand in a file below, and how many bytes were read."""
        seen, read = set(), 0
        for folder in folders:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                data = path.read_bytes()
                seen |= {(path.name, needle) for needle in self.found(data)}
                read += len(data)
        return seen, read


def test_nothing_of_a_thousand_people_is_readable_anywhere(tmp_path, monkeypatch):
    temporary, copies = tmp_path / "temporary", tmp_path / "copies"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(temporary)  # Where a core would be written.
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    settings = Settings(data=tmp_path / "served" / "data", account=ACCOUNT)
    enrol(settings)
    wanted = Needles(needles())

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        asked = {"log_level": "debug", "pack": "default", "account": ACCOUNT}
        with own.running(settings.data, asked) as server, from_data(server.data, server.url) as c:
            use(c)
            with contextlib.closing(truth.open_store(settings, exclusive=False)) as store:
                backup(store, copies, clock=time.time)
            # While it runs: database, log, shared memory, the server's own log, the copy.
            running, _ = wanted.in_files(tmp_path)
            os.kill(server.process.pid, signal.SIGABRT)
            assert server.process.wait(30) == -signal.SIGABRT
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)

    after, read = wanted.in_files(tmp_path)
    kinds = sum(map(len, wanted.by_start.values()))
    cores = [path.name for path in temporary.rglob("*core*")]
    print(f"{kinds:,} byte strings of {COUNT:,} people in {read >> 20} MiB of data folder, log,")
    print(f"temporary files and backup: {len(running | after)}; core dumps: {len(cores)}")
    assert running == after == set()
    assert cores == []


def test_the_search_finds_each_kind_of_trace(tmp_path):
    """The control."""
    wanted = list(needles())
    (tmp_path / "clear").write_bytes(b"x" * 13 + b"\0-".join(wanted))
    seen, _ = Needles(wanted).in_files(tmp_path)

    assert {needle for _, needle in seen} == set(wanted)


def use(client):
    """Calls that meet the people: answered, refused, and broken."""
    for n in range(0, COUNT, 50):
        client.call("SearchFaces", CollectionId="staff", FaceId=face_id(n))
        client.call(
            "AssociateFaces", CollectionId="staff", UserId=f"user-of-{n}", FaceIds=[face_id(n)]
        )
    client.call("SearchUsers", CollectionId="staff", UserId="user-of-50")
    client.call("ListFaces", CollectionId="staff", MaxResults=COUNT)
    for wrong in (
        {"CollectionId": "staff", "FaceId": face_id(COUNT)},
        {"CollectionId": "nothing", "FaceId": face_id(1)},
        {"CollectionId": "person-1.jpg!", "FaceId": face_id(1)},
    ):
        with contextlib.suppress(Exception):
            client.call("SearchFaces", **wrong)
    with contextlib.suppress(Exception):
        image = {"Bytes": picture(1)}
        client.call("IndexFaces", CollectionId="staff", Image=image, ExternalImageId="person-1.jpg")


def test_four_hundred_deleted_people_are_gone_from_the_disk_and_stay_gone(tmp_path):
    settings, copies = Settings(data=tmp_path / "data", account=ACCOUNT), tmp_path / "copies"
    enrol(settings)
    gone = [face_id(n) for n in range(ERASED)]
    with contextlib.closing(truth.open_store(settings)) as store:
        staff = store.collection(ACCOUNT, "staff")
        with store._database.reading() as sql:
            blobs = {bytes(i): bytes(b) for i, b in sql.rows("SELECT id, sealed FROM face")}
        backup(store, copies, clock=time.time)
        assert len(present(blobs, store)) == COUNT, "the control did not find them"

        began = time.monotonic()
        store.delete_faces(staff, gone)
        log = settings.data / "recollect.db-wal"
        while log.stat().st_size:
            assert time.monotonic() - began < GONE_WITHIN_S
            time.sleep(0.1)
        took_s = time.monotonic() - began
        left = present(blobs, store) & {raw(i) for i in gone}
        backup(store, copies, clock=time.time)
    print(f"{ERASED} of {COUNT} people deleted: after {took_s:.1f} s {len(left)} of their sealed")
    print("templates on any page, free ones included, and an empty log")
    assert left == set()

    oldest = min(copies.glob("recollect-*.db"))
    key = truth.master_key(settings)
    folder = tmp_path / "restored"
    restored = restore(oldest, folder, key, clock=time.time, ids=lambda: "")
    shutil.copy(settings.data / "master.key", folder / "master.key")
    with contextlib.closing(truth.open_store(Settings(data=folder))) as store:
        back = faces_of(store, store.collection(ACCOUNT, "staff"), gone)
        raised = present(blobs, store) & {raw(i) for i in gone}
    print(f"restored from the copy before: {restored.faces} people, {len(back)} of the deleted")
    assert (restored.faces, back, raised) == (COUNT - ERASED, {}, set())


def present(blobs, store):
    """The faces whose sealed template stands on some page of the database."""
    pages = store._database.writer.serialize("main")
    middle = {blob[16:48]: raw_id for raw_id, blob in blobs.items()}
    found = Needles(middle).found(pages)
    return {middle[needle] for needle in found}
