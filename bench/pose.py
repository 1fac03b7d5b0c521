"""What the mean face behind yaw and pitch looks like, and how far pose can be trusted.

    python bench/pose.py FOLDER --pack default        # FOLDER as for `recollect evaluate`

The mean face is read off photographs, without labels, by what must hold under weak perspective. Of
the `london` set everybody looks into the camera: nose and mouth are as high as its means. A head
turned by yaw shows its eyes cos(yaw) as far apart, so its mouth lies 1 / cos(yaw) as many of them
below, and its nose tan(yaw) times its depth to one side: the squares of both lie on a line whose
slope is (height of the mouth / depth of the nose)². The mouth moves aside as its own depth says.

Then the errors: pictures turned by a known angle, mirrored pictures, and the same points through
OpenCV's solver of perspective-n-point (SQPnP, Terzakis and Lourakis, 2020) with the same mean face.
Nobody's head was measured: what is missing is the truth about yaw and pitch of a real head.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import cv2
import numpy as np

from recollect import __version__
from recollect.measure import data
from recollect.settings import load as load_settings
from recollect.settings import models_folder
from recollect.vision import quality
from recollect.vision.pack import Pack, load

FRONTAL_SET = "london"
TURNS = (-40, -20, -10, 10, 20, 40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pack", default="default")
    parser.add_argument("--every", type=int, default=10, help="turn and mirror each N-th picture")
    asked = parser.parse_args()
    pack = load(models_folder(load_settings({})) / asked.pack)
    sets = data.read(asked.folder).sets
    pictures = [picture for chosen in sets.values() for picture in chosen]
    points = {}
    for number, picture in enumerate(pictures):
        print(f"\r{number + 1} of {len(pictures)}", end="", file=sys.stderr)
        found = largest(pack, decoded(picture))
        if found is not None:
            points[picture.name] = found
    print(file=sys.stderr)

    print(
        f"recollect {__version__}, pack {pack.name} {pack.version}, Python "
        f"{platform.python_version()}, {platform.machine()}, {len(points):,} faces"
    )
    print(f"{' '.join(sys.argv)}\n")
    frontal = [points[p.name] for p in sets[FRONTAL_SET] if p.name in points]
    print_mean_face(np.stack(frontal), np.stack(list(points.values())))
    print_errors(pack, [p for p in pictures if p.name in points][:: asked.every], points)
    print_against_solver(np.stack(list(points.values())))


def decoded(picture: data.Picture) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(picture.read(), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(pixels[..., ::-1])


def largest(pack: Pack, pixels: np.ndarray) -> np.ndarray | None:
    """Points of the largest face."""
    faces = pack.faces(pixels)
    return faces[0].points if faces else None


def shape(points: np.ndarray) -> np.ndarray:
    """Each face's nose and mouth in eye distances, along the eyes and down; shape (count, 4)."""
    left, right, nose, mouth = points[:, 0], points[:, 1], points[:, 2], points[:, 3:].mean(axis=1)
    length = np.linalg.norm(right - left, axis=1, keepdims=True)
    along = (right - left) / length
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)
    middle = (left + right) / 2
    parts = [
        np.sum((point - middle) * axis, axis=1) / length[:, 0]
        for point in (nose, mouth)
        for axis in (along, down)
    ]
    return np.stack(parts, axis=1)


def print_mean_face(frontal: np.ndarray, every: np.ndarray) -> None:
    _, nose_y, _, mouth_y = shape(frontal).mean(axis=0)
    nose_x, _, mouth_x, mouth_down = shape(every).T
    turned = np.abs(nose_x) > 0.1
    # Through 1 where nobody is turned; medians of ratios, so that odd pictures do not decide.
    rise = (mouth_down[turned] / mouth_y) ** 2 - 1
    nose_z = 1 / np.sqrt(np.sum(rise * nose_x[turned] ** 2) / np.sum(nose_x[turned] ** 4))
    mouth_z = nose_z * np.median(mouth_x[turned] / nose_x[turned])
    print("| eye distances | read off | in use |")
    print("| --- | --- | --- |")
    for name, value, used in (
        ("height of the nose", nose_y, quality.NOSE_Y),
        ("depth of the nose", nose_z, quality.NOSE_Z),
        ("height of the mouth", mouth_y, quality.MOUTH_Y),
        ("depth of the mouth", mouth_z, 0),
    ):
        print(f"| {name} | {value:.3f} | {used:.3f} |")
    poses = [quality.pose(points) for points in frontal]
    for angle in ("yaw", "pitch", "roll"):
        values = np.array([getattr(pose, angle) for pose in poses])
        print(
            f"\n{FRONTAL_SET}, looking into the camera: {angle} mean {values.mean():.1f}, "
            f"standard deviation {values.std():.1f}",
            end="",
        )
    print(f"\n\n{turned.sum()} of {len(every)} are turned far enough to tell of depth\n")


def print_errors(pack: Pack, pictures: list[data.Picture], points: dict[str, np.ndarray]) -> None:
    """Turned and mirrored copies against the picture itself, in degrees."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for picture in pictures:
        pixels, plain = decoded(picture), quality.pose(points[picture.name])
        height, width = pixels.shape[:2]
        if (found := largest(pack, np.ascontiguousarray(pixels[:, ::-1]))) is not None:
            mirrored = quality.pose(found)
            rows.setdefault("mirrored", []).append(
                (mirrored.roll + plain.roll, mirrored.yaw + plain.yaw, mirrored.pitch - plain.pitch)
            )
        for turn in TURNS:
            # OpenCV turns counter-clockwise, roll counts clockwise.
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -turn, 1.0)
            turned = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
            if (found := largest(pack, turned)) is not None:
                pose = quality.pose(found)
                rows.setdefault(f"turned {turn:+d}", []).append(
                    (pose.roll - plain.roll - turn, pose.yaw - plain.yaw, pose.pitch - plain.pitch)
                )
    print("| pictures | faces | roll, median / p95 | yaw | pitch |")
    print("| --- | --- | --- | --- | --- |")
    for name, errors in rows.items():
        cells = [
            f"{np.median(column):.1f} / {np.percentile(column, 95):.1f}"
            for column in np.abs(np.array(errors)).T
        ]
        print(f"| {name} | {len(errors)} | " + " | ".join(cells) + " |")
    print("\nerrors in degrees, against the picture itself\n")


def print_against_solver(every: np.ndarray) -> None:
    """The formula against a solver that uses all five points and perspective."""
    face = np.array([
        [-0.5, 0, 0],
        [0.5, 0, 0],
        [0, quality.NOSE_Y, -quality.NOSE_Z],
        [-quality.MOUTH_X, quality.MOUTH_Y, 0],
        [quality.MOUTH_X, quality.MOUTH_Y, 0],
    ])  # fmt: skip
    differences = []
    for points in every:
        centre = points.mean(axis=0)
        # A long lens: so far away that perspective is weak.
        focal = 20 * float(np.ptp(points[:, 0]))
        camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
        solved, turn, _ = cv2.solvePnP(face, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        if not solved:
            continue
        forward = cv2.Rodrigues(turn)[0] @ np.array([0, 0, -1.0])
        pose = quality.pose(points)
        roll = np.radians(-pose.roll)
        x = forward[0] * np.cos(roll) - forward[1] * np.sin(roll)
        y = forward[0] * np.sin(roll) + forward[1] * np.cos(roll)
        yaw = np.degrees(np.arctan2(x, -forward[2]))
        pitch = -np.degrees(np.arcsin(np.clip(y, -1, 1)))
        differences.append((pose.yaw - yaw, pose.pitch - pitch))
    table = np.abs(np.array(differences))
    print(f"against SQPnP, {len(table):,} faces: yaw median {np.median(table[:, 0]):.1f}, p95 "
          f"{np.percentile(table[:, 0], 95):.1f}; pitch {np.median(table[:, 1]):.1f}, "
          f"{np.percentile(table[:, 1], 95):.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
