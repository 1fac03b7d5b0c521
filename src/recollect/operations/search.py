"""SearchFaces, SearchFacesByImage, SearchUsers, SearchUsersByImage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recollect import telemetry
from recollect.errors import InvalidParameterException, ResourceNotFoundException
from recollect.operations import shapes
from recollect.operations.service import quality_filter

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import (
        SearchFacesByImageRequestTypeDef,
        SearchFacesRequestTypeDef,
        SearchUsersByImageRequestTypeDef,
        SearchUsersRequestTypeDef,
    )

    from recollect.gallery.store import Collection, Template
    from recollect.operations.service import Service
    from recollect.operations.shapes import Answer

    class PlainSearchFacesByImage(SearchFacesByImageRequestTypeDef, total=False):
        """What the plain dialect takes."""

        AllFaces: bool


THRESHOLD_DEFAULT = 80.0
FACES_DEFAULT = 4096
USERS_DEFAULT = 500
NO_FACES = "There are no faces in the image. Should be at least 1."
"""Clients compare this text byte for byte, its period included."""
MATCHES_MAX = 4096
"""Matches of one answer, which the faces of a picture share evenly."""


def search_faces(service: Service, params: SearchFacesRequestTypeDef) -> Answer:
    """Find the faces of a collection that match one of its faces, which is left out.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_SearchFaces.html
    """
    face_id = params["FaceId"]
    collection, probe = service.collection_with_face(params["CollectionId"], face_id)
    matches = _face_matches(
        service,
        collection,
        probe,
        params.get("FaceMatchThreshold", THRESHOLD_DEFAULT),
        params.get("MaxFaces", FACES_DEFAULT),
        exclude=face_id,
    )
    return {
        "SearchedFaceId": face_id,
        "FaceMatches": matches,
        "FaceModelVersion": collection.model_version,
    }


def search_faces_by_image(service: Service, params: PlainSearchFacesByImage) -> Answer:
    """Find the faces of a collection that match the largest face of a picture.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_SearchFacesByImage.html

    The plain dialect's AllFaces asks for every face of the picture in its place.
    """
    collection = service.collection(params["CollectionId"])
    if params.get("AllFaces"):
        return _every_face(service, collection, params)
    wanted = quality_filter(params.get("QualityFilter"), "NONE", collection.model_version)
    picture = service.probe_picture(params["Image"])
    with telemetry.stage("probe"):
        probe = service.pack(collection).largest_face(picture.pixels, wanted)
    if probe is None:
        raise InvalidParameterException(NO_FACES)
    assert probe.template is not None

    matches = _face_matches(
        service,
        collection,
        probe.template,
        params.get("FaceMatchThreshold", THRESHOLD_DEFAULT),
        params.get("MaxFaces", FACES_DEFAULT),
    )
    return {
        "SearchedFaceBoundingBox": shapes.bounding_box(probe.box),
        "SearchedFaceConfidence": probe.confidence,
        "FaceMatches": matches,
        "FaceModelVersion": collection.model_version,
    }


def _every_face(
    service: Service, collection: Collection, params: PlainSearchFacesByImage
) -> Answer:
    """SearchedFaces, the largest first, each with matches of its own; and those not searched."""
    pack = service.pack(collection)
    wanted = quality_filter(params.get("QualityFilter"), "NONE", collection.model_version)
    pixels = service.picture(params["Image"]).pixels
    with telemetry.stage("probe"):
        found = pack.faces(pixels)
        if not found:
            raise InvalidParameterException(NO_FACES)
        good = [face for face in found if not pack.reasons(face, wanted)]
        poor = [face for face in found if pack.reasons(face, wanted)]
        embedded = pack.embed(pixels, good)

    searched = []
    count_max = min(params.get("MaxFaces", MATCHES_MAX), MATCHES_MAX // max(1, len(good)))
    for face in embedded:
        if pack.reasons(face, wanted):
            poor.append(face)
            continue
        assert face.template is not None
        searched.append(
            {
                "SearchedFaceBoundingBox": shapes.bounding_box(face.box),
                "SearchedFaceConfidence": face.confidence,
                "FaceMatches": _face_matches(
                    service,
                    collection,
                    face.template,
                    params.get("FaceMatchThreshold", THRESHOLD_DEFAULT),
                    count_max,
                ),
            }
        )
    return {
        "SearchedFaces": searched,
        "UnsearchedFaces": [
            shapes.unsearched_face(face, pack.reasons(face, wanted)) for face in poor
        ],
        "FaceModelVersion": collection.model_version,
    }


def search_users(service: Service, params: SearchUsersRequestTypeDef) -> Answer:
    """Find the users of a collection that match one of its faces or users.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_SearchUsers.html
    """
    face_id, user_id = params.get("FaceId"), params.get("UserId")
    probe: Template | None
    exclude = None
    if face_id is not None and user_id is None:
        collection, probe = service.collection_with_face(params["CollectionId"], face_id)
    else:
        collection = service.collection(params["CollectionId"])
        if user_id is None or face_id is not None:
            raise InvalidParameterException
        user = service.store.user(collection, user_id)
        if user is None:
            raise ResourceNotFoundException(f"The user id: {user_id} does not exist")
        probe = service.store.user_template(collection, user_id)
        exclude = user.key

    answer: Answer = {
        "UserMatches": [],
        "FaceModelVersion": collection.model_version,
        "SearchedFace": {"FaceId": face_id} if face_id is not None else None,
        "SearchedUser": {"UserId": user_id} if user_id is not None else None,
    }
    if probe is not None:  # A user without faces resembles nobody.
        answer["UserMatches"] = _user_matches(
            service,
            collection,
            probe,
            params.get("UserMatchThreshold", THRESHOLD_DEFAULT),
            params.get("MaxUsers", USERS_DEFAULT),
            exclude=exclude,
        )
    return answer


def search_users_by_image(service: Service, params: SearchUsersByImageRequestTypeDef) -> Answer:
    """Find the users of a collection that match the largest face of a picture.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_SearchUsersByImage.html
    """
    collection = service.collection(params["CollectionId"])
    pack = service.pack(collection)
    wanted = quality_filter(params.get("QualityFilter"), "NONE", collection.model_version)
    pixels = service.picture(params["Image"]).pixels

    searched = None
    unsearched = []
    for face in pack.faces(pixels):
        reasons = list(pack.reasons(face, wanted))
        if searched is None and not reasons:
            (face,) = pack.embed(pixels, [face])
            reasons = list(pack.reasons(face, wanted))
            if not reasons:
                searched = face
                continue
        unsearched.append(shapes.unsearched_face(face, reasons or ["FACE_NOT_LARGEST"]))

    answer: Answer = {
        "UserMatches": [],
        "FaceModelVersion": collection.model_version,
        "UnsearchedFaces": unsearched,
    }
    if searched is not None:
        assert searched.template is not None
        answer["SearchedFace"] = {"FaceDetail": shapes.face_detail(searched)}
        answer["UserMatches"] = _user_matches(
            service,
            collection,
            searched.template,
            params.get("UserMatchThreshold", THRESHOLD_DEFAULT),
            params.get("MaxUsers", USERS_DEFAULT),
        )
    return answer


def _face_matches(
    service: Service,
    collection: Collection,
    probe: Template,
    threshold: float,
    count_max: int,
    exclude: str | None = None,
) -> list[Answer]:
    """FaceMatches above the threshold, most similar first, equal ones by FaceId."""
    pack = service.pack(collection)
    with telemetry.stage("search"):
        found = service.parts.galleries.search_faces(
            collection,
            probe,
            count_max=count_max,
            score_min=pack.score(threshold),
            exclude=exclude,
        )
    return [shapes.face_match(face, pack.similarity(score)) for face, score in found]


def _user_matches(
    service: Service,
    collection: Collection,
    probe: Template,
    threshold: float,
    count_max: int,
    exclude: str | None = None,
) -> list[Answer]:
    """UserMatches above the threshold, most similar first."""
    pack = service.pack(collection)
    with telemetry.stage("search"):
        found = service.parts.galleries.search(
            collection,
            probe,
            count_max=count_max,
            score_min=pack.score(threshold),
            kind="users",
            exclude=exclude,
        )
    users = service.store.users(collection, [key for key, _ in found])
    # A user that was deleted since the search began is gone: it is not shown.
    return [
        shapes.user_match(users[key], pack.similarity(score))
        for key, score in found
        if key in users
    ]
