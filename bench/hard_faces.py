"""How many hard faces are found: small ones and turned ones; how many false ones; and the price.

    python bench/hard_faces.py ../shared/data --pack default --pack mobilefacenet

Takes photographs of a folder of labelled data (`docs/accuracy.md`), one a person, and changes
them: shrunk until the face is 16 to 32 px and laid on a picture without a face, or turned by 90,
180 and 270 degrees. Each goes to a server of its own through DetectFaces (all faces) and
SearchFacesByImage (the largest). Found means: a box that overlaps the face of the unchanged
picture, carried along, by a quarter or more. Pictures without a face are asked whole and in
quarters. The price of looking again after a miss is measured without a server, on one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from recollect import __version__
from recollect.cli.client import Client, from_data
from recollect.errors import InvalidParameterException
from recollect.measure import data, own
from recollect.settings import load as load_settings
from recollect.settings import models_folder
from recollect.vision.detect import smallest_face_px
from recollect.vision.pack import Pack, load

Image = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

SIZES_PX = (32, 24, 20, 16)
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
CANVAS_PX = (640, 480)
OVERLAP_MIN = 0.25
COLLECTION = "hard-faces"


def main() -> None:
    """Measure each pack and print the tables; the last line is JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pack", action="append", help="installed model pack; may be repeated")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    asked = data.read(arguments.folder)
    rng = np.random.default_rng(arguments.seed)
    firsts = {p.identity: p for pictures in asked.sets.values() for p in reversed(pictures)}
    people = sorted(firsts.values(), key=lambda picture: picture.name)
    chosen = [people[i] for i in rng.permutation(len(people))[: arguments.people]]
    faceless = [read(picture) for picture in asked.without_face]
    print(
        f"recollect {__version__}, Python {platform.python_version()}, {platform.machine()}, seed "
        f"{arguments.seed}: {len(chosen)} people, {len(faceless)} pictures without a face\n"
        f"{' '.join(sys.argv)}"
    )
    results = {
        pack: measured(pack, chosen, faceless, [p for s in asked.sets.values() for p in s])
        for pack in arguments.pack or ["default"]
    }
    if arguments.json:
        print(json.dumps(results))


def measured(
    name: str, chosen: list[data.Picture], faceless: list[Image], every: list[data.Picture]
) -> dict[str, Any]:
    """All figures of one pack."""
    rows: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            own.running(folder / "data", {"pack": name, "log_level": "warning"})
        )
        client = stack.enter_context(from_data(folder / "data", server.url))
        client.call("CreateCollection", CollectionId=COLLECTION)
        for title, makers in variants(client, chosen, faceless).items():
            found = {"DetectFaces": 0, "SearchFacesByImage": 0}
            for image, box in makers:
                found["DetectFaces"] += any(hit(box, other) for other in detect(client, image))
                largest = search(client, image)
                found["SearchFacesByImage"] += largest is not None and hit(box, largest)
            rows[title] = {way: count / len(makers) for way, count in found.items()}
            print(f"{name}: {title}: {rows[title]}", flush=True)
        parts = [part for image in faceless for part in quarters(image)]
        false = {
            "whole": [len(detect(client, image)) for image in faceless],
            "quarters": [len(detect(client, image)) for image in parts],
        }
        print(
            f"{name}: false faces: "
            + ", ".join(f"{sum(n > 0 for n in v)} of {len(v)} {k}" for k, v in false.items())
        )
    cost = price(load(models_folder(load_settings({})) / name), faceless, every)
    print(f"{name}: {cost}", flush=True)
    return {"found": rows, "false": false, "price": cost}


def variants(
    client: Client, chosen: list[data.Picture], faceless: list[Image]
) -> dict[str, list[tuple[Image, Box]]]:
    """Changed pictures with the box that the face has in them, by what was changed."""
    made: dict[str, list[tuple[Image, Box]]] = {}
    for number, picture in enumerate(chosen):
        image = read(picture)
        (box, *_) = sorted(detect(client, image), key=lambda b: (b[0] - b[2]) * (b[3] - b[1]))
        for degrees, turn in TURNS.items():
            turned = np.asarray(cv2.rotate(image, turn), np.uint8)
            made.setdefault(f"turned by {degrees}", []).append(
                (turned, turned_box(box, degrees, image.shape[1], image.shape[0]))
            )
        for size in SIZES_PX:
            made.setdefault(f"{size} px", []).append(
                shrunk(image, box, size, faceless[number % len(faceless)])
            )
    return made


def shrunk(image: Image, box: Box, size_px: int, behind: Image) -> tuple[Image, Box]:
    """The picture with a face of `size_px` in the middle of another one, which has none."""
    scale = size_px / min(box[2] - box[0], box[3] - box[1])
    canvas = np.asarray(cv2.resize(behind, CANVAS_PX, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = (
        min(round(n * scale), m) for n, m in zip(image.shape, CANVAS_PX[::-1], strict=False)
    )
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    left, top = (CANVAS_PX[0] - width) // 2, (CANVAS_PX[1] - height) // 2
    canvas[top : top + height, left : left + width] = small
    x0, y0, x1, y1 = (value * scale for value in box)
    return canvas, (x0 + left, y0 + top, x1 + left, y1 + top)


def turned_box(box: Box, degrees: int, width: int, height: int) -> Box:
    """Where a box lies once its picture is turned clockwise."""
    left, top, right, bottom = box
    return {
        90: (height - bottom, left, height - top, right),
        180: (width - right, height - bottom, width - left, height - top),
        270: (top, width - right, bottom, width - left),
    }[degrees]


def quarters(image: Image) -> list[Image]:
    """Four pictures of a fourth of the area each."""
    y, x = image.shape[0] // 2, image.shape[1] // 2
    return [image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:]]


def price(pack: Pack, faceless: list[Image], every: list[data.Picture]) -> dict[str, float]:
    """Milliseconds of a search for the largest face, with and without looking again after a miss;
    and how many pictures with a face need it."""
    search_of = pack._search
    detector = search_of._detector

    def first(image: Image) -> bool:
        """What a search does before it looks again."""
        short = min(image.shape[:2])
        wanted = max(20.0, 0.15 * short)
        return bool(
            len(detector.find(image, wanted)) or len(detector.find(image, smallest_face_px(image)))
        )

    timed: dict[str, list[float]] = {"first looks": [], "all looks": []}
    for image in faceless * 3:
        for title, look in (("first looks", first), ("all looks", search_of.largest)):
            began = time.perf_counter()
            look(image)
            timed[title].append(time.perf_counter() - began)
    missed = sum(not first(read(picture)) for picture in every)
    cost = {f"{title}, ms": statistics.median(times) * 1000 for title, times in timed.items()}
    return cost | {"pictures with a face": len(every), "that need another look": missed}


def detect(client: Client, image: Image) -> list[Box]:
    """Boxes of all faces, in pixels."""
    answer = client.call("DetectFaces", Image={"Bytes": encoded(image)})
    return [pixels(face["BoundingBox"], image) for face in answer["FaceDetails"]]


def search(client: Client, image: Image) -> Box | None:
    """Box of the face that a search takes; None where there is none."""
    with suppress(InvalidParameterException):
        answer = client.call(
            "SearchFacesByImage", CollectionId=COLLECTION, Image={"Bytes": encoded(image)}
        )
        return pixels(answer["SearchedFaceBoundingBox"], image)
    return None


def pixels(box: dict[str, float], image: Image) -> Box:
    """A box of the API in pixels."""
    height, width = image.shape[:2]
    left, top = box["Left"] * width, box["Top"] * height
    return left, top, left + box["Width"] * width, top + box["Height"] * height


def hit(box: Box, other: Box) -> bool:
    """Whether two boxes overlap as much as two looks at one face do."""
    width, height = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
    common = max(0.0, width) * max(0.0, height)
    whole = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)) - common
    return common >= OVERLAP_MIN * whole


def read(picture: data.Picture) -> Image:
    """A picture as RGB."""
    decoded = cv2.imdecode(np.frombuffer(picture.read(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def encoded(image: Image) -> bytes:
    """A picture without loss."""
    ok, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    return data.tobytes()


if __name__ == "__main__":
    main()
