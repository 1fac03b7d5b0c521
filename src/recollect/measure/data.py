"""A folder of labelled photographs: who is on them, which to compare, which to search."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

PICTURE_BYTES_MAX = 5 << 20
"""The most that the API takes inline."""

ROWS_MAX = 1_000_000


class DataError(Exception):
    """The folder cannot be measured with; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One photograph and what its labels say."""

    path: Path
    name: str
    """The path as the tables name it."""
    identity: str
    """Who it shows; empty where nobody says."""
    set_name: str = ""
    sex: str = ""
    ethnicity: str = ""
    width_px: int = 0
    height_px: int = 0
    """As shown; 0 where the manifest does not say."""

    def read(self) -> bytes:
        """The file's bytes; DataError where it is missing or larger than a call may be."""
        try:
            if self.path.stat().st_size > PICTURE_BYTES_MAX:
                raise DataError(f"{self.path} is larger than {PICTURE_BYTES_MAX} bytes")
            return self.path.read_bytes()
        except OSError as problem:
            raise DataError(f"{self.path} cannot be read: {problem.strerror}") from None

    def digest(self) -> str:
        """SHA-256 of the bytes, hexadecimal."""
        return hashlib.sha256(self.read()).hexdigest()


@dataclass(frozen=True, slots=True)
class PairTable:
    """Comparisons to make: positions into the pictures of one set."""

    name: str
    set_name: str
    pairs: tuple[tuple[int, int, bool], ...]
    """Two pictures, and whether they show one person."""


@dataclass(frozen=True, slots=True)
class SearchTable:
    """An open-set search: who is enrolled, and who is searched."""

    name: str
    gallery: tuple[Picture, ...]
    mated: tuple[Picture, ...]
    """Probes of people who are enrolled."""
    nonmated: tuple[Picture, ...]
    """Probes of people who are not."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One changed copy of a plain photograph, and what should be found in it."""

    picture: Picture
    faces: int
    note: str

    @property
    def hard(self) -> bool:
        """Whether a miss is no fault."""
        return "hard" in self.note

    @property
    def upright(self) -> bool:
        """Whether it is the plain picture once its EXIF orientation is applied."""
        return "EXIF orientation" in self.note


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """Everything that a folder offers to measure."""

    folder: Path
    sets: dict[str, tuple[Picture, ...]]
    """Photographs of people, by set, in the manifest's order."""
    pairs: tuple[PairTable, ...]
    searches: tuple[SearchTable, ...]
    without_face: tuple[Picture, ...]
    variants: tuple[Variant, ...]
    """The first is the plain picture that the others are compared with."""


def read(folder: Path) -> EvaluationData:
    """Read the tables of a folder; the pictures are read when they are used.

    * `manifest.csv`: path, set, identity and, where known, width, height, sex and ethnicity
    * `pairs/*.csv`: a, b, same; each table within one set
    * `ident/NAME/`: gallery.csv, probes_mated.csv, probes_nonmated.csv; path, identity
    * `detect/noface/`: pictures without a face
    * `bad/face-variants/expected.csv`: file, faces, note; the first line is the plain picture

    Every part but the manifest may be missing.

    Raises:
        DataError: a table lacks a column, names a picture outside the manifest, or contradicts it.
    """
    known: dict[str, Picture] = {}
    sets: dict[str, list[Picture]] = {}
    for row in _rows(folder / "manifest.csv", ("path", "set", "identity")):
        picture = replace(
            _picture(folder, row["path"], row["identity"]),
            set_name=row["set"],
            sex=row.get("sex", ""),
            ethnicity=row.get("ethnicity", ""),
            width_px=_pixels(folder, row, "width"),
            height_px=_pixels(folder, row, "height"),
        )
        if picture.name in known:
            raise DataError(f"{folder / 'manifest.csv'}: {picture.name} stands there twice")
        known[picture.name] = picture
        sets.setdefault(picture.set_name, []).append(picture)

    return EvaluationData(
        folder=folder,
        sets={name: tuple(pictures) for name, pictures in sets.items()},
        pairs=tuple(_pairs(path, known, sets) for path in sorted((folder / "pairs").glob("*.csv"))),
        searches=tuple(
            _searches(path.parent, known) for path in sorted(folder.glob("ident/*/gallery.csv"))
        ),
        without_face=tuple(
            _picture(folder, path.relative_to(folder).as_posix())
            for path in sorted((folder / "detect" / "noface").glob("*.*"))
        ),
        variants=_variants(folder),
    )


def _picture(folder: Path, name: str, identity: str = "") -> Picture:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{name} leads out of {folder}")
    return Picture(path, name, identity)


def _pixels(folder: Path, row: dict[str, str], column: str) -> int:
    text = row.get(column) or "0"
    if not text.isdecimal():
        raise DataError(f"{folder / 'manifest.csv'}: {column} of {row['path']} is no number")
    return int(text)


def _pairs(path: Path, known: dict[str, Picture], sets: dict[str, list[Picture]]) -> PairTable:
    pairs = []
    of_sets: set[str] = set()
    places = {p.name: place for pictures in sets.values() for place, p in enumerate(pictures)}
    for row in _rows(path, ("a", "b", "same")):
        a, b = (_known(path, known, row[column]) for column in ("a", "b"))
        same = row["same"] == "1"
        if same != (a.identity == b.identity):
            raise DataError(f"{path}: {a.name} and {b.name} contradict the manifest")
        of_sets |= {a.set_name, b.set_name}
        pairs.append((places[a.name], places[b.name], same))
    if len(of_sets) != 1:
        raise DataError(f"{path}: the pairs have to be of one set, not of {sorted(of_sets)}")
    return PairTable(path.stem, of_sets.pop(), tuple(pairs))


def _searches(folder: Path, known: dict[str, Picture]) -> SearchTable:
    gallery, mated, nonmated = (
        tuple(
            _known(path, known, row["path"], row["identity"])
            for row in _rows(path, ("path", "identity"))
        )
        for path in (
            folder / f"{name}.csv" for name in ("gallery", "probes_mated", "probes_nonmated")
        )
    )
    enrolled = {picture.identity for picture in gallery}
    for picture in mated:
        if picture.identity not in enrolled:
            raise DataError(f"{folder}: {picture.identity} is searched as mated and not enrolled")
    for picture in nonmated:
        if picture.identity in enrolled:
            raise DataError(f"{folder}: {picture.identity} is searched as non-mated and enrolled")
    return SearchTable(folder.name, gallery, mated, nonmated)


def _variants(folder: Path) -> tuple[Variant, ...]:
    path = folder / "bad" / "face-variants" / "expected.csv"
    if not path.exists():
        return ()
    variants = []
    for row in _rows(path, ("file", "faces", "note")):
        if not row["faces"].isdigit():
            raise DataError(f"{path}: faces of {row['file']} has to be a number")
        name = (path.parent / row["file"]).relative_to(folder).as_posix()
        variants.append(Variant(_picture(folder, name), int(row["faces"]), row["note"]))
    return tuple(variants)


def _known(
    path: Path, known: dict[str, Picture], name: str, identity: str | None = None
) -> Picture:
    picture = known.get(name)
    if picture is None:
        raise DataError(f"{path}: {name} is not in manifest.csv")
    if identity not in (None, picture.identity):
        raise DataError(f"{path}: {name} shows {picture.identity} by manifest.csv, not {identity}")
    return picture


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a table that has at least these columns."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{path}: there is no column {sorted(missing)[0]!r}")
            rows: list[dict[str, str]] = []
            for row in reader:
                if None in row or None in row.values() or len(rows) == ROWS_MAX:
                    raise DataError(f"{path}: line {reader.line_num} does not fit the table")
                rows.append(row)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{path} cannot be read: {problem}") from None
    return rows
