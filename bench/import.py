"""How fast `recollect import` is beside the bare pipeline on the same pictures and processors.

    python bench/import.py                                  # 2,000 photographs of 640 x 480
    python bench/import.py --photos FOLDER --pictures 500   # of one's own

Bare is what every import has to do and nothing else: in one process, one thread a processor, each
picture decoded in a child that can be killed, its faces found and made to templates. The import is
the command as people run it, beside a server as people run it: files read, HTTP, JSON, signature,
policy, the same pipeline, faces and audit records durable on disk, its journal. They take turns,
part by part, so that both see the same machine. The collection is looked at in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from recollect import __version__
from recollect.cli.client import from_data
from recollect.measure import own
from recollect.settings import load as load_settings
from recollect.settings import models_folder
from recollect.vision.image import Decoder
from recollect.vision.pack import load

ACCOUNT, COLLECTION = "000000000000", "imported"
SIDES = (640, 480)
PART = 250


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs; default: made of one")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--pack", default="default")
    parser.add_argument(
        "--threads", type=int, help="calls in flight of the import; default: its own"
    )
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    print(
        f"recollect {__version__}, pack {asked.pack}, onnxruntime {version('onnxruntime')}, Python "
        f"{platform.python_version()}, {os.cpu_count()} processors, seed {asked.seed}"
    )
    with ExitStack() as opened:
        root = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        parts = photographs(root, asked)
        pack = load(models_folder(load_settings({})) / asked.pack)
        decoder = Decoder(os.cpu_count())
        opened.callback(decoder.close)
        pool = opened.enter_context(ThreadPoolExecutor(os.cpu_count()))

        def bare(part: Path) -> int:
            """The faces of a part."""

            def faces(path: Path) -> int:
                pixels = decoder.decode(path.read_bytes()).pixels
                found = [f for f in pack.faces(pixels) if not pack.reasons(f, "AUTO")]
                return len(pack.embed(pixels, found))

            return sum(pool.map(faces, sorted(part.iterdir())))

        cv2.setNumThreads(1)
        data = root / "data"
        settings = {"pack": asked.pack, "log_level": "warning", "account": ACCOUNT}
        server = opened.enter_context(own.running(data, settings))
        bare(parts[0])  # What is loaded at first use is not measured.
        bare_s, import_s, faces = [], [], 0
        for number, part in enumerate(parts):
            began = time.perf_counter()
            faces += bare(part)
            bare_s.append(time.perf_counter() - began)
            import_s.append(imported(part, data, root / f"{number}.jsonl", asked.threads))
            print(
                f"part {number + 1} of {len(parts)}: bare {bare_s[-1]:.1f} s, import "
                f"{import_s[-1]:.1f} s, {bare_s[-1] / import_s[-1]:.1%}",
                flush=True,
            )
        with from_data(data, server.url) as client:
            enrolled = client.call("DescribeCollection", CollectionId=COLLECTION)["FaceCount"]
    count = asked.pictures
    assert enrolled == faces, f"{enrolled} faces enrolled, {faces} found by the bare pipeline"
    ratios = [b / i for b, i in zip(bare_s, import_s, strict=True)]
    print(
        f"{count} pictures, {faces} faces: bare pipeline {count / sum(bare_s):.1f}/s, import "
        f"{count / sum(import_s):.1f}/s: {sum(bare_s) / sum(import_s):.1%} of it "
        f"(parts: median {statistics.median(ratios):.1%}, least {min(ratios):.1%})"
    )


def imported(part: Path, data: Path, journal: Path, threads: int | None) -> float:
    """Import one part; seconds by the command's own count, without the start of Python."""
    command = [sys.executable, "-m", "recollect", "import", part, "--collection", COLLECTION]
    command += ["--data", data, "--journal", journal, "--json"]
    command += [] if threads is None else ["--threads", str(threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout)
    assert not told["failed"], told
    return told["seconds"]


def photographs(root: Path, asked: argparse.Namespace) -> list[Path]:
    """Folders of so many different pictures each: cuts of a photograph, or copies of given ones."""
    chance = np.random.default_rng(asked.seed)
    if asked.photos is not None:
        given = sorted(asked.photos.glob("*.jp*g"))[: asked.pictures]
        assert len(given) == asked.pictures, f"{asked.photos} holds {len(given)} JPEGs"
    else:
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from demo.pictures import photograph

        photo = cv2.imdecode(np.frombuffer(photograph("astronaut"), np.uint8), cv2.IMREAD_COLOR)
    parts = []
    for number in range(asked.pictures):
        part = root / "photos" / f"{number // PART:03}"
        if not part.exists():
            part.mkdir(parents=True)
            parts.append(part)
        path = part / f"{number:05}.jpg"
        if asked.photos is not None:
            path.write_bytes(given[number].read_bytes())
            continue
        height, width = photo.shape[:2]
        cut_width = int(width * chance.uniform(0.8, 1))
        cut_height = cut_width * SIDES[1] // SIDES[0]
        left = chance.integers(0, width - cut_width + 1)
        top = chance.integers(0, min(height - cut_height, 40) + 1)
        cut = photo[top : top + cut_height, left : left + cut_width]
        jpeg = cv2.imencode(".jpg", cv2.resize(cut, SIDES), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        path.write_bytes(jpeg.tobytes())
    return parts


main()
