"""IndexFaces, ListFaces, DeleteFaces."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from recollect import telemetry
from recollect.errors import ServiceQuotaExceededException
from recollect.gallery.ids import new_face_id
from recollect.gallery.store import Enrolment
from recollect.gallery.store import Face as StoredFace
from recollect.operations import paging, shapes
from recollect.operations.service import FACES_PER_IMAGE_MAX, quality_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_rekognition.type_defs import (
        DeleteFacesRequestTypeDef,
        IndexFacesRequestTypeDef,
        ListFacesRequestTypeDef,
    )

    from recollect.operations.service import Service
    from recollect.operations.shapes import Answer
    from recollect.vision.face import Face, Image
    from recollect.vision.model_pack import ModelPack

PAGE_DEFAULT = 1000


def index_faces(service: Service, params: IndexFacesRequestTypeDef) -> Answer:
    """Find the faces of a picture and enrol them; keep templates, never the picture.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_IndexFaces.html
    """
    collection = service.collection(params["CollectionId"])
    pack = service.pack(collection)
    wanted = quality_filter(params.get("QualityFilter"), "AUTO", collection.model_version)
    data = service.image_bytes(params["Image"])
    pixels = service.decode(data).pixels

    faces_max = min(params.get("MaxFaces", FACES_PER_IMAGE_MAX), FACES_PER_IMAGE_MAX)
    with telemetry.stage("templates"):
        kept, unindexed = _choose(pack, pixels, wanted, faces_max)

    face_count, _ = service.store.counts(collection)
    if face_count + len(kept) > service.parts.faces_per_collection_max:
        raise ServiceQuotaExceededException(
            f"The collection id: {collection.collection_id} is full"
        )
    external_image_id = params.get("ExternalImageId")
    image_id = service.image_id(data, external_image_id)
    enrolled = service.store.add_faces(
        collection,
        [_enrolment(pack, face, image_id, external_image_id) for face in kept],
    )
    return {
        "FaceRecords": [
            {
                # Rekognition answers with the exact box here and with the stored one later.
                "Face": shapes.face(stored) | {"BoundingBox": shapes.bounding_box(face.box)},
                "FaceDetail": shapes.face_detail(face),
            }
            for stored, face in zip(enrolled, kept, strict=True)
        ],
        "FaceModelVersion": collection.model_version,
        "UnindexedFaces": [shapes.unindexed_face(face, reasons) for face, reasons in unindexed],
    }


def list_faces(service: Service, params: ListFacesRequestTypeDef) -> Answer:
    """List a collection's faces, ascending by FaceId.

    A face that is there from the first page to the last is listed exactly once, whatever is
    inserted or deleted meanwhile.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_ListFaces.html
    """
    collection = service.collection(params["CollectionId"])
    limit = params.get("MaxResults") or PAGE_DEFAULT
    user_id = params.get("UserId")
    face_ids = sorted(set(params["FaceIds"])) if "FaceIds" in params else None
    asked = hashlib.sha256(repr((user_id, face_ids)).encode()).hexdigest()
    scope = f"ListFaces/{service.account}/{collection.key}/{asked}"
    page = service.store.list_faces(
        collection,
        after=paging.unseal(service.parts.token_key, scope, params.get("NextToken")),
        limit=limit + 1,
        user_id=user_id,
        face_ids=face_ids,
    )
    answer: Answer = {
        "Faces": [shapes.face(face) for face in page[:limit]],
        "FaceModelVersion": collection.model_version,
    }
    if len(page) > limit:
        answer["NextToken"] = paging.seal(service.parts.token_key, scope, page[limit - 1].face_id)
    return answer


def delete_faces(service: Service, params: DeleteFacesRequestTypeDef) -> Answer:
    """Delete faces; those of a user are refused until they are disassociated.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DeleteFaces.html
    """
    collection = service.collection(params["CollectionId"])
    deletion = service.store.delete_faces(collection, list(dict.fromkeys(params["FaceIds"])))
    return {
        "DeletedFaces": list(deletion.deleted),
        "UnsuccessfulFaceDeletions": [
            {"FaceId": face_id, "Reasons": ["FACE_NOT_FOUND"]} for face_id in deletion.not_found
        ]
        + [
            {
                "FaceId": face_id,
                "UserId": user_id,
                "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"],
            }
            for face_id, user_id in deletion.owned_by.items()
        ],
    }


def _choose(
    pack: ModelPack, pixels: Image, wanted: str, faces_max: int
) -> tuple[list[Face], list[tuple[Face, Sequence[str]]]]:
    """Choose the faces to enrol, largest first, and say why the others are not.

    The filter comes first, the smallest boxes go next. A template is computed only for a face
    that is still in question, since it is the dearest part.
    """
    unindexed: list[tuple[Face, Sequence[str]]] = []
    passing: list[Face] = []
    for face in pack.faces(pixels):
        reasons = pack.reasons(face, wanted)
        if reasons:
            unindexed.append((face, reasons))
        else:
            passing.append(face)

    kept: list[Face] = []
    while passing and len(kept) < faces_max:
        batch = passing[: faces_max - len(kept)]
        passing = passing[len(batch) :]
        for face in pack.embed(pixels, batch):
            reasons = pack.reasons(face, wanted)
            if reasons:
                unindexed.append((face, reasons))
            else:
                kept.append(face)
    unindexed += [(face, ("EXCEEDS_MAX_FACES",)) for face in passing]
    return kept, unindexed


def _enrolment(
    pack: ModelPack, face: Face, image_id: str, external_image_id: str | None
) -> Enrolment:
    assert face.template is not None
    stored = StoredFace(
        face_id=new_face_id(),
        image_id=image_id,
        external_image_id=external_image_id,
        box=shapes.stored_box(face.box),
        confidence=face.confidence,
        model_version=pack.version,
    )
    return Enrolment(stored, face.template, pack.weight(face))
