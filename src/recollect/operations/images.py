"""DetectFaces, CompareFaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recollect.errors import InvalidParameterException
from recollect.operations import shapes
from recollect.operations.service import quality_filter

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import (
        CompareFacesRequestTypeDef,
        DetectFacesRequestTypeDef,
    )

    from recollect.operations.service import Service
    from recollect.operations.shapes import Answer

THRESHOLD_DEFAULT = 80.0


def detect_faces(service: Service, params: DetectFacesRequestTypeDef) -> Answer:
    """Find the faces of a picture, largest first, at most 100; keep nothing.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectFaces.html
    """
    picture = service.picture(params["Image"])
    faces = service.default_pack.faces(picture.pixels)
    return {"FaceDetails": [shapes.face_detail(face) for face in faces]}


def compare_faces(service: Service, params: CompareFacesRequestTypeDef) -> Answer:
    """Compare the largest face of one picture with every face of another.

    https://docs.aws.amazon.com/rekognition/latest/APIReference/API_CompareFaces.html
    """
    pack = service.default_pack
    wanted = quality_filter(params.get("QualityFilter"), "NONE", pack.version)
    source_picture = service.probe_picture(params["SourceImage"])
    source = pack.largest_face(source_picture.pixels, wanted)
    target = service.picture(params["TargetImage"]).pixels
    targets = [
        face for face in pack.embed(target, pack.faces(target)) if not pack.reasons(face, wanted)
    ]
    if source is None or not targets:
        raise InvalidParameterException
    assert source.template is not None

    threshold = params.get("SimilarityThreshold", THRESHOLD_DEFAULT)
    matched, unmatched = [], []
    for face in targets:
        assert face.template is not None
        similarity = pack.similarity(float(np.dot(source.template, face.template)))
        if similarity >= threshold:
            matched.append({"Similarity": similarity, "Face": shapes.compared_face(face)})
        else:
            unmatched.append(shapes.compared_face(face))
    return {
        "SourceImageFace": {
            "BoundingBox": shapes.bounding_box(source.box),
            "Confidence": source.confidence,
        },
        "FaceMatches": sorted(matched, key=lambda match: -match["Similarity"]),
        "UnmatchedFaces": unmatched,
    }
