"""Wheel and source archive: built, installed into an empty environment, and served from there."""

import json
import os
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(*command, **more):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=600, **more
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The two archives."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_the_archives_hold_what_a_server_needs_and_no_more(built):
    wheel, source = built
    inside = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(source) as archive:
        sources = archive.getnames()

    for needed in (
        "recollect/wire/rekognition.json",
        "recollect/wire/administration.json",
        "recollect/console/index.html",
        "recollect/console/views/access.js",
        "recollect/gallery/_scan.c",
        "recollect/gallery/migrations/sqlite/0001.sql",
        "recollect/py.typed",
    ):
        assert needed in inside
    assert [name for name in inside if name.startswith("tests") or name.endswith(".pyc")] == []
    assert [name for name in sources if "/.venv" in name or "/out/" in name] == []
    assert any(name.endswith("/LICENSE") for name in sources)
    print(f"wheel {wheel.stat().st_size / 1024:.0f} KiB, {len(inside)} files")


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_an_empty_environment_serves_from_it(built, tmp_path, kind):
    archive = built[kind == "source"]
    began = time.monotonic()
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    quiet = ["--quiet", "--disable-pip-version-check"]
    run(
        python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", ROOT / "requirements.lock"
    )
    run(python, "-m", "pip", "install", *quiet, "--no-deps", archive)
    run(python, "-m", "pip", "check")
    installed = time.monotonic() - began

    recollect = tmp_path / "env" / "bin" / "recollect"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RECOLLECT_", "AWS_"))}
    environment = kept | {"RECOLLECT_MODELS": str(tmp_path / "models")}
    run(recollect, "models", "setup", "--embedded", env=environment, cwd=tmp_path)
    server = subprocess.Popen(
        [recollect, "serve", "--port", "0", "--data", tmp_path / "data"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = answering(tmp_path / "data" / "address", server)
        with urllib.request.urlopen(f"{url}/console/", timeout=10) as answer:
            assert b"recollect" in answer.read()
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:
            assert "/v1/SearchFacesByImage" in json.load(answer)["paths"]
    finally:
        server.terminate()
        server.wait(20)
    print(f"{kind}: installed in {installed:.0f} s, ready after {time.monotonic() - began:.0f} s")


def answering(address, server):
    """The address of a server once it is ready."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        try:
            url = address.read_text().strip()
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
            return url
        except (OSError, urllib.error.URLError, ValueError):
            time.sleep(0.2)
    raise AssertionError("the server did not become ready")
