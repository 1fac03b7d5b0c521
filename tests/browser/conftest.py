"""A headless Chromium, a stub behind the console, and a page that fails on any script that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from browser.console_stub import Stub

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # A name that is not this computer's: there a browser trusts plain HTTP with little.
    "--host-resolver-rules=MAP console.test 127.0.0.1",
]


def photograph(name: str) -> Path:
    """A picture that scikit-image brings: astronaut or coffee."""
    skimage = pytest.importorskip("skimage", reason="scikit-image is not installed")
    return Path(skimage.__file__).parent / "data" / f"{name}.png"


@pytest.fixture(scope="session")
def astronaut() -> Path:
    return photograph("astronaut")


@pytest.fixture(scope="session")
def coffee() -> Path:
    return photograph("coffee")


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> Path:
    """The astronaut twice in one picture, the left one larger."""
    large = cv2.imread(str(astronaut))
    small = cv2.resize(large, (360, 360), interpolation=cv2.INTER_AREA)
    pixels = np.full((512, 880, 3), 120, np.uint8)
    pixels[:, :512], pixels[152:, 520:] = large, small
    path = tmp_path_factory.mktemp("pictures") / "crowd.jpg"
    cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> Iterator[Any]:
    """A browser whose camera sees the astronaut."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    film = tmp_path_factory.mktemp("camera") / "astronaut.mjpeg"
    pixels = cv2.resize(cv2.imread(str(astronaut)), (640, 640))
    film.write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=str(CHROMIUM),
            args=[*FLAGS, f"--use-file-for-fake-video-capture={film}"],
        )
        yield browser
        browser.close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server of canned answers with one collection, `staff`."""
    stub = Stub()
    stub.op_CreateCollection({"CollectionId": "staff"})
    yield stub
    stub.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open pages in contexts of their own; afterwards none may have run what it should not."""
    contexts, faults = [], []

    def opened(**options: Any) -> Any:
        context = chromium.new_context(reduced_motion="reduce", **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.extend(fault_in(message)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def fault_in(message: Any) -> list[str]:
    """What a browser says where the content security policy or trusted types stopped something."""
    text = message.text
    known = ("Content Security Policy", "Content-Security-Policy", "TrustedHTML", "TrustedScript")
    return [text] if message.type == "error" and any(word in text for word in known) else []


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    return open_page()


@pytest.fixture(scope="session")
def axe(request: pytest.FixtureRequest) -> str:
    """The source of axe-core, kept after the first time."""
    folder = Path(request.config.cache.mkdir("axe-core"))  # type: ignore[union-attr]
    source = folder / "package" / "axe.min.js"
    if not source.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed")
        command = [npm, "pack", "axe-core@4", "--silent", "--fetch-retries=0"]
        environment = os.environ | {"npm_config_fetch_timeout": "10000"}
        try:
            packed = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=20, check=True
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip("npm cannot fetch axe-core")
        with tarfile.open(folder / packed.stdout.decode().split()[-1]) as archive:
            archive.extract("package/axe.min.js", folder, filter="data")
    return source.read_text(encoding="utf-8")
