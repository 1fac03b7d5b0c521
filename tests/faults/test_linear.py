"""The checker of histories finds what is wrong, and nothing else."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear import Call, brute_force, impossible


def index(start, end, face, known=True):
    return Call("index", start, end, face, known=known)


def search(start, end, face):
    return Call("search", start, end, face)


def delete(start, end, face, there=True, known=True):
    return Call("delete", start, end, face, there, known)


def listed(start, end, face, there):
    return Call("list", start, end, face, there)


RIGHT = {
    "nothing": [],
    "enrolled, found, deleted, gone": [
        index(0, 1, "a"),
        search(2, 3, "a"),
        delete(4, 5, "a"),
        search(6, 7, None),
    ],
    "a search beside an enrolment may find it or not": [
        index(0, 9, "a"),
        search(1, 2, None),
        search(3, 4, "a"),
    ],
    "a picture enrolled twice is one face": [index(0, 5, "a"), index(1, 4, "a")],
    "of two deletions one finds something": [
        index(0, 1, "a"),
        delete(2, 5, "a"),
        delete(3, 4, "a", there=False),
    ],
    "without an answer it may have happened": [index(0, 5, None, known=False), search(6, 7, "a")],
    "or not": [index(0, 5, None, known=False), search(6, 7, None)],
    "or late, but before the restart": [
        index(0, 5, None, known=False),
        search(1, 2, None),
        search(3, 4, "a"),
    ],
    "deleted without an answer, enrolled anew": [
        index(0, 1, "a"),
        delete(2, 9, "a", known=False),
        index(3, 4, "b"),
        listed(5, 6, "a", False),
    ],
}
WRONG = {
    "an acknowledged face is not found": [index(0, 1, "a"), search(2, 3, None)],
    "a deleted face is found": [index(0, 1, "a"), delete(2, 3, "a"), search(4, 5, "a")],
    "a deleted face is listed": [index(0, 1, "a"), delete(2, 3, "a"), listed(4, 5, "a", True)],
    "a face nobody enrolled is found": [search(0, 1, "a")],
    "found, then not, then found": [
        index(0, 9, "a"),
        search(1, 2, "a"),
        search(3, 4, None),
        search(5, 6, "a"),
    ],
    "a stale search beside a deletion": [
        index(0, 1, "a"),
        delete(2, 9, "a"),
        search(3, 4, None),
        search(5, 6, "a"),
    ],
    "a picture is two faces at once": [index(0, 1, "a"), index(2, 3, "b")],
    "a deleted face comes back under its name": [
        index(0, 1, "a"),
        delete(2, 3, "a"),
        index(4, 5, "a"),
    ],
    "two deletions of one face both find it": [
        index(0, 1, "a"),
        delete(2, 5, "a"),
        delete(3, 4, "a"),
    ],
    "a deletion finds nothing where there is something": [
        index(0, 1, "a"),
        delete(2, 3, "a", there=False),
        search(4, 5, "a"),
    ],
    "an acknowledged face is gone after a kill": [
        index(0, 1, "a"),
        index(2, 5, None, known=False),
        search(6, 7, None),
    ],
    "what had no effect before the restart has one after it": [
        index(0, 5, None, known=False),
        search(6, 7, None),
        search(8, 9, "a"),
    ],
    "deleted before the kill, there after it": [
        index(0, 1, "a"),
        delete(2, 5, "a", known=False),
        search(3, 4, None),
        search(6, 7, "a"),
    ],
    "one unanswered call enrols twice": [
        index(0, 9, None, known=False),
        search(1, 2, "a"),
        delete(3, 4, "a"),
        search(5, 6, "b"),
    ],
}


@pytest.mark.parametrize("calls", RIGHT.values(), ids=RIGHT)
def test_a_right_history_is_explained(calls):
    assert impossible(calls) is None
    assert brute_force(calls)


@pytest.mark.parametrize("calls", WRONG.values(), ids=WRONG)
def test_a_wrong_history_is_found(calls):
    assert impossible(calls) in calls
    assert not brute_force(calls)


faces = st.sampled_from("ab")


@st.composite
def histories(draw):
    calls = []
    for _ in range(draw(st.integers(0, 5))):
        start, end = sorted(draw(st.lists(st.integers(0, 9), min_size=2, max_size=2)))
        kind = draw(st.sampled_from(["index", "delete", "search", "list"]))
        there, known = draw(st.booleans()), True
        if kind in ("index", "delete"):
            known = draw(st.sampled_from([True, True, False]))
        face = draw(st.none() | faces) if kind == "search" else draw(faces)
        if kind == "index" and not known:
            face = None
        calls.append(Call(kind, start, end, face, there, known))
    return calls


@pytest.mark.timeout(600)  # For the slow ones.
@pytest.mark.parametrize("examples", [400, pytest.param(5_000, marks=pytest.mark.slow)])
def test_it_agrees_with_trying_every_order(figure, examples):
    outcomes = Counter()

    @settings(max_examples=examples, deadline=None)
    @given(histories())
    def agrees(calls):
        possible = brute_force(calls)
        outcomes[possible] += 1
        assert (impossible(calls) is None) == possible

    agrees()
    assert min(outcomes[True], outcomes[False]) > examples // 10
    figure(
        "the checker of histories against every order",
        outcomes.total(),
        f"agrees; {outcomes[False]:,} of them impossible",
    )
