"""Each failure of an S3 store through the whole API, while searches with Bytes go on unharmed.

`pytest -m slow -s tests/faults/test_s3_beside_searches.py` prints the table of docs/running.md.
"""

import contextlib
import socket
import statistics
import threading
import time

import pytest
from botocore.exceptions import ClientError

from faults.lying_store import LyingStore
from recollect.settings import BucketSettings
from toys import picture

DEADLINE_S = 2.0
UNREADABLE = "InvalidS3ObjectException"
TOO_LARGE = "ImageTooLargeException"
SLOW_DOWN = "ProvisionedThroughputExceededException"

FAILURES = [
    # What happens, bucket, object, error.
    ("no such key", "store", "404", UNREADABLE),
    ("no such bucket", "store", "no-bucket", UNREADABLE),
    ("no such version", "store", "no-version", UNREADABLE),
    ("a bucket that the configuration does not name", "unknown", "fine", UNREADABLE),
    ("access denied", "store", "403", UNREADABLE),
    ("wrong region", "store", "400", UNREADABLE),
    ("301 to elsewhere", "store", "301", UNREADABLE),
    ("307 to elsewhere", "store", "307", UNREADABLE),
    ("500", "store", "500", UNREADABLE),
    ("503", "store", "503", UNREADABLE),
    ("503 SlowDown", "store", "slow-down", SLOW_DOWN),
    ("429", "store", "429", SLOW_DOWN),
    ("connection refused", "refused", "fine", UNREADABLE),
    ("connection never accepted", "full", "fine", UNREADABLE),
    ("handshake of TLS that never ends", "silent", "fine", UNREADABLE),
    ("reset in the middle", "store", "reset", UNREADABLE),
    ("closed without an answer", "store", "hang-up", UNREADABLE),
    ("no answer", "store", "never", UNREADABLE),
    ("a header a byte at a time", "store", "slow-head", UNREADABLE),
    ("a body a byte at a time", "store", "slow-body", UNREADABLE),
    ("endless header", "store", "endless-head", UNREADABLE),
    ("endless 100 Continue", "store", "endless-continue", UNREADABLE),
    ("endless body without a length", "store", "endless-body", UNREADABLE),
    ("endless body in chunks", "store", "endless-chunks", TOO_LARGE),
    ("longer than 15 MB by its header", "store", "too-long", TOO_LARGE),
    ("shorter than its header says", "store", "cut-short", UNREADABLE),
    ("negative length", "store", "negative-length", UNREADABLE),
    ("garbage", "store", "garbage", UNREADABLE),
]


@pytest.fixture(scope="module")
def stores():
    """A store for each kind of failure, by the bucket that leads to it."""
    elsewhere = LyingStore()
    store = LyingStore(f"http://127.0.0.1:{elsewhere.port}")
    with contextlib.ExitStack() as opened:
        opened.callback(elsewhere.close)
        opened.callback(store.close)
        refused, full, silent = (opened.enter_context(socket.socket()) for _ in range(3))
        for listener in (refused, full, silent):
            listener.bind(("127.0.0.1", 0))
        silent.listen()
        full.listen(0)
        for _ in range(3):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        endpoints = {"store": f"http://127.0.0.1:{store.port}"} | {
            name: f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
            for name, scheme, listener in (
                ("refused", "http", refused),
                ("full", "http", full),
                ("silent", "https", silent),
            )
        }
        yield {
            name: BucketSettings(url, "eu-west-1", "AKIDEXAMPLE", "secret")
            for name, url in endpoints.items()
        }
        assert elsewhere.connections == 0


@pytest.fixture(scope="module")
def client(serve, stores):
    client = serve(buckets=stores, s3_deadline_s=DEADLINE_S, call_threads=8).client()
    client.create_collection(CollectionId="c")
    client.index_faces(CollectionId="c", Image={"Bytes": picture(1)}, ExternalImageId="ann")
    return client


def search(client):
    """One search with Bytes; seconds, with the answer checked."""
    began = time.monotonic()
    found = client.search_faces_by_image(CollectionId="c", Image={"Bytes": picture(1)})
    assert [m["Face"]["ExternalImageId"] for m in found["FaceMatches"]] == ["ann"]
    return time.monotonic() - began


def fail(client, bucket, name):
    """One call that names an object; the error's code, and seconds."""
    began = time.monotonic()
    with pytest.raises(ClientError) as caught:
        client.index_faces(CollectionId="c", Image={"S3Object": {"Bucket": bucket, "Name": name}})
    return caught.value.response["Error"]["Code"], time.monotonic() - began


class Searching:
    """Two threads that search without a pause; `took_s` of each search, and what went wrong."""

    def __init__(self, client):
        self.client = client
        self.over = threading.Event()
        self.took_s, self.failures = [], []
        self.threads = [threading.Thread(target=self._work) for _ in range(2)]

    def _work(self):
        while not self.over.is_set():
            try:
                self.took_s.append(search(self.client))
            except (ClientError, AssertionError) as error:
                self.failures.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


TAKE_LONG = ("never", "slow-head", "slow-body", "endless-head", "endless-continue")
AT_ONCE = [
    row[1:] for row in FAILURES if row[2] not in TAKE_LONG and row[1] not in ("full", "silent")
]


@pytest.mark.parametrize(("bucket", "name", "code"), AT_ONCE)
def test_a_failure_of_the_store_is_one_typed_error(client, bucket, name, code):
    assert fail(client, bucket, name)[0] == code
    search(client)


def test_searches_go_on_while_every_read_hangs(client):
    with Searching(client) as searching:
        hanging = [threading.Thread(target=fail, args=(client, "store", "never")) for _ in range(8)]
        for thread in hanging:
            thread.start()
        for thread in hanging:
            thread.join()

    assert searching.failures == []
    assert len(searching.took_s) > 8


@pytest.mark.slow
def test_each_failure_is_told_within_its_deadline_and_a_second(client, capsys):
    with Searching(client) as alone:
        time.sleep(3)
    rows = []
    for what, bucket, name, code in FAILURES:
        with Searching(client) as searching:
            time.sleep(0.1)
            told = [fail(client, bucket, name) for _ in range(3)]
        rows.append((what, code, told, searching))

    with capsys.disabled():
        print(f"\n\ndeadline {DEADLINE_S:g} s; searches alone: {typical(alone.took_s)}\n")
        print("| the store | error | told after, slowest of 3 | searches meanwhile |")
        print("| --- | --- | --- | --- |")
        for what, code, told, searching in rows:
            slowest_s = max(s for _, s in told)
            print(f"| {what} | `{code}` | {slowest_s:.2f} s | {typical(searching.took_s)} |")
    for what, code, told, searching in rows:
        assert [found for found, _ in told] == [code] * 3, what
        assert max(s for _, s in told) < DEADLINE_S + 1, what
        assert searching.failures == [], what
        assert searching.took_s, what


def typical(took_s):
    return f"{len(took_s)}, p50 {statistics.median(took_s) * 1000:.0f} ms, none failed"
