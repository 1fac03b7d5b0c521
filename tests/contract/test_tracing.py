"""Spans of a real server, as a collector receives them: all that happened, and nobody's name."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recollect import tracing
from recollect.settings import SettingError, Settings
from toys import picture

service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="the extra recollect[otel] is not installed",
)

ATTRIBUTES = {
    "rpc.system",
    "rpc.method",
    "recollect.dialect",
    "recollect.request_id",
    "recollect.code",
}


@pytest.fixture
def collector():
    """A collector of OTLP over HTTP: its URL and every export it got."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format, *args):
            return

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_port}", received
    listener.shutdown()
    listener.server_close()


def spans_of(received):
    spans = []
    for path, body in received:
        assert path == "/v1/traces"
        request = service.ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert names["service.name"] == "recollect"
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    return spans


def attributes(span):
    return {a.key: a.value.string_value for a in span.attributes}


def test_a_call_is_a_span_with_its_stages_and_without_identities(serve, collector):
    url, received = collector
    server = serve(otlp_endpoint=url)
    client = server.client()
    client.create_collection(CollectionId="secret-society")
    found = client.index_faces(
        CollectionId="secret-society", Image={"Bytes": picture(1)}, ExternalImageId="ann-smith"
    )
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
        client.describe_collection(CollectionId="no-such-society")
    server.server.close()

    spans = spans_of(received)

    calls = {span.name: span for span in spans if not span.parent_span_id}
    assert set(calls) == {"CreateCollection", "IndexFaces", "DescribeCollection"}
    for span in calls.values():
        assert set(attributes(span)) == ATTRIBUTES
        assert span.kind == span.SPAN_KIND_SERVER
    enrolled = calls["IndexFaces"]
    request_id = found["ResponseMetadata"]["RequestId"]
    assert attributes(enrolled)["recollect.request_id"] == request_id
    stages = [span for span in spans if span.parent_span_id == enrolled.span_id]
    assert {"authenticate", "authorise", "decode", "templates", "audit"} <= {s.name for s in stages}
    for stage in stages:
        assert stage.trace_id == enrolled.trace_id
        assert enrolled.start_time_unix_nano <= stage.start_time_unix_nano
        assert stage.end_time_unix_nano <= enrolled.end_time_unix_nano
        assert list(stage.attributes) == []
    assert attributes(calls["DescribeCollection"])["recollect.code"] == "ResourceNotFoundException"
    assert calls["DescribeCollection"].status.code == 2
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"

    everything = b"".join(body for _, body in received)
    for private in (
        b"secret-society",
        b"ann-smith",
        b"no-such-society",
        server.root["AccessKeyId"].encode(),
        found["FaceRecords"][0]["Face"]["FaceId"].encode(),
        b"127.0.0.1",
        b"arn:aws",
    ):
        assert private not in everything


def test_a_collector_that_is_gone_costs_no_call(serve):
    server = serve(otlp_endpoint="http://127.0.0.1:9")

    server.client().list_collections()


def test_nothing_is_traced_unless_asked_for():
    assert tracing.tracer(Settings().otlp_endpoint) is None


def test_an_endpoint_that_is_no_url_stops_the_start():
    with pytest.raises(SettingError, match="otlp_endpoint has to be"):
        tracing.tracer("collector:4318")
