"""Can a recorded history be explained? Whether its calls, put in some order, answer as they did.

The order has to be one in which a call that was answered before another began comes first. Each
place (one collection, one picture) is checked by itself: a history of many objects is linearizable
if and only if that of each object is (M. P. Herlihy, J. M. Wing, "Linearizability: a correctness
condition for concurrent objects", TOPLAS 12(3), 1990).
"""

import itertools
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Call:
    """What a client asked and was answered, on its own clock."""

    kind: str
    """index (enrol a picture), search (for whoever it shows), delete or list (one FaceId)."""
    start: float
    end: float
    """When it was answered; where it never was, when it can have no effect any more."""
    face: str | None = None
    """The FaceId that was answered (None: a search found nobody) or asked for."""
    there: bool = True
    """Whether the face asked for was deleted or listed; False where there was no such face."""
    known: bool = True
    """False where no answer came: it had its effect, or it had none."""


State = tuple[str | None, frozenset[str]]
"""The face that is enrolled, and every face that ever was: one that was deleted has no second
life."""

EMPTY: State = (None, frozenset())


def steps(state, call, faces):
    """The states that a call may leave, answering as it did; none where it could not.

    Args:
        state: before it.
        call: to be explained.
        faces: all that the history knows of.
    """
    face, born = state
    match call.kind:
        case "index" if face is None:
            new = [call.face] if call.known else faces
            return [(one, born | {one}) for one in new if one not in born]
        case "index":
            return [state] if call.face == face or not call.known else []
        case "search":
            return [state] if call.face == face else []
        case "list":
            return [state] if (call.face == face) == call.there else []
        case "delete" if call.face == face:
            return [(None, born)] if call.there or not call.known else []
        case "delete":
            return [state] if not call.there or not call.known else []
    raise AssertionError(call.kind)


def impossible(calls):
    """The first call whose answer cannot be explained, or None.

    Goes through the history in time with every state that it may have led to. A call is put in its
    place no earlier than an answer demands it ("just in time": G. Lowe, "Testing for
    linearizability", Concurrency and Computation 29(4), 2017), except that one which changes
    nothing takes its place as soon as it can, which takes no choice from the others.
    """
    faces = {call.face for call in calls if call.face is not None}
    moments = [(call.start, 0, call) for call in calls] + [(call.end, 1, call) for call in calls]
    moments.sort(key=lambda moment: moment[:2])
    opened, paths = set(), {(EMPTY, frozenset())}
    for _, is_end, call in moments:
        if not is_end:
            opened.add(call)
            continue
        reached = {(state, done - {call}) for state, done in _through(paths, opened, call, faces)}
        paths = reached if call.known else reached | {(s, done - {call}) for s, done in paths}
        if not paths:
            return call
        opened.remove(call)
    return None


def _through(paths, opened, call, faces):
    """Every path on which a call has its place, and nothing behind it that may come later."""
    waiting, seen, reached = list(paths), set(), set()
    while waiting:
        path = state, done = _settled(*waiting.pop(), opened, faces)
        if path in seen:
            continue
        seen.add(path)
        if call in done:
            reached.add(path)
            continue
        waiting += [
            (after, done | {other})
            for other in opened - done
            for after in steps(state, other, faces)
            if after != state or other is call
        ]
    return reached


def _settled(state, done, opened, faces):
    """A path with every open call in its place that changes nothing."""
    same = {c for c in opened - done if c.known and steps(state, c, faces) == [state]}
    return state, done | same


def brute_force(calls):
    """Whether some order explains a short history: all of them are tried."""
    faces = {call.face for call in calls if call.face is not None}
    unknown = [call for call in calls if not call.known]
    known = [call for call in calls if call.known]
    for count in range(len(unknown) + 1):
        for happened in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *happened]):
                pairs = itertools.combinations(order, 2)
                if any(later.end < earlier.start for earlier, later in pairs):
                    continue
                states = {EMPTY}
                for call in order:
                    states = {after for s in states for after in steps(s, call, faces)}
                if states:
                    return True
    return False
