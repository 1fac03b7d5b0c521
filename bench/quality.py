"""What each quality bar discards, which errors that saves, and where the bars should lie.

    python bench/quality.py FOLDER --pack default --out quality

FOLDER is one for `recollect evaluate`. Probes are searched as they are and spoiled: made small,
blurred, dark and glaring by random degrees. For each measure of quality a curve that can only fall
(isotonic regression) says how often a face of that quality is missed at Similarity 80; its end is
the base rate. A bar lies where a set share of the people who would be found on a good picture are
lost: three quarters for LOW, half for AUTO, a quarter for MEDIUM, a tenth for HIGH. Where the
pictures hold too few faces as bad as that, nothing speaks for a bar: the manifest's stays.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from recollect import __version__
from recollect.measure import data
from recollect.settings import load as load_settings
from recollect.settings import models_folder
from recollect.vision import quality
from recollect.vision.pack import Pack, load
from recollect.vision.quality import FILTERS, Bar

THRESHOLD = 80.0
LOST = {"LOW": 0.75, "AUTO": 0.5, "MEDIUM": 0.25, "HIGH": 0.1}
"""Share of the people found on good pictures that is lost at each bar."""

SPOILED = ("small", "blurred", "dark", "glaring")

BARS = {
    # A field of the manifest: its measure, whether more is better, the probes that show it, digits.
    "size_px_min": ("size_px", True, ("as it is", "small"), 0),
    "brightness_min": ("brightness", True, ("as it is", "dark"), 0),
    "brightness_max": ("brightness", False, ("as it is", "glaring"), 0),
    "sharpness_min": ("sharpness", True, ("as it is", "blurred"), 0),
    "yaw_max": ("yaw", False, ("as it is",), 0),
    "pitch_max": ("pitch", False, ("as it is",), 0),
    # What these two say of a bad face, those above say as well: they are judged on the rest.
    "confidence_min": ("confidence", True, ("as it is", *SPOILED), 1),
    "views_score_min": ("views_score", True, ("as it is", *SPOILED), 3),
}
GENERAL = ("confidence_min", "views_score_min")
SPOILINGS = 2
"""Spoiled copies of each probe, each in another way."""
COUNT_MIN = 20
"""Faces beyond a bar that have to stand behind it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pack", default="default")
    parser.add_argument("--table", default="combined", help="folder below ident/")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="keep what was measured in this folder")
    asked = parser.parse_args()
    folder = models_folder(load_settings({})) / asked.pack
    pack = load(folder)
    kept = asked.out / f"{asked.pack}-{asked.table}-{asked.seed}.npz" if asked.out else None
    if kept is not None and kept.exists():
        seen = dict(np.load(kept))
    else:
        seen = measured(pack, table(asked.folder, asked.table), asked.seed)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, **seen)

    poses = [quality.pose(points) for points in seen["points"].reshape(-1, 5, 2)]
    seen["yaw"] = np.abs([pose.yaw for pose in poses])
    seen["pitch"] = np.abs([pose.pitch for pose in poses])
    reach = pack.score(THRESHOLD)
    seen["found"] = np.where(np.isnan(seen["score"]), np.nan, seen["score"] >= reach)
    print(
        f"recollect {__version__}, pack {pack.name} {pack.version}, Python "
        f"{platform.python_version()}, {platform.machine()}, seed {asked.seed}"
    )
    print(f"{' '.join(sys.argv)}\n")
    proposed = propose(seen, pack.manifest.bars)
    print_effect("The manifest's bars", seen, pack.manifest.bars)
    print_effect("Proposed bars", seen, {name: Bar(**bar) for name, bar in proposed.items()})
    for name in FILTERS:
        print(f"[quality.{name}]")
        for field, value in proposed[name].items():
            print(f"{field} = {value:g}")
        print()


def table(folder: Path, name: str) -> data.SearchTable:
    return next(table for table in data.read(folder).searches if table.name == name)


def measured(pack: Pack, asked: data.SearchTable, seed: int) -> dict[str, np.ndarray]:
    """Search every probe as it is and spoiled; one row for each face that was found.

    Returns:
        By measure one value a row; `score` to the probe's own reference, NaN where it has none;
        `strangers` the number of other people it reaches at the threshold; `kind` of spoiling.
        Beside them `points` of each face, and `missing`, how many probes of each kind showed none.
    """
    random = np.random.default_rng(seed)
    gallery, templates = [], []
    for picture in asked.gallery:
        face = pack.largest_face(decoded(picture), "NONE")
        if face is not None:
            gallery.append(picture.identity)
            templates.append(face.template)
    matrix = np.stack(templates)
    reach = pack.score(THRESHOLD)
    rows: list[tuple[float, ...]] = []
    points: list[np.ndarray] = []
    kinds = ("as it is", *SPOILED)
    missing = np.zeros(len(kinds), int)
    probes = (*asked.mated, *asked.nonmated)
    for number, probe in enumerate(probes):
        print(f"\r{number + 1} of {len(probes)}", end="", file=sys.stderr)
        own = gallery.index(probe.identity) if probe.identity in gallery else None
        pixels = decoded(probe)
        for kind in (0, *(1 + random.permutation(len(SPOILED))[:SPOILINGS])):
            face = pack.largest_face(spoiled(pixels, kinds[kind], random), "NONE")
            if face is None:
                missing[kind] += 1
                continue
            scores = matrix @ face.template
            others = scores if own is None else np.delete(scores, own)
            rows.append(
                (
                    face.confidence,
                    face.size_px,
                    face.brightness,
                    face.sharpness,
                    -1.0 if face.mirror_score is None else face.mirror_score,
                    np.nan if own is None else scores[own],
                    np.count_nonzero(others >= reach),
                    kind,
                )
            )
            points.append(face.points)
    print(file=sys.stderr)
    names = (
        "confidence",
        "size_px",
        "brightness",
        "sharpness",
        "views_score",
        "score",
        "strangers",
        "kind",
    )
    columns = dict(zip(names, np.array(rows).T, strict=True))
    return columns | {"points": np.stack(points), "missing": missing}


def decoded(picture: data.Picture) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(picture.read(), np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(pixels[..., ::-1])


def spoiled(pixels: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """The picture made worse in one way, by a random degree."""
    height, width = pixels.shape[:2]
    if kind == "small":
        share = float(np.exp(random.uniform(np.log(0.06), np.log(0.6)))) * 250 / max(height, width)
        small = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        # The frame keeps it a picture that the API takes.
        low, side = small.shape[:2], 80
        return cv2.copyMakeBorder(
            small,
            *(max(0, side - low[0]) // 2 + 1,) * 2,
            *(max(0, side - low[1]) // 2 + 1,) * 2,
            cv2.BORDER_REPLICATE,
        )
    if kind == "blurred":
        sigma = float(np.exp(random.uniform(np.log(0.5), np.log(8)))) * max(height, width) / 250
        return cv2.GaussianBlur(pixels, (0, 0), sigma)
    if kind == "dark":
        return np.rint(pixels * np.exp(random.uniform(np.log(0.02), 0))).astype(np.uint8)
    if kind == "glaring":
        return np.minimum(pixels * np.exp(random.uniform(0, np.log(12))), 255).astype(np.uint8)
    return pixels


def propose(seen: dict[str, np.ndarray], bars: dict[str, Bar]) -> dict[str, dict[str, float]]:
    """A value for every field of every bar."""
    kinds = np.array(("as it is", *SPOILED))[seen["kind"].astype(int)]
    base = 1 - np.nanmean(seen["found"][seen["kind"] == 0])
    proposed: dict[str, dict[str, float]] = {name: {} for name in FILTERS}
    print(f"missed as they are: {100 * base:.1f} %\n")
    print("| measure | faces of NONE | " + " | ".join(FILTERS) + " |")
    print("| --- | --- | " + " | ".join("---" for _ in FILTERS) + " |")
    for field, (measure, rising, shown_by, digits) in BARS.items():
        shown = np.isin(kinds, shown_by) & ~np.isnan(seen["found"])
        cells = []
        for name in FILTERS:
            rows = shown & ~refused(seen, proposed[name]) if field in GENERAL else shown
            order = np.argsort(seen[measure][rows] * (1 if rising else -1), kind="stable")
            fitted = falling(1 - seen["found"][rows][order])
            level = base + (1 - base) * LOST[name]
            beyond = int(np.searchsorted(-fitted, -level, side="right"))
            if beyond < COUNT_MIN:
                # Never milder than the bar before.
                before = [other[field] for other in proposed.values() if field in other]
                stricter = max if rising else min
                proposed[name][field] = stricter([getattr(bars[name], field), *before])
                cells.append(f"({proposed[name][field]:g})")
            else:
                value = float(seen[measure][rows][order][beyond - 1])
                proposed[name][field] = round(value, digits)
                cells.append(f"{proposed[name][field]:g}")
        print(f"| {field} | {shown.sum():,} | " + " | ".join(cells) + " |")
    print("\n(in brackets: too few faces so bad; the manifest's stays)\n")
    return proposed


def falling(lost: np.ndarray) -> np.ndarray:
    """The falling curve nearest to 0s and 1s by least squares: neighbours that rise are pooled.

    Source: R. E. Barlow et al., "Statistical inference under order restrictions", 1972 (the
    pool-adjacent-violators algorithm).
    """
    blocks: list[list[float]] = []
    for value in lost:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            mean, count = blocks.pop()
            before, size = blocks[-1]
            blocks[-1] = [(before * size + mean * count) / (size + count), size + count]
    return np.repeat([mean for mean, _ in blocks], [int(count) for _, count in blocks])


def refused(seen: dict[str, np.ndarray], bar: Mapping[str, float]) -> np.ndarray:
    """Which faces the fields of a bar refuse."""
    out = np.zeros(len(seen["kind"]), bool)
    for field, limit in bar.items():
        measure, rising, *_ = BARS[field]
        out |= seen[measure] < limit if rising else seen[measure] > limit
    return out


def print_effect(title: str, seen: dict[str, np.ndarray], bars: dict[str, Bar]) -> None:
    """Discards and errors of every bar, on pictures as they are and spoiled."""
    print(f"{title}\n")
    print(
        "| filter | discarded, as they are | missed of the rest | of the discarded "
        "| discarded, spoiled | missed of the rest | of the discarded "
        "| strangers a search, spoiled, rest / discarded |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    mated = ~np.isnan(seen["found"])
    for name, out in lines(seen, bars):
        cells = []
        for spoiling in (False, True):
            rows = (seen["kind"] > 0) == spoiling
            of = rows & mated
            cells += [share(out[rows]), missed(seen, of & ~out), missed(seen, of & out)]
        spoiling = seen["kind"] > 0
        strangers = [seen["strangers"][spoiling & ~out], seen["strangers"][spoiling & out]]
        cells.append(" / ".join(f"{s.mean():.2f}" if len(s) else "-" for s in strangers))
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def lines(seen: dict[str, np.ndarray], bars: dict[str, Bar]) -> Iterator[tuple[str, np.ndarray]]:
    yield "NONE", np.zeros(len(seen["kind"]), bool)
    for name in FILTERS:
        yield name, refused(seen, asdict(bars[name]))


def missed(seen: dict[str, np.ndarray], rows: np.ndarray) -> str:
    return share(1 - seen["found"][rows]) if rows.sum() >= COUNT_MIN else "-"


def share(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f} %" if len(values) else "-"


if __name__ == "__main__":
    main()
