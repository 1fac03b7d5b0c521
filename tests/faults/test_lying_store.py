"""A store that fails, stalls or lies costs its caller a typed error, in time, and nobody else."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from faults.lying_store import LyingStore
from recollect.errors import (
    ImageTooLargeException,
    InvalidS3ObjectException,
    ProvisionedThroughputExceededException,
)
from recollect.vision import s3
from recollect.vision.source import Bucket, Buckets

DEADLINE_S = 0.4
UNREADABLE = (
    r"^Unable to get object metadata from S3\. "
    r"Check object key, region and/or access permissions\.$"
)


@pytest.fixture
def elsewhere():
    store = LyingStore()
    yield store
    store.close()


@pytest.fixture
def store(elsewhere):
    store = LyingStore(f"http://127.0.0.1:{elsewhere.port}")
    yield store
    store.close()


@pytest.fixture
def buckets(store):
    buckets = Buckets({"photos": bucket(store.port)}, DEADLINE_S)
    yield buckets
    buckets.close()


def bucket(port, scheme="http", host="127.0.0.1"):
    return Bucket("photos", f"{scheme}://{host}:{port}", "eu-west-1", "AKIDEXAMPLE", "secret")


def tries(store, name):
    return sum(f"/{name} ".encode() in request for request in store.requests)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fine", b"picture"),
        ("empty", b""),
        ("chunked", b"picture"),
        # An ETag is a checksum for some objects only, and cannot be told from the others.
        ("wrong-etag", b"picture"),
        # A bomb if it were inflated; so it never is.
        ("gzip", b"\x1f\x8bpicture"),
        # Fails at first.
        ("better-later", b"picture"),
        ("slow-then-fine", b"picture"),
    ],
)
def test_what_can_be_read_is_read(buckets, name, expected):
    assert buckets.read("photos", name, None) == expected


@pytest.mark.parametrize(
    ("name", "attempts"),
    [
        ("404", 1),
        ("403", 1),
        ("400", 1),
        ("301", 1),
        ("307", 1),
        ("301-without-location", 1),
        ("204", 1),
        ("206", 1),
        ("500", 3),
        ("503", 3),
        ("negative-length", 1),
        ("no-length", 1),
        ("cut-short", 3),
        ("cut-short-chunked", 3),
        ("bad-chunk", 3),
        ("garbage", 3),
        ("not-http", 3),
        ("bad-status", 3),
        ("long-line", 3),
        ("many-headers", 3),
        ("hang-up", 3),
        ("reset", 3),
        ("endless-body", 1),
        ("endless-error", 3),
    ],
)
def test_what_cannot_be_read_is_one_typed_error(store, buckets, elsewhere, name, attempts):
    with pytest.raises(InvalidS3ObjectException, match=UNREADABLE):
        buckets.read("photos", name, None)

    assert tries(store, name) == attempts
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "name", ["never", "slow-head", "slow-body", "endless-continue", "endless-head"]
)
def test_a_store_that_does_not_end_is_left_at_the_deadline(store, buckets, name):
    with pytest.raises(InvalidS3ObjectException, match=UNREADABLE):
        buckets.read("photos", name, None)


@pytest.mark.parametrize("name", ["too-long", "absurdly-long", "endless-chunks"])
def test_more_than_15_mb_are_not_read(buckets, name):
    tracemalloc.start()

    with pytest.raises(ImageTooLargeException, match=r"^Image size is too large$"):
        buckets.read("photos", name, None)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 40 << 20


@pytest.mark.parametrize("name", ["slow-down", "429"])
def test_a_store_that_asks_to_slow_down_is_passed_on_after_three_tries(store, buckets, name):
    with pytest.raises(
        ProvisionedThroughputExceededException, match=r"^S3 download limit exceeded$"
    ):
        buckets.read("photos", name, None)

    assert tries(store, name) == 3


def test_what_the_store_said_counts_where_no_time_is_left_for_another_try(buckets, monkeypatch):
    monkeypatch.setattr(s3, "PAUSES_S", (5, 5))

    with pytest.raises(ProvisionedThroughputExceededException):
        buckets.read("photos", "slow-down", None)


def test_a_store_that_is_not_there_is_a_typed_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        buckets = Buckets({"photos": bucket(unused.getsockname()[1])}, DEADLINE_S)

        with pytest.raises(InvalidS3ObjectException, match=UNREADABLE):
            buckets.read("photos", "fine", None)


def test_a_store_that_takes_no_connection_is_left_at_the_deadline():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))

        with pytest.raises(InvalidS3ObjectException):
            Buckets({"photos": bucket(port)}, DEADLINE_S).read("photos", "fine", None)

        for client in waiting:
            client.close()


def test_a_connection_is_used_again(store, buckets):
    for _ in range(5):
        buckets.read("photos", "fine", None)
        buckets.read("photos", "chunked", None)

    assert store.connections == 1


def test_a_connection_that_was_closed_meanwhile_costs_no_try(store, buckets, monkeypatch):
    monkeypatch.setattr(s3, "PAUSES_S", ())
    for _ in range(3):
        assert buckets.read("photos", "fine-then-closed", None) == b"picture"
        time.sleep(0.05)

    assert tries(store, "fine-then-closed") == 3


def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next_request(store, buckets):
    for _ in range(3):
        buckets.read("photos", "more-than-asked", None)
        with pytest.raises(InvalidS3ObjectException):
            buckets.read("photos", "404", None)


def test_an_old_connection_is_not_used_again(store, buckets, monkeypatch):
    monkeypatch.setattr(s3, "IDLE_S_MAX", 0)
    buckets.read("photos", "fine", None)
    buckets.read("photos", "fine", None)

    assert store.connections == 2


def test_descriptors_do_not_leak(store, buckets):
    names = ["fine", "404", "500", "garbage", "hang-up", "reset", "too-long", "no-length"]

    def all_of_them():
        for name in names:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(s3, "PAUSES_S", (0, 0))
                with contextlib.suppress(InvalidS3ObjectException, ImageTooLargeException):
                    buckets.read("photos", name, None)

    def ours():
        return sum(entry.is_socket() for entry in Path("/proc/self/fd").iterdir())

    all_of_them()
    time.sleep(0.05)
    before = ours()
    for _ in range(10):
        all_of_them()
    time.sleep(0.05)

    # Half of them are the store's, which runs in this process.
    assert ours() <= before + 2


def test_no_proxy_and_no_setting_is_taken_from_the_environment(buckets, elsewhere, monkeypatch):
    proxy = f"http://127.0.0.1:{elsewhere.port}"
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")

    assert buckets.read("photos", "fine", None) == b"picture"

    assert elsewhere.connections == 0


def test_one_store_that_hangs_does_not_take_all_threads(store, tmp_path):
    (tmp_path / "fine").write_bytes(b"local")
    buckets = Buckets(
        {"photos": bucket(store.port), "local": Bucket("local", path=tmp_path)},
        deadline_s=2,
        reads_max=2,
    )
    with ThreadPoolExecutor(2) as callers:
        hanging = [callers.submit(buckets.read, "photos", "never", None) for _ in range(2)]
        while tries(store, "never") < 2:
            time.sleep(0.01)

        with pytest.raises(
            ProvisionedThroughputExceededException, match=r"^S3 download limit exceeded$"
        ):
            buckets.read("photos", "fine", None)

        assert buckets.read("local", "fine", None) == b"local"
        for call in hanging:
            with pytest.raises(InvalidS3ObjectException):
                call.result()
    assert buckets.read("photos", "fine", None) == b"picture"
    buckets.close()


def resolved_to(monkeypatch, *addresses, port=80):
    """Let every name resolve to these addresses."""
    found = [
        (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
        for a in addresses
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
    ],
)
def test_a_name_that_resolves_to_a_metadata_service_is_not_connected_to(monkeypatch, address):
    buckets = Buckets({"photos": bucket(80, host="store.example")}, DEADLINE_S)
    connected = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, to: connected.append(to))
    resolved_to(monkeypatch, address)

    with pytest.raises(InvalidS3ObjectException):
        buckets.read("photos", "fine", None)

    assert connected == []


def test_the_next_address_is_tried_where_one_is_dead(store, monkeypatch):
    buckets = Buckets({"photos": bucket(store.port, host="store.example")}, DEADLINE_S)
    resolved_to(monkeypatch, "::1", "127.0.0.1", port=store.port)

    assert buckets.read("photos", "fine", None) == b"picture"
    buckets.close()


def test_a_resolver_that_hangs_is_left_at_the_deadline(monkeypatch):
    buckets = Buckets({"photos": bucket(80, host="store.example")}, DEADLINE_S)
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: released.wait() and [])

    with pytest.raises(InvalidS3ObjectException):
        buckets.read("photos", "fine", None)

    released.set()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "a..b"])
def test_a_name_that_does_not_resolve_is_a_typed_error(host, monkeypatch):
    if host.endswith(".invalid"):

        def unknown(*args, **kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    buckets = Buckets({"photos": bucket(80, host=host)}, DEADLINE_S)

    with pytest.raises(InvalidS3ObjectException):
        buckets.read("photos", "fine", None)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "store.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_store(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    store = LyingStore(tls=context)
    yield store
    store.close()


def test_https_works_with_a_certificate_that_is_trusted(tls_store, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    buckets = Buckets({"photos": bucket(tls_store.port, "https")}, deadline_s=5)

    assert [buckets.read("photos", "fine", None) for _ in range(3)] == [b"picture"] * 3
    assert tls_store.connections == 1
    buckets.close()


def test_a_certificate_that_is_not_trusted_gets_no_request(tls_store):
    buckets = Buckets({"photos": bucket(tls_store.port, "https")}, deadline_s=5)

    with pytest.raises(InvalidS3ObjectException):
        buckets.read("photos", "fine", None)

    assert tls_store.requests == []


def test_a_handshake_that_never_ends_is_left_at_the_deadline():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        buckets = Buckets({"photos": bucket(silent.getsockname()[1], "https")}, DEADLINE_S)

        with pytest.raises(InvalidS3ObjectException):
            buckets.read("photos", "fine", None)
