"""A server as the subject of a measurement: everything goes through its API."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from recollect.errors import (
    ImageTooLargeException,
    InvalidImageFormatException,
    InvalidParameterException,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
)
from recollect.measure.metrics import MISSING
from recollect.measure.subject import CANDIDATES, Box, Found, Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from recollect.measure.answers import Answers
    from recollect.measure.data import Picture
    from recollect.measure.metrics import Numbers

    Call = Callable[..., dict[str, Any]]
    Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
    """Wraps what is worked through, with a description and a count, for a progress bar."""

COMPARED_MAX = 4096
"""Pictures of one all-against-all comparison: what one search can answer."""

NO_FACE = "There are no faces in the image"
REFUSALS = (InvalidImageFormatException, ImageTooLargeException, InvalidParameterException)


class SubjectError(Exception):
    """The system under measure gave an answer that cannot be measured with."""


class Server:
    """Measures a server by its answers, each of which is asked for once and then kept.

    Collections are named by their contents, and a face is enrolled with its picture's position
    as ExternalImageId, so a run that was stopped finds what it had enrolled.

    Args:
        call: an operation's name and its parameters to its answer.
        answers: kept answers.
        version: of the server; answers of another version do not count.
        track: makes progress bars.
    """

    thresholds: Mapping[str, float] = {f"Similarity {t}": float(t) for t in (80, 90, 99)}
    default_threshold = "Similarity 80"

    def __init__(self, call: Call, answers: Answers, *, version: str, track: Track) -> None:
        self._call, self._answers, self._track = call, answers, track
        self._version = version
        self._collections: set[str] = set()
        self._model_version = self._create("evaluate")["FaceModelVersion"]
        self.refusals: dict[str, str] = {}
        """Pictures that the server refused, by name, with its error."""

    @property
    def title(self) -> str:
        """What it is, in a few words, versions included."""
        return f"recollect {self._version}, face model {self._model_version}"

    def compare_all(self, pictures: Sequence[Picture]) -> tuple[list[Found | None], Numbers]:
        """Compare each picture's face with each other's: SearchFaces over one collection."""
        count = len(pictures)
        if count > COMPARED_MAX:
            raise SubjectError(
                f"{pictures[0].set_name}: {count} pictures, and one answer holds the "
                f"{COMPARED_MAX} nearest: split the set"
            )
        scope = self._scope(pictures)
        questions = [[scope, "compare", row] for row in range(count)]
        faces = self._enrol(scope, pictures, again=not all(map(self._answers.has, questions)))
        found = {row for row, face in enumerate(faces) if face is not None}
        scores = np.full((count, count), MISSING)
        ids: dict[int, str] = {}
        for row in self._track(sorted(found), f"comparing {pictures[0].set_name}", len(found)):
            others = sorted(other for other in found if other > row)

            def ask(row: int = row, others: list[int] = others) -> list[float]:
                if not ids:
                    ids.update(self._enrolled(scope))
                answer = self._call(
                    "SearchFaces",
                    CollectionId=scope,
                    FaceId=ids[row],
                    FaceMatchThreshold=0,
                    MaxFaces=COMPARED_MAX,
                )
                by_row = {
                    int(match["Face"]["ExternalImageId"]): match["Similarity"]
                    for match in answer["FaceMatches"]
                }
                if by_row.keys() | {row} != found:
                    raise SubjectError(
                        f"SearchFaces at threshold 0 answered {len(by_row)} of "
                        f"{len(found) - 1} faces"
                    )
                return [by_row[other] for other in others]

            scores[row, others] = scores[others, row] = self._answers.get(questions[row], ask)
        return faces, scores

    def search_all(
        self, gallery: Sequence[Picture], probes: Sequence[Picture]
    ) -> tuple[list[Found | None], list[Search | None]]:
        """Enrol the gallery by IndexFaces, search each probe by SearchFacesByImage."""
        scope = self._scope(gallery)
        questions = [[scope, "search", probe.digest()] for probe in probes]
        faces = self._enrol(scope, gallery, again=not all(map(self._answers.has, questions)))
        searches: list[Search | None] = []
        for number in self._track(range(len(probes)), "searching", len(probes)):
            probe = probes[number]

            def ask(probe: Picture = probe) -> Any:
                answer = self._call(
                    "SearchFacesByImage",
                    CollectionId=scope,
                    Image={"Bytes": probe.read()},
                    QualityFilter="NONE",
                    FaceMatchThreshold=0,
                    MaxFaces=CANDIDATES,
                )
                return [
                    _box(answer["SearchedFaceBoundingBox"]),
                    [
                        (int(match["Face"]["ExternalImageId"]), match["Similarity"])
                        for match in answer["FaceMatches"]
                    ],
                ]

            kept = self._of_picture(probe, questions[number], ask)
            searches.append(
                kept and Search(box=tuple(kept[0]), candidates=tuple(map(tuple, kept[1])))
            )
        return faces, searches

    def detect(self, picture: Picture) -> list[Box]:
        """The boxes of all faces of a picture by DetectFaces, the largest first."""

        def ask() -> list[Box]:
            answer = self._call("DetectFaces", Image={"Bytes": picture.read()})
            return [_box(face["BoundingBox"]) for face in answer["FaceDetails"]]

        kept = self._of_picture(picture, [self._subject(), "detect", picture.digest()], ask)
        return sorted(map(tuple, kept or []), key=lambda box: -box[2] * box[3])

    def close(self) -> None:
        """Delete the collections of this run."""
        for collection in self._collections:
            try:
                self._call("DeleteCollection", CollectionId=collection)
            except ResourceNotFoundException:
                continue
        self._collections.clear()

    def _enrol(self, scope: str, pictures: Sequence[Picture], *, again: bool) -> list[Found | None]:
        """The largest face of each picture, enrolled; `again` where the answers will not do."""
        questions = [[scope, "index", row] for row in range(len(pictures))]
        again = again or not all(map(self._answers.has, questions))
        there: Mapping[int, str] = {}
        if again:
            self._create(scope)
            there = self._enrolled(scope)
        faces: list[Found | None] = []
        for row in self._track(range(len(pictures)), "enrolling", len(pictures)):
            picture = pictures[row]

            def ask(row: int = row, picture: Picture = picture) -> Any:
                answer = self._call(
                    "IndexFaces",
                    CollectionId=scope,
                    Image={"Bytes": picture.read()},
                    ExternalImageId=str(row),
                    MaxFaces=1,
                    QualityFilter="NONE",
                )
                for record in answer["FaceRecords"]:
                    return [_box(record["Face"]["BoundingBox"]), _quality(record["FaceDetail"])]
                return None

            was_kept = self._answers.has(questions[row])
            kept = self._of_picture(picture, questions[row], ask)
            if again and kept and was_kept and row not in there:
                ask()  # Known from a run whose collection is gone: enrolled again.
            faces.append(kept and Found(box=tuple(kept[0]), quality=kept[1]))
        return faces

    def _enrolled(self, collection: str) -> dict[int, str]:
        """FaceIds of a collection by the position of their picture."""
        ids: dict[int, str] = {}
        token = None
        while True:
            page = self._call(
                "ListFaces", CollectionId=collection, MaxResults=COMPARED_MAX, NextToken=token
            )
            ids |= {int(face["ExternalImageId"]): face["FaceId"] for face in page["Faces"]}
            token = page.get("NextToken")
            if token is None:
                return ids

    def _create(self, collection: str) -> dict[str, Any]:
        self._collections.add(collection)
        try:
            return self._call("CreateCollection", CollectionId=collection)
        except ResourceAlreadyExistsException:
            return self._call("DescribeCollection", CollectionId=collection)

    def _of_picture(self, picture: Picture, question: list[Any], ask: Callable[[], Any]) -> Any:
        """A kept answer about a picture; None where it holds no face or is refused."""

        def ask_or_say_why() -> Any:
            try:
                return ask()
            except REFUSALS as refusal:
                if str(refusal).startswith(NO_FACE):
                    return None
                return f"{refusal.code}: {refusal}"

        kept = self._answers.get(question, ask_or_say_why)
        if isinstance(kept, str):
            self.refusals[picture.name] = kept
            return None
        return kept

    def _subject(self) -> str:
        return f"recollect/{self._version}/{self._model_version}"

    def _scope(self, pictures: Sequence[Picture]) -> str:
        """Name of the collection that holds just these pictures."""
        contents = json.dumps([self._subject(), [picture.digest() for picture in pictures]])
        return f"evaluate-{hashlib.sha256(contents.encode()).hexdigest()[:24]}"


def _box(box: Mapping[str, float]) -> Box:
    return box["Left"], box["Top"], box["Width"], box["Height"]


def _quality(detail: Mapping[str, Any]) -> dict[str, float]:
    """What FaceDetail says of a face, turned so that higher is better."""
    quality = {"confidence": detail["Confidence"]}
    if "Quality" in detail:
        quality["sharpness"] = detail["Quality"]["Sharpness"]
    if "Pose" in detail:
        quality["uprightness"] = -abs(detail["Pose"]["Roll"])
        quality["frontality"] = -abs(detail["Pose"]["Yaw"])
    return quality
