"""A model pack for tests: a face is a red square, and its green says whose it is."""

from dataclasses import replace

import cv2
import numpy as np

from recollect.vision.face import Face, Pose

DIMENSION = 16
RED = 250
GOOD, POOR = 200, 20


def picture(*people: int, side: int = 40, quality: int = GOOD, size=(400, 300), suffix=".png"):
    """A picture of red squares, one for each person, the first the largest.

    Args:
        people: numbers 0..250 of the persons shown, from left to right.
        side: side of the first square in pixels; each further one is 4 px smaller.
        quality: 0..255, the square's blue; what the toy pack calls its quality.
        size: width and height of the picture.
        suffix: ".png" or ".jpg".
    """
    width, height = size
    pixels = np.full((height, width, 3), 90, np.uint8)
    for number, person in enumerate(people):
        edge = side - 4 * number
        left, top = 10 + number * (side + 6), 20
        assert left + edge < width, "too many people for the picture"
        pixels[top : top + edge, left : left + edge] = (quality, person, RED)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def template(person: int) -> np.ndarray:
    """The unit vector of a person; two persons are nearly orthogonal."""
    vector = np.random.default_rng(person).standard_normal(DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


class ToyPack:
    """Reads pictures made by `picture`; exact, fast and without weights."""

    name = "toy"
    rank = 1
    false_match_rates = ((50.0, 0.01), (80.0, 0.0001))
    dimension = DIMENSION
    centre = np.zeros(DIMENSION, np.float32)

    def __init__(self, version: str = "4.0", name: str = "toy") -> None:
        self.version = version
        self.name = name

    def faces(self, image):
        red = (image[..., 0] == RED).astype(np.uint8)
        count, _labels, stats, _ = cv2.connectedComponentsWithStats(red)
        height, width = image.shape[:2]
        found = []
        for number in range(1, count):
            x, y, w, h, _ = stats[number]
            _, person, quality = image[y, x]
            points = np.array([[x + w * a, y + h * b] for a, b in FIVE])
            found.append(
                Face(
                    box=(x / width, y / height, w / width, h / height),
                    confidence=99.5,
                    landmarks={
                        kind: (px / width, py / height)
                        for kind, (px, py) in zip(KINDS, points, strict=True)
                    },
                    pose=Pose(0.0, float(person), 0.0),
                    brightness=50.0,
                    sharpness=float(quality) / 2.55,
                    size_px=float(min(w, h)),
                    points=points,
                )
            )
        return sorted(found, key=lambda face: -face.box[2] * face.box[3])[:100]

    def embed(self, image, faces):
        return [replace(f, template=template(int(f.pose.yaw)), mirror_score=1.0) for f in faces]

    def largest_face(self, image, quality_filter):
        passing = [f for f in self.faces(image) if not self.reasons(f, quality_filter)]
        return self.embed(image, passing[:1])[0] if passing else None

    def reasons(self, face, quality_filter):
        poor = (
            face.sharpness
            < {"NONE": -1, "AUTO": 20, "LOW": 10, "MEDIUM": 40, "HIGH": 70}[quality_filter]
        )
        return ("LOW_SHARPNESS",) if poor else ()

    def weight(self, face):
        return 1.0

    def similarity(self, score):
        return max(0.0, min(100.0, 100.0 * score))

    def score(self, similarity):
        return similarity / 100 if similarity > 0 else -1.0


KINDS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")
FIVE = ((0.3, 0.3), (0.7, 0.3), (0.5, 0.5), (0.35, 0.7), (0.65, 0.7))
