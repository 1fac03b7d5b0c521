"""The command line's client against a server of the test's own that misbehaves on demand."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recollect import errors
from recollect.cli.client import (
    Client,
    ServerUnreachable,
    UnexpectedAnswer,
    from_data,
    from_environment,
)
from recollect.wire import sigv4
from recollect.wire.caller import Credential, HttpRequest

KEY = Credential("AKIDEXAMPLE", "secret", "123456789012", "root", ())


class Stub(ThreadingHTTPServer):
    """Answers with what `answers` holds, in turn; `requests` keeps what came, verified."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests, self.connections = [], [], 0
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.server.connections += 1
        super().setup()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path, _, query = self.path.partition("?")
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        request = HttpRequest(self.command, path, query, headers, body, "127.0.0.1", False)
        sigv4.verify(request, lambda _: KEY, now=time.time())
        self.server.requests.append((path, self.headers, body))
        status, answer = self.server.answers.pop(0)
        if status == "hang up":
            self.close_connection = True
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-amzn-RequestId", "request-7")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST

    def log_message(self, *args):
        pass


@pytest.fixture
def stub():
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def client(stub, pauses):
    with Client(stub.url + "/prefix", KEY.key_id, KEY.secret, sleep=pauses.append) as client:
        yield client


def test_a_call_is_signed_and_carries_bytes_as_base64(stub, client):
    stub.answers = [(200, {"FaceMatches": []})]
    answer = client.call("SearchFacesByImage", Image={"Bytes": b"\xff\xd8"}, MaxFaces=None)
    assert answer == {"FaceMatches": []}
    ((path, headers, body),) = stub.requests
    assert path == "/prefix/"
    assert headers["X-Amz-Target"] == "RekognitionService.SearchFacesByImage"
    assert json.loads(body) == {"Image": {"Bytes": base64.b64encode(b"\xff\xd8").decode()}}


def test_calls_share_one_connection(stub, client):
    stub.answers = [(200, {})] * 3
    for _ in range(3):
        client.call("ListCollections")
    assert stub.connections == 1
    with client.another() as another:
        stub.answers = [(200, {})]
        another.call("ListCollections")
    assert stub.connections == 2


def test_a_kept_connection_that_was_closed_meanwhile_is_opened_again(stub, client):
    stub.answers = [(200, {}), ("hang up", b""), (200, {"again": True})]
    client.call("ListCollections")
    assert client.call("ListCollections") == {"again": True}
    assert stub.connections == 2


def test_a_first_connection_that_is_closed_is_an_error(stub, client):
    stub.answers = [("hang up", b"")]
    with pytest.raises(ServerUnreachable, match="does not answer"):
        client.call("ListCollections")
    assert len(stub.requests) == 1


def test_a_busy_server_is_tried_again_after_growing_pauses(stub, client, pauses):
    busy = {"__type": "ThrottlingException", "Message": "Slow down"}
    rate = {"__type": "com.amazon#ProvisionedThroughputExceededException", "message": "x"}
    stub.answers = [(400, busy), (400, rate), (200, {"done": 1})]
    assert client.call("ListCollections") == {"done": 1}
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2


def test_a_server_that_stays_busy_is_given_up(stub, client, pauses):
    stub.answers = [(400, {"__type": "ThrottlingException", "Message": "Slow down"})] * 5
    with pytest.raises(errors.ThrottlingException, match="Slow down"):
        client.call("ListCollections")
    assert (len(stub.requests), len(pauses)) == (5, 4)


def test_an_error_answer_is_raised_by_its_class(stub, client):
    stub.answers = [(400, {"__type": "ResourceNotFoundException", "Message": "none"})]
    with pytest.raises(errors.ResourceNotFoundException, match="none") as raised:
        client.call("DescribeCollection", CollectionId="c")
    assert raised.value.__notes__ == ["request id request-7"]
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, {"__type": "SomethingElse", "Message": "m"}),
        (400, {"__type": "Exception"}),
        (502, b"<html>bad gateway</html>"),
        (200, b"[]"),
        (200, b"{"),
        (404, {}),
    ],
)
def test_an_answer_outside_the_api_says_so(stub, client, status, answer):
    stub.answers = [(status, answer)]
    with pytest.raises(UnexpectedAnswer, match=f"ListCollections was answered {status}"):
        client.call("ListCollections")


def test_pages_are_read_with_a_signature(stub, client):
    stub.answers = [(200, b"# metrics")]
    assert client.get("/metrics") == (200, "# metrics")
    assert stub.requests[0][0] == "/metrics"


def test_nobody_listening_is_said_with_the_address(stub):
    with (
        Client("http://127.0.0.1:1", "A", "b", timeout_s=2) as client,
        pytest.raises(ServerUnreachable, match=r"http://127\.0\.0\.1:1 does not answer"),
    ):
        client.call("ListCollections")


@pytest.mark.parametrize("url", ["ftp://here", "127.0.0.1:8080", "http://", "/socket"])
def test_only_http_addresses_are_called(url):
    with pytest.raises(ServerUnreachable, match="no address such as"):
        Client(url, "A", "b")


def test_a_data_folder_holds_address_and_key(tmp_path, stub):
    with pytest.raises(ServerUnreachable, match=r"root-credentials\.json does not exist"):
        from_data(tmp_path)
    root = {"AccessKeyId": KEY.key_id, "SecretAccessKey": KEY.secret}
    (tmp_path / "root-credentials.json").write_text(json.dumps(root))
    with pytest.raises(ServerUnreachable, match="recollect serve --data"):
        from_data(tmp_path)
    (tmp_path / "address").write_text(stub.url + "\n")
    stub.answers = [(200, {})]
    with from_data(tmp_path) as client:
        assert client.call("ListCollections") == {}


def test_the_environment_names_server_and_key(stub):
    environ = {
        "AWS_ENDPOINT_URL_REKOGNITION": stub.url,
        "AWS_ACCESS_KEY_ID": KEY.key_id,
        "AWS_SECRET_ACCESS_KEY": KEY.secret,
        "AWS_REGION": "eu-west-1",
    }
    stub.answers = [(200, {})]
    with from_environment(environ=environ) as client:
        client.call("ListCollections")
    assert "/eu-west-1/rekognition/" in stub.requests[0][1]["Authorization"]
    del environ["AWS_ENDPOINT_URL_REKOGNITION"]
    with pytest.raises(ServerUnreachable, match="AWS_ENDPOINT_URL_REKOGNITION is not set"):
        from_environment(environ=environ)
