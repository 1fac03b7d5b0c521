"""What load is put on, and the bench commands on a real server with the toy pack."""

import csv
import itertools
import time

import numpy as np
import pytest

from recollect import truth
from recollect.cli.bench import load as bench
from recollect.cli.failure import CommandError
from recollect.measure import strangers
from recollect.measure.own import OwnServerError, running
from recollect.measure.target import Calls, watched
from recollect.settings import Settings
from toys import picture


@pytest.fixture
def probe(tmp_path):
    path = tmp_path / "probe.png"
    path.write_bytes(picture(7, side=80))
    return path


@pytest.fixture
def root(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.root["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.root["SecretAccessKey"])
    return server


def test_serve_measures_a_running_server_and_leaves_nothing(root, probe, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CLIENTS", (1, 2))
    out = tmp_path / "out"
    bench.serve([probe], url=root.url, seconds=0.5, factors="0.5", out=out)
    with (out / "serve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["load"] for row in rows] == ["1 client", "2 clients", "0.5 x capacity"]
    assert all(float(row["goodput_per_s"]) > 0 for row in rows)
    assert "data:image/svg+xml" in (out / "serve.html").read_text()
    with (out / "serve-memory.csv").open() as file:
        assert int(list(csv.reader(file))[-1][1]) > 1 << 20
    assert root.client().list_collections()["CollectionIds"] == []


def test_a_probe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"none\.jpg cannot be read"):
        bench.serve([tmp_path / "none.jpg"], url="http://127.0.0.1:1")


def test_calls_are_signed_anew_before_their_signature_is_too_old(monkeypatch):
    class Signer:
        path = "/prefix/"
        count = 0

        def signed(self, operation, body):
            self.count += 1
            return {"host": "h", "x-number": str(self.count)}

    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    calls = Calls(Signer(), "SearchFacesByImage", [{"Image": {"Bytes": b}} for b in (b"1", b"2")])
    first = calls(0)
    assert first.startswith(b"POST /prefix/ HTTP/1.1\r\nhost: h\r\nx-number: 1\r\n")
    head, _, body = first.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert calls(2) == first != calls(1)
    now[0] += 59
    assert calls(0) == first
    now[0] += 2
    assert b"x-number: 3" in calls(0)


def test_memory_is_read_from_the_beginning_to_the_end():
    numbers = iter(range(100))
    with watched(lambda: next(numbers)) as samples:
        time.sleep(0.05)
    assert samples[0][1] == 0
    assert all(a[0] < b[0] for a, b in itertools.pairwise(samples))


def test_strangers_are_enrolled_once_and_are_nobody(tmp_path):
    def opened():
        return truth.open_store(Settings(data=tmp_path))

    store = opened()
    store.create_collection(
        "000000000000", "c", pack="toy", model_version="4.0", dimension=128, tags={}
    )
    store.close()
    for _ in range(2):
        strangers.enrol(tmp_path, "000000000000", "c", 700, seed=3)
    store = opened()
    collection = store.collection("000000000000", "c")
    faces, _ = store.counts(collection)
    store.close()
    assert faces == 700

    vectors = strangers.templates(400, 128, seed=3)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    scores = (vectors @ vectors.T)[~np.eye(400, dtype=bool)]
    assert scores.mean() == pytest.approx(0.81, abs=0.01)
    assert scores.max() < 0.94


def test_a_server_that_does_not_start_says_why(tmp_path):
    with (
        pytest.raises(OwnServerError, match="no_such_setting"),
        running(tmp_path / "data", {"no_such_setting": 1}),
    ):
        pass


@pytest.mark.models
def test_a_server_of_our_own_is_up_inside_and_gone_outside(tmp_path):
    with running(tmp_path / "data", {"log_level": "warning"}) as server:
        assert server.memory_bytes() > 50 << 20
        assert server.process.poll() is None
    assert server.process.returncode == 0
