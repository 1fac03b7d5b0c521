"""Where pictures come from: what a store of objects does to those who read from it."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from recollect.cli import pictures
from recollect.vision.s3 import ObjectUnavailable, S3Bucket
from recollect.vision.source import WAIT_S_MAX

NAMES = ["a.png", "b.jpg", "notes.txt", "c.jpeg"]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration whose bucket is a store that answers slowly, and does not have c.jpeg."""

    def read(bucket, name, version):
        time.sleep(1.2 * WAIT_S_MAX)
        if name == "c.jpeg":
            raise ObjectUnavailable("404 NoSuchKey")
        return name.encode()

    monkeypatch.setattr(S3Bucket, "names", lambda bucket, prefix: iter(NAMES))
    monkeypatch.setattr(S3Bucket, "read", read)
    path = tmp_path / "recollect.toml"
    path.write_text('[s3.buckets."photos"]\nendpoint = "http://127.0.0.1:9"\n')
    return path


def test_objects_are_read_by_as_many_threads_as_there_are(config):
    found = list(pictures.entries("s3://photos/", config))[:2]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda entry: entry.read(), found)) == [b"a.png", b"b.jpg"]
    assert [entry.s3_object for entry in found] == [
        {"Bucket": "photos", "Name": name} for name in ("a.png", "b.jpg")
    ]


def test_an_object_that_cannot_be_read_is_unreadable_as_a_file_is(config):
    *_, gone = pictures.entries("s3://photos/", config)

    with pytest.raises(OSError, match="InvalidS3ObjectException"):
        gone.read()
