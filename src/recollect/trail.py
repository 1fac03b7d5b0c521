"""One CloudTrail-shaped record of one call: who, when, what, with which answer; no biometrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recollect.wire.access import ADMINISTRATION

if TYPE_CHECKING:
    from recollect.wire.outcome import Outcome

READ_ONLY = ("Compare", "Describe", "Detect", "Get", "List", "Read", "Search")


def record(outcome: Outcome) -> dict[str, Any]:
    """Shape a call's outcome as CloudTrail shapes it.

    Pictures stand in it by their digest, matches by FaceId or UserId and Similarity. The fields
    under `additionalEventData` are what Article 12(3) of the EU AI Act asks a log of
    identifications to hold: begin and end of the use, the database searched, the input that led
    to a match.

    Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference.html
    """
    caller, result = outcome.caller, outcome.result or {}
    operation = outcome.operation or ""
    read_only = operation.startswith(READ_ONLY)
    started = _iso(outcome.started)
    entry: dict[str, Any] = {
        "eventVersion": "1.11",
        "eventTime": started[:19] + "Z",
        "eventSource": "recollect" if operation in ADMINISTRATION else "rekognition.amazonaws.com",
        "eventName": outcome.operation,
        "eventType": "AwsApiCall",
        # A call has one record, so the id of one is the id of the other.
        "eventID": outcome.request_id,
        "requestID": outcome.request_id,
        "readOnly": read_only,
        "sourceIPAddress": outcome.source_ip,
        "userAgent": outcome.user_agent[:256],
        "userIdentity": {"type": "Unknown"},
        "requestParameters": outcome.params,
        "responseElements": (
            {"AccessKeyId": result["AccessKeyId"]}
            if "AccessKeyId" in result and not read_only
            else None
        ),
        "additionalEventData": {
            "startedAt": started,
            "endedAt": _iso(outcome.ended),
            "faceModelVersion": result.get("FaceModelVersion"),
            "matches": _matches(result),
            "enrolled": [face["Face"]["FaceId"] for face in result.get("FaceRecords", [])],
            "deleted": result.get("DeletedFaces", []),
        },
    }
    if caller is not None:
        entry["awsRegion"] = caller.region
        entry["recipientAccountId"] = caller.account
        entry["userIdentity"] = {
            "type": "Root" if caller.name == "root" else "IAMUser",
            "arn": caller.arn,
            "accountId": caller.account,
            "accessKeyId": caller.key_id,
            "userName": caller.name,
        }
    if outcome.error is not None:
        entry["errorCode"] = outcome.error.code
        entry["errorMessage"] = str(outcome.error)[:512]
    return entry


def _matches(result: dict[str, Any]) -> list[dict[str, Any]]:
    faces = [
        {"FaceId": match["Face"].get("FaceId"), "Similarity": match["Similarity"]}
        for match in result.get("FaceMatches", [])
    ]
    users = [
        {"UserId": match["User"]["UserId"], "Similarity": match["Similarity"]}
        for match in result.get("UserMatches", [])
    ]
    return faces + users


def _iso(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")
