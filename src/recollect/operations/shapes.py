"""Domain objects to response shapes: ratios, percentages, numbers as Rekognition prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recollect.gallery import store
    from recollect.vision import face as vision

Answer = dict[str, Any]
"""A response shape as plain values; the codec prints it."""

DEFAULT_LANDMARKS = ("eyeLeft", "eyeRight", "mouthLeft", "mouthRight", "nose")


def six_digits(value: float) -> float:
    """Round to 6 significant digits, as Rekognition rounds what it stores of a face."""
    return float(f"{value:.6g}")


def stored_box(box: store.Box) -> store.Box:
    """The box of a face as it is kept and listed."""
    left, top, width, height = box
    return six_digits(left), six_digits(top), six_digits(width), six_digits(height)


def bounding_box(box: store.Box) -> Answer:
    """Left, top, width, height as ratios of the upright image."""
    left, top, width, height = box
    return {"Width": width, "Height": height, "Left": left, "Top": top}


def face(stored: store.Face) -> Answer:
    """A Face, as listings and matches show it."""
    return {
        "FaceId": stored.face_id,
        "BoundingBox": bounding_box(stored.box),
        "ImageId": stored.image_id,
        "ExternalImageId": stored.external_image_id,
        "Confidence": stored.confidence,
        "IndexFacesModelVersion": stored.model_version,
        "UserId": stored.user_id,
    }


def face_match(stored: store.Face, similarity: float) -> Answer:
    """A FaceMatch."""
    return {"Similarity": similarity, "Face": face(stored)}


def user_match(user: store.User, similarity: float) -> Answer:
    """A UserMatch."""
    return {
        "Similarity": similarity,
        "User": {"UserId": user.user_id, "UserStatus": user_status(user.face_count)},
    }


def user_status(face_count: int) -> str:
    """A user's status: aggregates change at once here, so nothing is ever UPDATING."""
    return "ACTIVE" if face_count else "CREATED"


def compared_face(detected: vision.Face) -> Answer:
    """A ComparedFace: what every loaded pack computes."""
    return {
        "BoundingBox": bounding_box(detected.box),
        "Confidence": detected.confidence,
        "Landmarks": [
            {"Type": kind, "X": detected.landmarks[kind][0], "Y": detected.landmarks[kind][1]}
            for kind in DEFAULT_LANDMARKS
            if kind in detected.landmarks
        ],
        "Pose": {
            "Roll": detected.pose.roll,
            "Yaw": detected.pose.yaw,
            "Pitch": detected.pose.pitch,
        },
        "Quality": {"Brightness": detected.brightness, "Sharpness": detected.sharpness},
    }


def face_detail(detected: vision.Face) -> Answer:
    """A FaceDetail.

    Attributes that no loaded model computes (age, emotions, glasses …) are absent whatever the
    request asked for, never invented.
    """
    return compared_face(detected)


def unindexed_face(detected: vision.Face, reasons: Sequence[str]) -> Answer:
    """An UnindexedFace."""
    return {"Reasons": list(reasons), "FaceDetail": face_detail(detected)}


def unsearched_face(detected: vision.Face, reasons: Sequence[str]) -> Answer:
    """An UnsearchedFace; its key is FaceDetails, though it holds one."""
    return {"FaceDetails": face_detail(detected), "Reasons": list(reasons)}
