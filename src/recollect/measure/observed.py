"""What was observed of a subject: comparisons and searches, ready for counting."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recollect.measure.metrics import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recollect.measure.data import Picture, SearchTable
    from recollect.measure.metrics import Numbers
    from recollect.measure.subject import Found, Search

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Mated and non-mated comparisons of some pictures (1:1).

    A mated comparison with a face that was not found has the score `MISSING`; a non-mated one is
    left out.
    """

    title: str
    person: Places
    """Number of the person on each picture, from 0; -1 where no comparison has the picture."""
    mated: Numbers
    mated_pair: Places
    """Positions of the two pictures, shape (mated, 2)."""
    nonmated: Numbers
    nonmated_pair: Places

    @property
    def people_count(self) -> int:
        """How many people are compared."""
        return int(self.person.max(initial=-1)) + 1

    def only(self, title: str, mated: Flags, nonmated: Flags) -> Comparisons:
        """A part of the comparisons."""
        pairs, other_pairs = self.mated_pair[mated], self.nonmated_pair[nonmated]
        return Comparisons(
            title,
            _of_pairs(self.person, pairs, other_pairs),
            self.mated[mated],
            pairs,
            self.nonmated[nonmated],
            other_pairs,
        )

    def where(self, title: str, of: Callable[[Places, Places], Flags]) -> Comparisons:
        """The comparisons whose two pictures satisfy a condition."""
        return self.only(title, of(*self.mated_pair.T), of(*self.nonmated_pair.T))


@dataclass(frozen=True, slots=True)
class Searches:
    """Mated and non-mated searches in one gallery (1:N).

    A mated search without a face, or without its mate among the candidates, has the mate score
    `MISSING` and an infinite rank; a non-mated one without a face is left out.
    """

    title: str
    enrolled_count: int
    """N: faces in the gallery."""
    mate: Numbers
    """Score of the mate in each mated search."""
    rank: Numbers
    """Its rank, from 1."""
    mated_person: Places
    best: Numbers
    """Score of the first candidate in each non-mated search."""
    nonmated_person: Places
    people_count: int
    mated_size_px: Numbers = field(default_factory=lambda: np.zeros(0))
    """Shorter side of the probe's face; NaN where not known."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Searches among one photograph of each person, over every choice of the enrolled ones.

    A search table rests on one choice; all of them together say the same of more photographs.
    """

    title: str
    first: Numbers
    """For each photograph that has a mate: in which share of the choices the mate comes first."""
    person: Places
    """Number of its person, from 0."""
    people_count: int
    """People enrolled, those with a single photograph among them."""


def people(pictures: Sequence[Picture]) -> Places:
    """Number the people on pictures from 0, by name."""
    names = {name: number for number, name in enumerate(sorted({p.identity for p in pictures}))}
    return np.array([names[picture.identity] for picture in pictures], np.intp)


def sizes_px(pictures: Sequence[Picture], faces: Sequence[Found | Search | None]) -> Numbers:
    """Shorter side of each face in pixels of its picture; NaN where not known."""
    return np.array(
        [
            min(face.box[2] * picture.width_px, face.box[3] * picture.height_px)
            if face and picture.width_px
            else np.nan
            for picture, face in zip(pictures, faces, strict=True)
        ],
        np.float64,
    )


def all_pairs(count: int) -> Places:
    """Every pair of `count` pictures once, shape (pairs, 2)."""
    return np.column_stack(np.triu_indices(count, 1)).astype(np.intp)


def compared(title: str, person: Places, scores: Numbers, pairs: Places) -> Comparisons:
    """Pick the comparisons of a table out of the scores of all pairs."""
    pairs = pairs.reshape(-1, 2)
    values = scores[pairs[:, 0], pairs[:, 1]]
    same = person[pairs[:, 0]] == person[pairs[:, 1]]
    other = ~same & (values > MISSING)
    # Sorted once, so that each resampling sorts what is sorted already.
    order = np.argsort(values[other], kind="stable")
    return Comparisons(
        title,
        _of_pairs(person, pairs),
        values[same],
        pairs[same],
        values[other][order],
        pairs[other][order],
    )


def searched(
    table: SearchTable, faces: Sequence[Found | None], searches: Sequence[Search | None]
) -> tuple[Searches, Searches]:
    """Read the mate's rank and score, and the best stranger's, out of the candidates.

    Args:
        table: who is enrolled, and who is searched.
        faces: the enrolled faces.
        searches: the mated probes', then the non-mated ones'.

    Returns:
        The searches as the table has them, and the same with each mated probe searched a second
        time as if its mate were not enrolled (N one smaller), for more non-mated searches.
    """
    probes = (*table.mated, *table.nonmated)
    person = people((*table.gallery, *probes))
    of_gallery, of_probes = person[: len(table.gallery)], person[len(table.gallery) :]
    mate, rank = np.full(len(probes), MISSING), np.full(len(probes), np.inf)
    stranger = np.full(len(probes), MISSING)
    for number, search in enumerate(searches):
        for place, (candidate, score) in enumerate(search.candidates if search else (), 1):
            if of_gallery[candidate] != of_probes[number]:
                stranger[number] = max(stranger[number], score)
            elif np.isinf(rank[number]):
                mate[number], rank[number] = score, place

    has_face = np.array([search is not None for search in searches], bool)
    first_nonmated = len(table.mated)
    mated = slice(0, first_nonmated)
    nonmated = np.flatnonzero(has_face & (np.arange(len(probes)) >= first_nonmated))
    as_planned = Searches(
        title=table.name,
        enrolled_count=sum(face is not None for face in faces),
        mate=mate[mated],
        rank=rank[mated],
        mated_person=of_probes[mated],
        best=stranger[nonmated],
        nonmated_person=of_probes[nonmated],
        people_count=int(person.max(initial=-1)) + 1,
        mated_size_px=sizes_px(table.mated, searches[mated]),
    )
    every = np.flatnonzero(has_face)
    return as_planned, replace(
        as_planned,
        title=f"{table.name}, mates left out in turn",
        best=stranger[every],
        nonmated_person=of_probes[every],
    )


def in_turn(title: str, person: Places, scores: Numbers) -> Turns:
    """Search each photograph among one of each person, chosen in every way that there is.

    Each way counts alike, so a stranger with k photographs, j of which are as near as the mate or
    nearer, leaves the mate first in 1 - j / k of them, whoever else is enrolled.

    Args:
        title: of the set.
        person: number of the person on each photograph, from 0.
        scores: all against all, symmetric; `MISSING` for a face that was not found.
    """
    photographs = np.bincount(person)
    searched = np.flatnonzero(photographs[person] > 1)
    first = np.zeros(len(searched))
    for number, probe in enumerate(searched):
        mates = np.flatnonzero(person == person[probe])
        for mate in mates[mates != probe]:
            if scores[probe, mate] > MISSING:
                nearer = scores[probe] >= scores[probe, mate]
                share = np.bincount(person[nearer], minlength=len(photographs)) / photographs
                share[person[probe]] = 0
                first[number] += np.prod(1 - share) / (len(mates) - 1)
    return Turns(title, first, person[searched], len(photographs))


def _of_pairs(person: Places, *pairs: Places) -> Places:
    """Number only those people from 0 who are in a pair; -1 for the others."""
    used = np.unique(np.concatenate([part.ravel() for part in pairs]))
    numbered = np.full(len(person), -1, np.intp)
    numbered[used] = np.unique(person[used], return_inverse=True)[1]
    return numbered
