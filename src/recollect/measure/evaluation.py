"""One evaluation: a folder of data through a subject, to figures and to what plots need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recollect.measure import figures, observed
from recollect.measure.subject import covers_middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.measure.data import EvaluationData, PairTable, Picture, Variant
    from recollect.measure.figures import Reckoning
    from recollect.measure.metrics import Numbers
    from recollect.measure.observed import Comparisons, Places, Searches, Turns
    from recollect.measure.server import Track
    from recollect.measure.subject import Box, Found, Subject

BOX_TOLERANCE = 0.05
"""How far the sides of two boxes may lie apart, as a share of the picture's sides."""


@dataclass(slots=True)
class Evaluation:
    """What came out for one subject."""

    title: str
    thresholds: dict[str, float]
    default_threshold: str
    document: dict[str, Any] = field(default_factory=dict)
    """Every figure, as JSON has it."""
    comparisons: list[Comparisons] = field(default_factory=list)
    searches: list[Searches] = field(default_factory=list)
    turns: list[Turns] = field(default_factory=list)
    qualities: dict[str, tuple[Numbers, dict[str, Numbers]]] = field(default_factory=dict)
    """For each set compared whole: mated scores, and by name the worse face's quality."""

    @property
    def cut(self) -> float:
        """Score of the default threshold."""
        return self.thresholds[self.default_threshold]


def evaluate(
    data: EvaluationData, subject: Subject, reckoning: Reckoning, track: Track
) -> Evaluation:
    """Put a folder through a subject: verification, search, detection, in this order."""
    result = Evaluation(subject.title, dict(subject.thresholds), subject.default_threshold)
    result.document = {
        "subject": subject.title,
        "verification": [],
        "groups": [],
        "sizes": [],
        "identification": [],
        "detection": [],
    }
    for name in data.sets:
        _one_set(name, data, subject, reckoning, result)
    for table in data.searches:
        faces, searches = subject.search_all(table.gallery, (*table.mated, *table.nonmated))
        for seen in observed.searched(table, faces, searches):
            result.searches.append(seen)
            result.document["identification"].append(
                figures.identification(seen, result.thresholds, reckoning)
            )
        planned = result.searches[-2]
        result.document["sizes"].append(
            {
                "title": f"Search in {table.name}",
                "threshold": result.default_threshold,
                "rows": figures.by_size(planned.mate, planned.mated_size_px, result.cut),
            }
        )
    if data.without_face:
        result.document["noface"] = _without_face(data.without_face, subject, track)
    if data.variants:
        result.document["variants"] = _variants(data.variants, subject, track)
    return result


def _one_set(
    name: str,
    data: EvaluationData,
    subject: Subject,
    reckoning: Reckoning,
    result: Evaluation,
) -> None:
    """Compare everybody with everybody in one set, then count by table, size and group."""
    pictures = data.sets[name]
    person = observed.people(pictures)
    faces, scores = subject.compare_all(pictures)
    result.document["detection"].append(_detection(name, faces))

    everything = observed.compared(
        f"{name}, all against all", person, scores, observed.all_pairs(len(pictures))
    )
    tables = [
        observed.compared(f"{table.name}, pair list", person, scores, _places(table))
        for table in data.pairs
        if table.set_name == name
        and len(table.pairs) < len(everything.mated_pair) + len(everything.nonmated_pair)
    ]
    for seen in (*tables, everything):
        if len(seen.mated) or len(seen.nonmated):
            result.comparisons.append(seen)
            result.document["verification"].append(
                figures.verification(seen, result.thresholds, reckoning)
            )

    if len(everything.mated) and len(everything.nonmated):
        turns = observed.in_turn(f"{name}, enrolled in turn", person, scores)
        result.turns.append(turns)
        result.document["identification"].append(figures.in_turn(turns, reckoning))

    first, second = everything.mated_pair.T
    size_px = observed.sizes_px(pictures, faces)
    smaller_px = np.minimum(size_px[first], size_px[second])
    result.document["sizes"].append(
        {
            "title": f"Comparisons of {name}",
            "threshold": result.default_threshold,
            "rows": figures.by_size(everything.mated, smaller_px, result.cut),
        }
    )
    result.document["groups"] += [
        figures.verification(group, result.thresholds, reckoning)
        for group in _groups(name, pictures, everything)
    ]
    result.qualities[name] = (
        everything.mated,
        {
            quality: np.minimum(values[first], values[second])
            for quality, values in _qualities(faces, size_px).items()
        },
    )


def _places(table: PairTable) -> Places:
    return np.array([(a, b) for a, b, _ in table.pairs], np.intp)


def _detection(name: str, faces: Sequence[Found | None]) -> dict[str, Any]:
    """How many pictures yield a face, and how many one that covers the middle."""
    boxes = [face.box for face in faces if face is not None]
    return {
        "set": name,
        "pictures": len(faces),
        "found": len(boxes),
        "covers_middle": sum(map(covers_middle, boxes)),
    }


def _groups(name: str, pictures: Sequence[Picture], everything: Comparisons) -> list[Comparisons]:
    """The comparisons within each labelled group: own sex, own ethnicity, both."""
    labels = {
        "sex": [picture.sex for picture in pictures],
        "ethnicity": [picture.ethnicity for picture in pictures],
        "sex and ethnicity": [
            f"{picture.sex} {picture.ethnicity}" if picture.sex and picture.ethnicity else ""
            for picture in pictures
        ],
    }
    groups = []
    for values in labels.values():
        column = np.array(values)
        for value in sorted(set(values) - {""}):
            group = everything.where(
                f"{name}, {value.replace('_', ' ')}",
                lambda a, b, of=column == value: of[a] & of[b],  # type: ignore[misc]
            )
            if len(group.mated) and len(group.nonmated):
                groups.append(group)
    return groups


def _qualities(faces: Sequence[Found | None], size_px: Numbers) -> dict[str, Numbers]:
    """What the subject says of each face, and its size; the worst value where none was found."""
    names = sorted({name for face in faces if face for name in face.quality})
    qualities = {
        name: np.array([face.quality.get(name, -np.inf) if face else -np.inf for face in faces])
        for name in names
    }
    return qualities | {"face size": np.nan_to_num(size_px, nan=-np.inf)}


def _without_face(pictures: Sequence[Picture], subject: Subject, track: Track) -> dict[str, Any]:
    """Pictures without a face in which one was found all the same."""
    wrong = [
        picture.name
        for picture in track(pictures, "pictures without a face", len(pictures))
        if subject.detect(picture)
    ]
    return {"pictures": len(pictures), "with_a_face": len(wrong), "which": wrong}


def _variants(variants: Sequence[Variant], subject: Subject, track: Track) -> dict[str, Any]:
    """Changed copies of one photograph: faces found, and whether the person is found again."""
    plain = variants[0].picture
    _, searches = subject.search_all([plain], [variant.picture for variant in variants])
    plain_box = searches[0].box if searches[0] else (0.0, 0.0, 0.0, 0.0)
    rows = []
    for variant, search in zip(
        track(variants, "variants of one photograph", len(variants)), searches, strict=True
    ):
        boxes = subject.detect(variant.picture)
        rows.append(
            {
                "file": variant.picture.path.name,
                "hard": variant.hard,
                "expected": variant.faces,
                "found": len(boxes),
                "score": search.candidates[0][1] if search and search.candidates else None,
                "largest_searched": bool(search and boxes and _near(search.box, boxes[0])),
                "upright": bool(search and _near(search.box, plain_box))
                if variant.upright
                else None,
            }
        )
    reached = subject.thresholds[subject.default_threshold]
    easy = [row for row in rows if not row["hard"]]
    alone = [row for row in easy if row["expected"] == 1]
    return {
        "threshold": subject.default_threshold,
        "not_hard": len(easy),
        "count_right": sum(row["found"] == row["expected"] for row in easy),
        "not_hard_alone": len(alone),
        "person_found": sum(row["score"] is not None and row["score"] >= reached for row in alone),
        "largest_searched": sum(row["largest_searched"] for row in easy),
        "upright": sum(row["upright"] is True for row in rows),
        "upright_expected": sum(row["upright"] is not None for row in rows),
        "rows": rows,
    }


def _near(one: Box, other: Box) -> bool:
    """Whether two boxes agree in all four sides."""
    sides = [(box[0], box[1], box[0] + box[2], box[1] + box[3]) for box in (one, other)]
    return all(abs(a - b) <= BOX_TOLERANCE for a, b in zip(*sides, strict=True))
