import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.measure import figures, observed
from recollect.measure.data import Picture, SearchTable
from recollect.measure.figures import Reckoning
from recollect.measure.metrics import MISSING
from recollect.measure.subject import Found, Search

BOX = (0.25, 0.25, 0.5, 0.5)


def pictures(*identities):
    return tuple(
        Picture(Path(f"{n}.png"), f"{n}.png", who, width_px=400, height_px=300)
        for n, who in enumerate(identities)
    )


def quiet(items, _title, _count):
    return items


@st.composite
def sets(draw):
    """People on pictures, and symmetric scores, some of them missing."""
    identities = draw(st.lists(st.sampled_from("ABC"), min_size=2, max_size=6))
    count = len(identities)
    missing = draw(st.sets(st.integers(0, count - 1), max_size=2))
    scores = np.full((count, count), MISSING)
    for a in range(count):
        for b in range(a):
            if a not in missing and b not in missing:
                scores[a, b] = scores[b, a] = draw(st.integers(0, 9))
    return identities, scores


@given(sets())
def test_comparisons_are_the_pairs_by_whether_the_names_are_equal(drawn):
    identities, scores = drawn
    seen = observed.compared(
        "all",
        observed.people(pictures(*identities)),
        scores,
        observed.all_pairs(len(identities)),
    )
    mated, nonmated = [], []
    for a in range(len(identities)):
        for b in range(a):
            if identities[a] == identities[b]:
                mated.append(scores[a, b])
            elif scores[a, b] > MISSING:
                nonmated.append(scores[a, b])
    assert sorted(seen.mated) == sorted(mated)
    assert seen.nonmated.tolist() == sorted(nonmated)
    assert all(identities[a] == identities[b] for a, b in seen.mated_pair)
    assert all(identities[a] != identities[b] for a, b in seen.nonmated_pair)
    assert seen.people_count == len(set(identities))


@given(sets(), st.sampled_from("ABC"))
def test_a_part_of_the_comparisons_numbers_its_own_people(drawn, who):
    identities, scores = drawn
    whole = observed.compared(
        "all",
        observed.people(pictures(*identities)),
        scores,
        observed.all_pairs(len(identities)),
    )
    others = np.array([name != who for name in identities])
    part = whole.where("part", lambda a, b: others[a] & others[b])
    assert not {who} & {identities[place] for place in part.mated_pair.ravel()}
    used = {identities[p] for pair in (part.mated_pair, part.nonmated_pair) for p in pair.ravel()}
    assert part.people_count == len(used)
    assert set(part.person) - {-1} == set(range(len(used)))


def test_a_search_is_read_for_its_mate_and_its_best_stranger():
    table = SearchTable(
        "t",
        gallery=pictures("A", "B", "A", "C"),
        mated=pictures("A", "B", "C"),
        nonmated=pictures("X", "Y"),
    )
    faces = [Found(BOX), Found(BOX), Found(BOX), None]
    searches = [
        Search(BOX, ((1, 90.0), (2, 80.0), (0, 70.0))),  # A: its second picture comes second.
        Search(BOX, ((0, 60.0),)),  # B: not among the candidates.
        None,  # C: no face.
        Search(BOX, ((3, 20.0), (0, 10.0))),
        Search(BOX, ()),
    ]
    seen, left_out = observed.searched(table, faces, searches)
    assert seen.enrolled_count == 3
    assert seen.mate.tolist() == [80.0, MISSING, MISSING]
    assert seen.rank.tolist() == [2.0, np.inf, np.inf]
    assert seen.best.tolist() == [20.0, MISSING]
    assert seen.mated_size_px.tolist()[:2] == [150.0, 150.0]
    # With mates left out, A's best stranger is B, and B's is A; C has no face and no search.
    assert left_out.best.tolist() == [90.0, 60.0, 20.0, MISSING]


@given(sets())
def test_photographs_enrolled_in_turn_are_counted_over_every_choice_of_them(drawn):
    identities, scores = drawn
    of = {who: [n for n, name in enumerate(identities) if name == who] for who in set(identities)}
    expected = []
    for probe, who in enumerate(identities):
        choices = itertools.product(*(set(of[name]) - {probe} for name in sorted(of)))
        firsts = []
        for chosen in choices if len(of[who]) > 1 else ():
            (mate,) = (n for n in chosen if identities[n] == who)
            best = max((scores[probe, n] for n in chosen if n != mate), default=MISSING)
            firsts.append(scores[probe, mate] > max(best, MISSING))
        expected += [np.mean(firsts)] if firsts else []

    seen = observed.in_turn("t", observed.people(pictures(*identities)), scores)

    assert seen.first == pytest.approx(expected)
    assert seen.people_count == len(of)


def test_a_non_mated_probe_without_a_face_is_no_search():
    table = SearchTable("t", pictures("A"), (), pictures("X", "Y"))
    seen, _ = observed.searched(table, [Found(BOX)], [None, Search(BOX, ((0, 5.0),))])
    assert seen.best.tolist() == [5.0]


@given(sets())
def test_figures_are_counts_with_an_interval_around_them(drawn):
    identities, scores = drawn
    seen = observed.compared(
        "all",
        observed.people(pictures(*identities)),
        scores,
        observed.all_pairs(len(identities)),
    )
    table = figures.verification(seen, {"five": 5.0}, Reckoning(20, 1, quiet))
    assert table["figures"]["TAR at FMR 0.01"]["value"] is None
    assert "too few" in table["figures"]["TAR at FMR 0.01"]["why"]
    fmr, fnmr = (table["figures"][f"{name} at five"] for name in ("FMR", "FNMR"))
    if len(seen.nonmated):
        assert fmr["value"] == sum(score >= 5 for score in seen.nonmated) / len(seen.nonmated)
    if len(seen.mated):
        assert fnmr["value"] == pytest.approx(
            sum(not score >= 5 for score in seen.mated) / len(seen.mated)
        )
    for figure in (fmr, fnmr):
        if figure["value"] in (None, 0, 1):
            assert figure["low"] is None
        elif figure["low"] is not None:
            assert 0 <= figure["low"] <= figure["high"] <= 1


def test_a_known_search_gives_known_figures():
    count = 200
    best = np.arange(count, dtype=np.float64)
    seen = observed.Searches(
        title="t",
        enrolled_count=7,
        mate=np.array([199.5, 150.0, 189.5, MISSING]),
        rank=np.array([1.0, 1.0, 2.0, np.inf]),
        mated_person=np.array([0, 1, 2, 3]),
        best=best,
        nonmated_person=np.arange(count) + 4,
        people_count=count + 4,
        mated_size_px=np.array([50.0, 100.0, 100.0, np.nan]),
    )
    table = figures.identification(seen, {"150": 150.0}, Reckoning(50, 1, quiet))
    at = {name: figure["value"] for name, figure in table["figures"].items()}
    # Ten of 200 strangers reach 190; the mate at 189.5 does not, and it is second anyway.
    assert table["thresholds"]["FPIR 0.05"] == np.nextafter(189.0, np.inf)
    assert at["FNIR at FPIR 0.05"] == 0.75
    assert at["FNIR at FPIR 0.01"] is None
    assert at["rank-1"] == 0.5
    assert at["FPIR at 150"] == 0.25
    assert at["FNIR at 150"] == 0.5
    assert table["rank"][:3] == [0.5, 0.75, 0.75]
    assert next(iter(at)) == "FNIR at FPIR 0.05"
    assert figures.by_size(seen.mate, seen.mated_size_px, 180.0) == [
        {"size": "48 to 64 px", "of": 1, "failed": 0.0},
        {"size": "96 to 128 px", "of": 2, "failed": 0.5},
    ]


def test_what_is_hard_for_both_leaves_the_interval_of_a_difference():
    random = np.random.default_rng(5)
    count = 400
    hard = random.random(count) < 0.3
    rank = np.where(hard, np.inf, 1.0)
    better = rank.copy()
    better[np.flatnonzero(hard)[:12]] = 1.0

    def searches(rank):
        return observed.Searches(
            title="t",
            enrolled_count=count,
            mate=np.where(np.isfinite(rank), 90.0, MISSING),
            rank=rank,
            mated_person=np.arange(count),
            best=np.linspace(0, 80, count),
            nonmated_person=np.arange(count),
            people_count=count,
        )

    reckoning = Reckoning(200, 1, quiet)
    ours, theirs = searches(better), searches(rank)
    difference = figures.beside(ours, theirs, reckoning)["differences"]["rank-1"]
    of_ours, of_theirs = (
        figures.identification(seen, {}, reckoning)["figures"]["rank-1"] for seen in (ours, theirs)
    )

    assert difference["value"] == pytest.approx(0.03)
    assert 0 < difference["low"] < 0.03 < difference["high"] < 0.06
    # Beside each other the two rates would show nothing.
    assert of_ours["low"] < of_theirs["high"]
    same = figures.beside(ours, ours, reckoning)["differences"]
    assert {tuple(row.values()) for row in same.values()} == {(0.0, 0.0, 0.0)}

    # The same searches, said as shares of the choices, differ by the same with the same interval.
    turns = [
        observed.Turns("t", np.isfinite(seen.rank).astype(np.float64), seen.mated_person, count)
        for seen in (ours, theirs)
    ]
    assert figures.beside_in_turn(*turns, reckoning)["differences"]["rank-1"] == difference
