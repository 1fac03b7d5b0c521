"""CreateUser, DeleteUser, ListUsers, AssociateFaces, DisassociateFaces."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from recollect.errors import ServiceQuotaExceededException
from recollect.gallery.store import Once
from recollect.operations import paging
from recollect.operations.shapes import user_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_rekognition.type_defs import (
        AssociateFacesRequestTypeDef,
        CreateUserRequestTypeDef,
        DeleteUserRequestTypeDef,
        DisassociateFacesRequestTypeDef,
        ListUsersRequestTypeDef,
    )

    from recollect.gallery.store import Template
    from recollect.operations.service import Service
    from recollect.operations.shapes import Answer

FACES_PER_USER_MAX = 100
MATCH_THRESHOLD_DEFAULT = 75.0
PAGE_DEFAULT = 500


def create_user(service: Service, params: CreateUserRequestTypeDef) -> Answer:
    """Make a user without faces.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_CreateUser.html
    """
    collection = service.collection(params["CollectionId"])
    _, user_count = service.store.counts(collection)
    if user_count >= service.parts.users_per_collection_max:
        raise ServiceQuotaExceededException(
            f"The collection id: {collection.collection_id} has no room for another user"
        )
    service.store.create_user(collection, params["UserId"], _once("CreateUser", params))
    return {}


def delete_user(service: Service, params: DeleteUserRequestTypeDef) -> Answer:
    """Delete a user; its faces stay in the collection and belong to nobody.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DeleteUser.html
    """
    collection = service.collection(params["CollectionId"])
    service.store.delete_user(collection, params["UserId"], _once("DeleteUser", params))
    return {}


def list_users(service: Service, params: ListUsersRequestTypeDef) -> Answer:
    """List a collection's users, in an order of their own that does not change.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_ListUsers.html
    """
    collection = service.collection(params["CollectionId"])
    limit = params.get("MaxResults", PAGE_DEFAULT)
    scope = f"ListUsers/{service.account}/{collection.key}"
    page = service.store.list_users(
        collection,
        after=paging.unseal(service.parts.token_key, scope, params.get("NextToken")),
        limit=limit + 1,
    )
    answer: Answer = {
        "Users": [
            {"UserId": user.user_id, "UserStatus": user_status(user.face_count)}
            for user in page[:limit]
        ]
    }
    if len(page) > limit:
        answer["NextToken"] = paging.seal(service.parts.token_key, scope, page[limit - 1].key)
    return answer


def associate_faces(service: Service, params: AssociateFacesRequestTypeDef) -> Answer:
    """Give faces to a user; what does not resemble the user it has so far is refused.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_AssociateFaces.html
    """
    collection = service.collection(params["CollectionId"])
    pack = service.pack(collection)
    score_min = pack.score(params.get("UserMatchThreshold", MATCH_THRESHOLD_DEFAULT))

    def accepts(aggregate: Template, template: Template) -> bool:
        return float(np.dot(aggregate, template)) >= score_min

    association, refused = service.store.associate_faces(
        collection,
        params["UserId"],
        list(dict.fromkeys(params["FaceIds"])),
        faces_max=FACES_PER_USER_MAX,
        once=_once("AssociateFaces", params),
        accepts=accepts,
    )
    return {
        "AssociatedFaces": [{"FaceId": face_id} for face_id in association.done],
        "UnsuccessfulFaceAssociations": _unsuccessful(association.not_found, association.owned_by)
        + [
            {
                "FaceId": face_id,
                "Confidence": pack.similarity(score),
                "Reasons": ["LOW_MATCH_CONFIDENCE"],
            }
            for face_id, score in refused.items()
        ],
        "UserStatus": user_status(association.face_count),
    }


def disassociate_faces(service: Service, params: DisassociateFacesRequestTypeDef) -> Answer:
    """Take faces from a user; they stay in the collection.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DisassociateFaces.html
    """
    collection = service.collection(params["CollectionId"])
    association = service.store.disassociate_faces(
        collection,
        params["UserId"],
        list(dict.fromkeys(params["FaceIds"])),
        once=_once("DisassociateFaces", params),
    )
    return {
        "DisassociatedFaces": [{"FaceId": face_id} for face_id in association.done],
        "UnsuccessfulFaceDisassociations": _unsuccessful(
            association.not_found, association.owned_by
        ),
        "UserStatus": user_status(association.face_count),
    }


def _unsuccessful(not_found: tuple[str, ...], owned_by: Mapping[str, str]) -> list[Answer]:
    return [{"FaceId": face_id, "Reasons": ["FACE_NOT_FOUND"]} for face_id in not_found] + [
        {"FaceId": face_id, "UserId": owner, "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"]}
        for face_id, owner in owned_by.items()
    ]


def _once(operation: str, params: Mapping[str, Any]) -> Once | None:
    """The call's idempotency token with a digest of everything else it says."""
    token = params.get("ClientRequestToken")
    if token is None:
        return None
    rest = {name: value for name, value in params.items() if name != "ClientRequestToken"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).digest()
    return Once(token, operation, digest)
