"""Pictures that a caller names: in a real S3 server, and in a local folder."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.errors import ImageTooLargeException, InvalidS3ObjectException
from recollect.vision import folder as folder_module
from recollect.vision import s3
from recollect.vision.s3 import Credentials, ObjectUnavailable, S3Bucket, signature
from recollect.vision.source import BYTES_MAX, Bucket, Buckets

SUITES = Path(__file__).parents[3].parent / "shared" / "suites"
UNREADABLE = (
    r"^Unable to get object metadata from S3\. "
    r"Check object key, region and/or access permissions\.$"
)
NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


def unreadable():
    return pytest.raises(InvalidS3ObjectException, match=UNREADABLE)


# The signature, against botocore's.

names = st.text(alphabet="aZ0/.-_~ %+&=?#'()*é😀\\", min_size=1, max_size=12).filter(
    lambda name: not {".", ".."} & set(name.split("/"))
)


SIGNING = S3Bucket(
    "https://store.example:9000/base",
    "photos",
    Credentials("AKIDEXAMPLE", "secret", "eu-west-1"),
    deadline_s=1,
    bytes_max=1,
    clock=lambda: NOW,
)


@settings(max_examples=100)
@given(names, st.none() | names)
def test_the_request_is_the_one_that_botocore_signs(name, version):
    head, *lines = SIGNING._request(name, version).decode().split("\r\n")

    method, target, protocol = head.split(" ")
    headers = dict(line.split(": ", 1) for line in lines if line)
    request = AWSRequest(method, f"https://store.example:9000{target}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
        signer = auth.S3SigV4Auth(BotoCredentials("AKIDEXAMPLE", "secret"), "s3", "eu-west-1")
        signer.add_auth(request)
    assert (method, protocol) == ("GET", "HTTP/1.1")
    assert target.startswith("/base/photos/")
    assert headers["Host"] == "store.example:9000"
    assert headers["Authorization"] == request.headers["Authorization"]
    assert set(lines[-2:]) == {""}


@pytest.mark.parametrize("name", ["..", ".", "../other/key", "a/../../other/key", "a/./b", "a/.."])
def test_no_request_is_made_that_a_proxy_could_resolve_to_another_bucket(name):
    with pytest.raises(ObjectUnavailable):
        SIGNING._request(name, None)


def test_the_signature_is_the_one_of_amazons_example():
    # Amazon S3 API reference, "Example: GET Bucket Lifecycle", without a body.
    signed = signature(
        Credentials(
            "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"
        ),
        "/",
        "lifecycle=",
        "examplebucket.s3.amazonaws.com",
        datetime(2013, 5, 24, tzinfo=UTC),
    )

    assert signed["Authorization"].endswith(
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


# A real server, which checks signatures and rights.


@pytest.fixture(scope="module")
def moto():
    """A moto server in a process of its own, and the key of a user who may read."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As many calls go unchecked as the ones below that lay out users and objects.
    environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "1000000"}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield Moto(url)
    server.terminate()
    server.wait()


class Moto:
    def __init__(self, url):
        self.url = url
        options = {
            "endpoint_url": url,
            "region_name": "eu-west-1",
            "aws_access_key_id": "setup",
            "aws_secret_access_key": "setup",
            "config": Config(retries={"total_max_attempts": 1}),
        }
        iam = boto3.client("iam", **options)
        self.keys = {}
        for user, actions in (
            ("reader", ["s3:GetObject*", "s3:ListBucket"]),
            ("stranger", ["s3:ListAllMyBuckets"]),
        ):
            iam.create_user(UserName=user)
            policy = {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
            }
            iam.put_user_policy(UserName=user, PolicyName="only", PolicyDocument=json.dumps(policy))
            key = iam.create_access_key(UserName=user)["AccessKey"]
            self.keys[user] = (key["AccessKeyId"], key["SecretAccessKey"])

        s3 = boto3.client("s3", **options)
        place = {"LocationConstraint": "eu-west-1"}
        s3.create_bucket(Bucket="photos", CreateBucketConfiguration=place)
        s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
        for name in ("plain.jpg", "a/b/c.jpg", "ü b+c%2F&=?#'.jpg", "a//b", "😀"):
            s3.put_object(Bucket="photos", Key=name, Body=f"bytes of {name}".encode())
        s3.put_object(Bucket="photos", Key="empty", Body=b"")
        s3.put_object(Bucket="photos", Key="full", Body=b"x" * BYTES_MAX)
        s3.put_object(Bucket="photos", Key="over", Body=b"x" * (BYTES_MAX + 1))
        self.versions = [
            s3.put_object(Bucket="photos", Key="twice", Body=body)["VersionId"]
            for body in (b"first", b"second")
        ]
        s3.put_object(Bucket="photos", Key="deleted", Body=b"gone")
        s3.delete_object(Bucket="photos", Key="deleted")
        s3.put_object(Bucket="photos", Key="zipped", Body=b"\x1f\x8b00", ContentEncoding="gzip")
        # From here on every call is checked.
        self._checked_from_now_on(options)

    def _checked_from_now_on(self, options):
        import requests

        assert requests.post(f"{self.url}/moto-api/reset-auth", data=b"0", timeout=5).ok

    def buckets(self, user="reader", *, secret=None, region="eu-west-1"):
        key_id, right = self.keys[user]
        bucket = Bucket("photos", self.url, region, key_id, secret or right)
        return Buckets({"photos": bucket}, deadline_s=10)


@pytest.fixture(scope="module")
def photos(moto):
    buckets = moto.buckets()
    yield buckets
    buckets.close()


@pytest.mark.parametrize("name", ["plain.jpg", "a/b/c.jpg", "ü b+c%2F&=?#'.jpg", "a//b", "😀"])
def test_an_object_is_read_by_exactly_its_name(photos, name):
    assert photos.read("photos", name, None) == f"bytes of {name}".encode()


@pytest.mark.parametrize("name", ["/plain.jpg", "plain.jpg/", "a/b//c.jpg", "Plain.jpg", "a/b"])
def test_a_name_that_only_resembles_another_is_not_it(photos, name):
    with unreadable():
        photos.read("photos", name, None)


def test_a_bucket_is_listed_whole_however_many_pages_it_takes(photos, monkeypatch):
    everything = list(photos.names("photos", ""))
    monkeypatch.setattr(s3, "PAGE_KEYS_MAX", 2)

    assert list(photos.names("photos", "")) == everything
    assert everything == sorted(everything, key=str.encode)
    assert {"plain.jpg", "ü b+c%2F&=?#'.jpg", "a//b", "😀"} < set(everything)
    assert "deleted" not in everything
    assert list(photos.names("photos", "a/")) == ["a//b", "a/b/c.jpg"]
    assert list(photos.names("photos", "nobody")) == []


def test_who_may_not_list_or_asks_for_another_bucket_learns_why(moto, photos):
    with pytest.raises(ObjectUnavailable, match="403 AccessDenied"):
        list(moto.buckets("stranger").names("photos", ""))
    with pytest.raises(ObjectUnavailable, match="no bucket other is configured"):
        photos.names("other", "")


def test_a_version_is_read_where_one_is_named(moto, photos):
    first, second = moto.versions

    assert photos.read("photos", "twice", first) == b"first"
    assert photos.read("photos", "twice", second) == b"second"
    assert photos.read("photos", "twice", None) == b"second"
    with unreadable():
        photos.read("photos", "twice", "no-such-version")
    with unreadable():
        photos.read("photos", "plain.jpg", first)


def test_the_last_byte_that_fits_and_the_first_that_does_not(photos):
    assert len(photos.read("photos", "full", None)) == 15 * 1024 * 1024
    with pytest.raises(ImageTooLargeException, match=r"^Image size is too large$"):
        photos.read("photos", "over", None)
    assert photos.read("photos", "empty", None) == b""


def test_nothing_is_inflated(photos):
    assert photos.read("photos", "zipped", None) == b"\x1f\x8b00"


def test_unknown_deleted_and_forbidden_objects_look_the_same(moto, photos):
    for name in ("no-such-object", "deleted"):
        with unreadable():
            photos.read("photos", name, None)
    with unreadable():
        photos.read("no-such-bucket", "plain.jpg", None)
    for denied in (moto.buckets("stranger"), moto.buckets(secret="wrong")):
        with unreadable():
            denied.read("photos", "plain.jpg", None)


@pytest.mark.parametrize(
    "name", ["..", "../photos/plain.jpg", "a/../plain.jpg", "./plain.jpg", "\ud800"]
)
def test_a_name_that_could_lead_elsewhere_is_not_sent(photos, name):
    with unreadable():
        photos.read("photos", name, None)


@pytest.mark.parametrize(
    "bucket", ["..", ".", "...", "169.254.169.254", "127.0.0.1", "photos/..", ""]
)
def test_a_bucket_that_is_not_configured_is_no_host_and_no_path(photos, bucket):
    with unreadable():
        photos.read(bucket, "plain.jpg", None)


# The configuration.


@pytest.mark.parametrize(
    "bucket",
    [
        Bucket("photos"),
        Bucket("photos", "https://store.example", path=Path("/")),
        Bucket("photos", "https://store.example", access_key_id="half"),
        Bucket("photos", "https://store.example", secret_access_key="half"),
        Bucket("photos", "https://store.example", "a b", "key", "secret"),
        Bucket("photos", "https://store.example", "eu", "k\r\ney", "secret"),
        Bucket("photos", "ftp://store.example"),
        Bucket("photos", "store.example"),
        Bucket("photos", "https://"),
        Bucket("photos", "https://user:secret@store.example"),
        Bucket("photos", "https://store.example?x"),
        Bucket("photos", "https://store.example#x"),
        Bucket("photos", "https://store.example/a b"),
        Bucket("photos", "https://störe.example"),
        Bucket("photos", "https://store.example:port"),
        Bucket("photos", "https://store.example\r\nX: y"),
        Bucket("..", "https://store.example"),
        Bucket("photos", path=Path("/no/such/folder")),
        Bucket("photos", path=Path("/dev/null")),
    ],
)
def test_a_bucket_that_cannot_work_is_refused_at_the_start(bucket):
    with pytest.raises(ValueError, match=r"^bucket '(photos|\.\.)': "):
        Buckets({bucket.name: bucket}, deadline_s=1)


def test_the_secret_is_in_no_representation():
    bucket = Bucket("photos", "https://store.example", "eu", "key", "canary")
    credentials = Credentials("key", "canary", "eu")

    assert "canary" not in repr(bucket) + repr(credentials) + repr(Buckets({"photos": bucket}, 1))


# A folder as a bucket.


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A folder, everything that may not be read around it, and ways that lead there."""
    top = tmp_path_factory.mktemp("tree")
    root = top / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "plain").write_bytes(b"inside")
    (root / "a" / "b" / "deep").write_bytes(b"inside")
    (root / "ü 😀").write_bytes(b"inside")
    (root / "back\\slash").write_bytes(b"inside")
    (top / "secret").write_bytes(b"outside")
    (top / "folder").mkdir()
    (top / "folder" / "secret").write_bytes(b"outside")
    (root / "link").symlink_to(top / "secret")
    (root / "inner-link").symlink_to("plain")
    (root / "folder-link").symlink_to(top / "folder")
    (root / "a" / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
    (root / "unreadable").write_bytes(b"inside")
    (root / "unreadable").chmod(0)
    (root / "empty").touch()
    return root


@pytest.fixture(scope="module")
def folder(tree):
    return Buckets({"local": Bucket("local", path=tree)}, deadline_s=1, bytes_max=100)


@pytest.mark.parametrize("name", ["plain", "a/b/deep", "ü 😀", "back\\slash"])
def test_a_file_below_the_folder_is_read(folder, name):
    assert folder.read("local", name, None) == b"inside"
    assert folder.read("local", name, "null") == b"inside"


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../secret", "a/../../secret", "a/b/../../../secret", "./plain", "a/./b/deep"),
        *("/plain", "//plain", "plain/", "a//b/deep", "", "/", ".", "a", "a/b"),
        *("link", "inner-link", "folder-link/secret", "a/up/plain", "a/up/../secret", "loop"),
        *("pipe", "socket", "plain\0", "\0", "../secret\0.jpg", "plain/x", "no/such/file"),
        *("\ud800", "x" * 1024, "a/" * 500 + "x", "/etc/passwd", "/proc/self/environ"),
    ],
)
def test_everything_else_is_not(folder, name):
    start = time.monotonic()

    with unreadable():
        folder.read("local", name, None)

    assert time.monotonic() - start < 0.5


def test_a_folder_is_listed_without_what_is_no_plain_file(folder):
    names = ["a/b/deep", "back\\slash", "empty", "plain", "unreadable", "ü 😀"]

    assert sorted(folder.names("local", "")) == names
    assert list(folder.names("local", "a/b")) == ["a/b/deep"]
    assert list(folder.names("local", "../")) == []


def test_an_absolute_name_is_not_taken_for_one(folder, tree):
    for name in (str(tree / "plain"), str(tree.parent / "secret")):
        with unreadable():
            folder.read("local", name, None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_looks_like_one_that_is_not_there(folder):
    with unreadable():
        folder.read("local", "unreadable", None)


def test_a_folder_has_no_versions(folder):
    with unreadable():
        folder.read("local", "plain", "1")


def test_a_file_that_is_too_long_is_not_read(folder, tree):
    (tree / "full").write_bytes(b"x" * 100)
    (tree / "over").write_bytes(b"x" * 101)

    assert folder.read("local", "full", None) == b"x" * 100
    assert folder.read("local", "empty", None) == b""
    with pytest.raises(ImageTooLargeException):
        folder.read("local", "over", None)


def test_a_file_that_grows_while_it_is_read_is_cut_off(folder, tree, monkeypatch):
    (tree / "growing").write_bytes(b"x" * 200)
    real = os.fstat

    def before_it_grew(descriptor):
        facts = list(real(descriptor))
        facts[6] = 50
        return os.stat_result(facts)

    # Of this module alone: others have files open meanwhile.
    own = SimpleNamespace(**{**vars(os), "fstat": before_it_grew})
    monkeypatch.setattr(folder_module, "os", own)

    with pytest.raises(ImageTooLargeException):
        folder.read("local", "growing", None)


def test_the_folder_itself_may_be_a_link(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    buckets = Buckets({"local": Bucket("local", path=tmp_path / "link")}, deadline_s=1)

    assert buckets.read("local", "plain", None) == b"inside"


parts = st.sampled_from(
    ["..", ".", "", "a", "b", "up", "deep", "plain", "secret", "folder-link", "link", "\0", "root"]
)


@settings(max_examples=300)
@given(st.lists(parts, min_size=1, max_size=6))
def test_what_is_read_lies_below_the_folder_and_was_reached_without_a_link(folder, tree, walk):
    name = "/".join(walk)
    try:
        data = folder.read("local", name, None)
    except InvalidS3ObjectException:
        # The obvious oracle: such a name is right if and only if nothing in it needs resolving.
        path = None if "\0" in name else tree / name
        assert path is None or not path.is_file() or os.path.realpath(path) != f"{tree}/{name}"
        return
    assert data == b"inside"
    assert os.path.realpath(tree / name) == f"{tree}/{name}"


@pytest.mark.skipif(not SUITES.is_dir(), reason="shared/suites is not here")
def test_none_of_400_paths_of_others_leads_out(folder, tree):
    payloads = [row["value"] for row in json.loads((SUITES / "strings/paths.json").read_text())]
    assert len(payloads) == 400
    opened = []
    watching = True

    def watch(event, arguments):
        if watching and event == "open":
            opened.append(arguments[0])

    sys.addaudithook(watch)
    for payload in payloads:
        for file in ("secret", str(tree.parent / "secret")):
            name = payload.replace("{FILE}", file)
            with unreadable():
                folder.read("local", name, None)
            with unreadable():
                folder.read(name, "plain", None)
            with unreadable():
                folder.read("local", "plain", name)
    watching = False

    # The folder by its configured path, and single parts below it; nothing else.
    parts = {path for path in opened if not isinstance(path, int)} - {str(tree)}
    assert [part for part in parts if not isinstance(part, bytes)] == []
    assert not any(b"/" in part or part in (b"..", b".", b"") for part in parts)
