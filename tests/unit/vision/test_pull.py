"""Fetching a pack: from a real server on the loopback that may lie, break off or redirect."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recollect.vision.manifest import PackError
from recollect.vision.packs import catalogue, pull

CONTENT = bytes(range(256)) * 1024


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT at /good, other bytes at /wrong, and the first half once at /broken."""

    broken_off: list[str]
    ranges: list[str]

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", "/good/net.onnx")
            self.end_headers()
            return
        if kind == "missing":
            self.send_error(404)
            return
        body = CONTENT if kind != "wrong" else CONTENT[::-1]
        if kind == "long":
            body = CONTENT * 2
        asked = self.headers.get("Range")
        self.ranges.append(asked or "")
        begin = int(asked[6:-1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        rest = body[begin:]
        if kind == "broken" and not self.broken_off:
            self.broken_off.append(self.path)
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """A server, and a catalogue whose one file it may have."""
    handler = type("Handler", (Handler,), {"broken_off": [], "ranges": []})
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    source = catalogue.Source(
        f"http://127.0.0.1:{listener.server_port}/good/net.onnx", len(CONTENT)
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", {"net": {"net.onnx": source}})
    digest = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setattr(pull, "digests", lambda name: {"net.onnx": digest})

    def install(name, folder, models_dir, say):
        assert (folder / "net.onnx").read_bytes() == CONTENT
        return models_dir / name

    monkeypatch.setattr(catalogue, "install", install)
    listener.url = f"http://127.0.0.1:{listener.server_port}"
    listener.ranges = handler.ranges
    yield listener
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.mark.parametrize("kind", ["good", "redirect"])
def test_the_pinned_file_is_fetched_and_installed(site, tmp_path, kind):
    folder = pull.pull("net", tmp_path, source=f"{site.url}/{kind}")

    assert folder == tmp_path / "net"
    assert not list((tmp_path / pull.DOWNLOADS).iterdir()), "the download is not kept twice"


def test_the_official_address_needs_no_source(site, tmp_path):
    assert pull.pull("net", tmp_path) == tmp_path / "net"


def test_a_download_that_broke_off_is_continued(site, tmp_path):
    with pytest.raises(PackError, match="broke off after"):
        pull.pull("net", tmp_path, source=f"{site.url}/broken")
    assert pull.pull("net", tmp_path, source=f"{site.url}/broken") == tmp_path / "net"

    assert site.ranges == ["", f"bytes={len(CONTENT) // 2}-"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("wrong", "not the file that is pinned"), ("missing", "404"), ("long", "not the file")],
)
def test_what_is_not_pinned_is_never_installed(site, tmp_path, kind, text):
    with pytest.raises(PackError, match=text):
        pull.pull("net", tmp_path, source=f"{site.url}/{kind}")

    assert not (tmp_path / "net").exists()


def test_without_a_network_the_error_says_which_file_to_place_where(site, tmp_path):
    with pytest.raises(PackError, match=r"SHA-256 [0-9a-f]{64}\) into a folder and run"):
        pull.pull("net", tmp_path, source="http://127.0.0.1:9/")


def test_an_unknown_pack_is_named(tmp_path):
    with pytest.raises(PackError, match="no pack 'nothing' is known"):
        pull.pull("nothing", tmp_path)
