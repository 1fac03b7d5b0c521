"""Which faces may join or leave a user, and what the caller is told, whichever SQL holds them."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np

from recollect.errors import IdempotentParameterMismatchException, ServiceQuotaExceededException
from recollect.gallery.rows import missing
from recollect.gallery.store import Association

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from recollect.gallery.store import Face, Once, Template

Answer = tuple[Association, dict[str, float]]
"""Of AssociateFaces and DisassociateFaces: the association, and the scores of refused faces."""


def free(found: Mapping[str, Face]) -> list[str]:
    """The faces that belong to nobody, which alone can join a user."""
    return [i for i, face in found.items() if face.user_id is None]


def strangers(
    mean: Template,
    found: Mapping[str, Face],
    templates: Mapping[str, Template],
    accepts: Callable[[Template, Template], bool],
) -> dict[str, float]:
    """Score of each free face that does not resemble what the user has so far, in their order."""
    return {
        i: float(np.dot(mean, templates[i])) for i in free(found) if not accepts(mean, templates[i])
    }


def joined(
    user_id: str,
    face_count: int,
    face_ids: Iterable[str],
    found: Mapping[str, Face],
    refused: Mapping[str, float],
    faces_max: int,
) -> Association:
    """What comes of giving faces to a user.

    Args:
        user_id: the user.
        face_count: faces it has so far.
        face_ids: what was asked for.
        found: those of them that there are.
        refused: those that do not resemble it.
        faces_max: faces it can have.

    Raises:
        ServiceQuotaExceededException: it would have more; nothing may be changed.
    """
    done = tuple(i for i in free(found) if i not in refused)
    if face_count + len(done) > faces_max:
        raise ServiceQuotaExceededException(
            f"The user id: {user_id} can have at most {faces_max} faces"
        )
    return _association(user_id, done, face_count + len(done), face_ids, found)


def left(
    user_id: str, face_count: int, face_ids: Iterable[str], found: Mapping[str, Face]
) -> Association:
    """What comes of taking faces from a user; the arguments are those of `joined`."""
    done = tuple(i for i, face in found.items() if face.user_id == user_id)
    return _association(user_id, done, face_count - len(done), face_ids, found)


def _association(
    user_id: str,
    done: tuple[str, ...],
    face_count: int,
    face_ids: Iterable[str],
    found: Mapping[str, Face],
) -> Association:
    owners = {i: face.user_id for i, face in found.items()}
    return Association(
        done=done,
        not_found=missing(face_ids, found),
        owned_by={i: owner for i, owner in owners.items() if owner not in (None, user_id)},
        face_count=face_count,
    )


def encoded(answer: Answer) -> str:
    """An answer as it is kept beside its token."""
    association, refused = answer
    return json.dumps([dataclasses.asdict(association), refused])


def decoded(text: str) -> Answer:
    """An answer as it was given."""
    fields, refused = json.loads(text)
    fields["done"], fields["not_found"] = tuple(fields["done"]), tuple(fields["not_found"])
    return Association(**fields), refused


def must_repeat(once: Once, fingerprint: bytes) -> None:
    """Refuse a token that came first with another call, whose fingerprint this is.

    Raises:
        IdempotentParameterMismatchException: it is another call.
    """
    if fingerprint != once.fingerprint:
        raise IdempotentParameterMismatchException(
            f"The ClientRequestToken: {once.token} you have supplied is already in use"
        )
