"""How long one whole SearchFacesByImage takes, where the time goes, and how a peer compares.

    python bench/call.py                              # an upscaled portrait, 1,000 and 10,000 faces
    python bench/call.py --photo portrait.jpg --faces 1000 --calls 50

A call is a signed HTTP request to a server of its own on the loopback, one at a time over one kept
connection: base64, JSON, signature, policy, decoding in a child process, detection, landmarks,
template, exact search, audit record on disk, answer. The shares of its stages are the server's own,
from its /metrics. Beside it, in turns with it and on the same pictures: image to template in this
process without a server, and a program as one writes it with face_recognition (dlib's HOG detector
and ResNet, distances by NumPy), which has no server, no store and no audit at all. Each uses one
thread for one call.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from recollect import __version__
from recollect.cli.client import Client, from_data
from recollect.measure import own, strangers
from recollect.measure.peer import DlibPipeline
from recollect.settings import load as load_settings
from recollect.settings import models_folder
from recollect.vision.image import Decoder
from recollect.vision.pack import load

SIDES = {"250 px": (250, 250), "720p": (1280, 720), "1080p": (1920, 1080), "12 MP": (4000, 3000)}
ACCOUNT = "000000000000"
COLLECTION = "calls"
PEER_SECONDS_MAX = 20.0
"""The peer gets no further turn on a picture once it has had so long."""


@dataclass
class Line:
    """One way to search one picture."""

    way: str
    picture: str
    picture_bytes: int
    faces: int
    calls: int
    p50_ms: float
    p95_ms: float
    of_recollect: float
    """The median as a multiple of the whole call's; 1 for itself."""
    stages: str = ""
    """Share of each stage in the whole call, in percent."""


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photo", type=Path, help="a portrait; default: Eileen Collins, NASA")
    parser.add_argument("--faces", default="1000,10000", help="enrolled, separated by commas")
    parser.add_argument("--calls", type=int, default=30, help="of each way, picture and size")
    parser.add_argument("--pack", default="default", help="model pack")
    parser.add_argument("--seed", type=int, default=7, help="of the enrolled strangers")
    parser.add_argument("--no-peer", action="store_true", help="without dlib")
    parser.add_argument("--out", type=Path, default=Path("out/call.csv"))
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, pack {asked.pack}; onnxruntime {version('onnxruntime')}, "
        f"numpy {np.__version__}, opencv {cv2.__version__}; Python {platform.python_version()}; "
        f"{processor()}, {os.cpu_count()} processors; seed {asked.seed}, {asked.calls} calls each"
    )
    photo = read_photo(asked.photo)
    pictures = {name: encode(photo, *sides) for name, sides in SIDES.items()}
    lines = []
    for faces in (int(count) for count in asked.faces.split(",")):
        lines += measure(pictures, faces, asked)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with asked.out.open("w", newline="") as file:
        table = csv.DictWriter(file, list(vars(lines[0])))
        table.writeheader()
        table.writerows(vars(line) for line in lines)
    print(f"written to {asked.out}")


def measure(pictures: dict[str, bytes], faces: int, asked: argparse.Namespace) -> list[Line]:
    """All ways on all pictures, with so many strangers enrolled."""
    lines = []
    settings = {"pack": asked.pack, "log_level": "warning", "account": ACCOUNT}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        data = folder / "data"
        with own.running(data, settings) as server, from_data(data, server.url) as client:
            client.call("CreateCollection", CollectionId=COLLECTION)
            picture = {"Bytes": pictures["1080p"]}
            client.call("IndexFaces", CollectionId=COLLECTION, Image=picture, MaxFaces=1)
        strangers.enrol(data, ACCOUNT, COLLECTION, faces - 1, asked.seed)
        server = opened.enter_context(own.running(data, settings))
        client = opened.enter_context(from_data(data, server.url))

        pack = load(models_folder(load_settings({})) / asked.pack)
        decoder = Decoder(1)
        opened.callback(decoder.close)
        peer = None if asked.no_peer else DlibPipeline()
        enrolled = np.random.default_rng(asked.seed).standard_normal((faces, 128)) / 10
        cv2.setNumThreads(1)

        def call(picture: bytes) -> None:
            answer = client.call(
                "SearchFacesByImage", CollectionId=COLLECTION, Image={"Bytes": picture}
            )
            assert answer["FaceMatches"], "the enrolled face was not found"

        def template(picture: bytes) -> None:
            pixels = decoder.decode(picture, long_side_max=1280).pixels
            assert pack.largest_face(pixels, "NONE") is not None

        def dlib(picture: bytes) -> None:
            pixels = peer.pixels(picture)
            vector = peer.vector(pixels, peer.faces(pixels)[0])
            distances = np.linalg.norm(enrolled - vector, axis=1)
            np.argsort(distances)[:5]

        ways = {"whole call": call, "image to template": template}
        if peer:
            ways["dlib HOG + ResNet + NumPy"] = dlib
        for name, picture in pictures.items():
            times, stages = in_turns(ways, picture, asked.calls, client)
            whole = float(np.median(times["whole call"]))
            for way, taken in times.items():
                p50, p95 = np.percentile(taken, [50, 95])
                line = Line(
                    way,
                    name,
                    len(picture),
                    faces,
                    len(taken),
                    round(1000 * p50, 2),
                    round(1000 * p95, 2),
                    round(p50 / whole, 2),
                    stages if way == "whole call" else "",
                )
                lines.append(line)
                print(
                    f"{name:>7}, {faces:>6} enrolled, {way:<26} p50 {line.p50_ms:8.1f} ms  "
                    f"p95 {line.p95_ms:8.1f} ms  x{line.of_recollect:<6} {line.stages}"
                )
    return lines


def in_turns(
    ways: dict, picture: bytes, calls: int, client: Client
) -> tuple[dict[str, list[float]], str]:
    """Seconds of each call, the ways taking turns, and the shares of the server's stages."""
    for way in ways.values():
        way(picture)  # What is loaded at first use is not measured.
    before = stage_seconds(client)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(calls):
        for name, way in ways.items():
            if name.startswith("dlib") and sum(times[name]) > PEER_SECONDS_MAX:
                continue
            began = time.perf_counter()
            way(picture)
            times[name].append(time.perf_counter() - began)
    after = stage_seconds(client)
    whole = sum(times["whole call"])
    shares = {stage: (seconds - before.get(stage, 0.0)) / whole for stage, seconds in after.items()}
    shares["rest"] = 1 - sum(shares.values())
    shown = ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items() if share >= 0.005)
    return times, shown


def stage_seconds(client: Client) -> dict[str, float]:
    """Seconds spent in each stage since the server started, from its histograms."""
    status, text = client.get("/metrics")
    assert status == 200, text
    found = re.findall(r'^recollect_stage_duration_seconds_sum{stage="(\w+)"} (\S+)', text, re.M)
    return {stage: float(seconds) for stage, seconds in found}


def read_photo(path: Path | None) -> np.ndarray:
    """The portrait, BGR; by default the one that scikit-image brings (NASA, public domain)."""
    if path is None:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from demo.pictures import photograph

        data = photograph("astronaut")
    else:
        data = path.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None, f"{path} is no picture"
    return pixels


def encode(photo: np.ndarray, width: int, height: int) -> bytes:
    """The upper part of the portrait in these sides, as JPEG."""
    have_height, have_width = photo.shape[:2]
    scale = min(have_width / width, have_height / height)
    cut_width, cut_height = int(width * scale), int(height * scale)
    left = (have_width - cut_width) // 2
    cut = photo[:cut_height, left : left + cut_width]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    resized = cv2.resize(cut, (width, height), interpolation=method)
    return cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def processor() -> str:
    """What /proc says of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.*)$", text, re.M)
    return found[1] if found else platform.machine()


main()
