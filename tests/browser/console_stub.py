"""A server of canned answers behind the console: it says what a test wants to see shown."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from recollect.wire import model

CONSOLE = Path(__file__).parents[2] / "src" / "recollect" / "console"
KEY_ID, SECRET = "AKIDSTUB", "a secret/with+signs"
BEARER = f"recollect.{KEY_ID}.{SECRET.replace(' ', '')}"
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
ABOUT = {
    "version": "0.0-stub",
    "default": "4.0",
    "packs": {
        "4.0": {
            "name": "stub",
            "anchors": [
                {"similarity": 10, "fmr": 0.5},
                {"similarity": 50, "fmr": 1e-2},
                {"similarity": 67, "fmr": 1e-3},
                {"similarity": 80, "fmr": 1e-4},
                {"similarity": 92, "fmr": 1e-5},
                {"similarity": 99, "fmr": 1e-6},
            ],
        }
    },
}
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "rekognition:*", "Resource": "*"}],
    }
)
BOX = {"Left": 0.36, "Top": 0.13, "Width": 0.17, "Height": 0.24}


class Refusal(Exception):
    """An error answer: code and message."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def botocore_signature(
    method: str, url: str, headers: dict[str, str], body: bytes, region: str, secret: str = SECRET
) -> str:
    """The signature botocore makes of a request with these signed headers."""
    request = AWSRequest(method, url, headers=headers, data=body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(KEY_ID, secret), "rekognition", region)
    canonical = auth.canonical_request(request)
    return str(auth.signature(auth.string_to_sign(request, canonical), request))


def face_detail(box: dict[str, float] = BOX) -> dict[str, Any]:
    return {
        "BoundingBox": box,
        "Confidence": 99.87,
        "Pose": {"Yaw": 7.1, "Pitch": -3.4, "Roll": 1.2},
        "Quality": {"Brightness": 71.3, "Sharpness": 88.2},
    }


def audit_record(number: int) -> dict[str, Any]:
    return {
        "Sequence": number,
        "Entry": {
            "eventTime": f"2025-06-15T12:00:0{number}Z",
            "eventName": "SearchFacesByImage",
            "userIdentity": {"userName": "kiosk"},
            "sourceIPAddress": "192.0.2.7",
            "requestParameters": {"CollectionId": "staff"},
            "additionalEventData": {"matches": [{"FaceId": "f", "Similarity": 99.1}]},
        },
    }


class Stub:
    """The server; `answers` may be replaced operation by operation."""

    def __init__(self, prefix: str = "/") -> None:
        self.prefix = prefix
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faces: dict[str, list[dict[str, Any]]] = {}
        self.users: dict[str, list[str]] = {}
        self.tags: dict[str, str] = {}
        self.administration = sorted(model.administration().operations)
        self.keys = [
            {
                "AccessKeyId": key_id,
                "UserName": name,
                "Kind": "SIGV4",
                "Status": "Active",
                "CreateDate": 1_750_000_000.5,
                "PolicyCount": 1,
            }
            for key_id, name in [(KEY_ID, "stub"), ("AKIAROOT", "root")]
        ]
        self.policies = {KEY_ID: [POLICY], "AKIAROOT": [POLICY]}
        self.records = [audit_record(number) for number in range(5, 0, -1)]
        self.answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            name.removeprefix("op_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("op_")
        }
        self.about: dict[str, Any] | None = ABOUT
        self.clock_s = time.time
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(*stub.file(self.path), {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                sent = {name.lower(): value for name, value in self.headers.items()}
                status, answer = stub.answer(self.path, sent, body)
                request_id = str(uuid.uuid4())
                self.reply(
                    status,
                    "application/x-amz-json-1.1",
                    json.dumps(answer).encode(),
                    {"x-amzn-RequestId": request_id},
                )

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(timestamp or stub.clock_s())

            def reply(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-security-policy", CONTENT_SECURITY_POLICY)
                self.send_header("x-content-type-options", "nosniff")
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.origin}{self.prefix}console/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def file(self, path: str) -> tuple[int, str, bytes]:
        name = path.partition("?")[0].removeprefix(f"{self.prefix}console/") or "index.html"
        if name == "about.json" and self.about is not None:
            return 200, "application/json", json.dumps(self.about).encode()
        found = CONSOLE / name
        if path.startswith(f"{self.prefix}console/") and found.is_file():
            return 200, TYPES[found.suffix], found.read_bytes()
        return 404, "text/plain", b"not here"

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        service, _, operation = headers.get("x-amz-target", "").partition(".")
        try:
            if path != self.prefix:
                raise Refusal("UnknownOperationException", f"no path {path}")
            self.authenticate(path, headers, body)
            ours = operation in model.administration().operations
            if service != ("Recollect" if ours else "RekognitionService"):
                raise Refusal("UnknownOperationException", f"{service} has no {operation}")
            params = json.loads(body)
            self.calls.append((operation, params))
            return 200, self.answers[operation](params)
        except Refusal as error:
            return error.status, {"__type": error.code, "message": str(error)}

    def authenticate(self, path: str, headers: dict[str, str], body: bytes) -> None:
        given = headers.get("authorization", "")
        if given == f"Bearer {BEARER}":
            return
        scheme, _, fields = given.partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        stated = dict(field.split("=", 1) for field in fields.split(", "))
        key_id, day, region, _, _ = stated["Credential"].split("/")
        if key_id != KEY_ID:
            raise Refusal("UnrecognizedClientException", "The security token is invalid.")
        signed = {name: headers[name] for name in stated["SignedHeaders"].split(";")}
        assert headers["x-amz-date"].startswith(day)
        expected = botocore_signature("POST", f"{self.origin}{path}", signed, body, region)
        skew_s = abs(
            time.mktime(time.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
            - time.mktime(time.gmtime(self.clock_s()))
        )
        if stated["Signature"] != expected or skew_s > 300:
            raise Refusal("InvalidSignatureException", "The request signature does not match.")

    # Canned answers, one an operation; a test replaces what it looks at.

    def op_GetCaller(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "Account": "000000000000",
            "Arn": "arn:aws:iam::000000000000:user/stub",
            "UserName": "stub",
            "AccessKeyId": KEY_ID,
            "Administration": self.administration,
        }

    def op_ListAccessKeys(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"AccessKeys": self.keys}

    def op_CreateAccessKey(self, params: dict[str, Any]) -> dict[str, Any]:
        key_id = f"AKIA{len(self.keys):016}"
        made = {"AccessKeyId": key_id, "UserName": params["UserName"], "Kind": params["Kind"]}
        self.keys.append(
            made | {"Status": "Active", "CreateDate": 1_750_000_000.5, "PolicyCount": 1}
        )
        self.policies[key_id] = params["Policies"]
        if params["Kind"] == "BEARER":
            return made | {"BearerToken": f"recollect.{key_id}.shown-once"}
        return made | {"SecretAccessKey": "shown-once"}

    def op_UpdateAccessKey(self, params: dict[str, Any]) -> dict[str, Any]:
        self.key(params)["Status"] = params["Status"]
        return {}

    def op_DeleteAccessKey(self, params: dict[str, Any]) -> dict[str, Any]:
        self.keys.remove(self.key(params))
        return {}

    def op_GetPolicies(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"Policies": self.policies[params["AccessKeyId"]]}

    def op_PutPolicies(self, params: dict[str, Any]) -> dict[str, Any]:
        self.policies[params["AccessKeyId"]] = params["Policies"]
        return {}

    def op_ReadAudit(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"Records": self.records}

    def key(self, params: dict[str, Any]) -> dict[str, Any]:
        """The key that a call names."""
        (found,) = [key for key in self.keys if key["AccessKeyId"] == params["AccessKeyId"]]
        return found

    def op_ListCollections(self, params: dict[str, Any]) -> dict[str, Any]:
        names = sorted(self.faces)
        return {"CollectionIds": names, "FaceModelVersions": ["4.0"] * len(names)}

    def op_CreateCollection(self, params: dict[str, Any]) -> dict[str, Any]:
        if params["CollectionId"] in self.faces:
            raise Refusal("ResourceAlreadyExistsException", "The collection id already exists")
        self.faces[params["CollectionId"]] = []
        self.users[params["CollectionId"]] = []
        return {"StatusCode": 200, "FaceModelVersion": "4.0"}

    def op_DeleteCollection(self, params: dict[str, Any]) -> dict[str, Any]:
        del self.faces[params["CollectionId"]]
        return {"StatusCode": 200}

    def op_DescribeCollection(self, params: dict[str, Any]) -> dict[str, Any]:
        name = params["CollectionId"]
        if name not in self.faces:
            raise Refusal("ResourceNotFoundException", f"Collection:{name} not found!")
        return {
            "FaceCount": len(self.faces[name]),
            "UserCount": len(self.users[name]),
            "FaceModelVersion": "4.0",
            "CollectionARN": f"arn:aws:rekognition:us-east-1:000000000000:collection/{name}",
            "CreationTimestamp": 1_750_000_000.5,
        }

    def op_ListTagsForResource(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": self.tags}

    def op_TagResource(self, params: dict[str, Any]) -> dict[str, Any]:
        self.tags |= params["Tags"]
        return {}

    def op_UntagResource(self, params: dict[str, Any]) -> dict[str, Any]:
        for key in params["TagKeys"]:
            self.tags.pop(key, None)
        return {}

    def op_DetectFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"FaceDetails": [face_detail()]}

    def op_IndexFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        digest = hashlib.sha256(json.dumps(params).encode()).hexdigest()
        face = {
            "FaceId": str(uuid.UUID(digest[:32])),
            "ImageId": str(uuid.UUID(digest[32:])),
            "ExternalImageId": params.get("ExternalImageId"),
            "BoundingBox": BOX,
            "Confidence": 99.87,
        }
        if face not in self.faces[params["CollectionId"]]:
            self.faces[params["CollectionId"]].append(face)
        return {
            "FaceRecords": [{"Face": face, "FaceDetail": face_detail()}],
            "UnindexedFaces": [],
            "FaceModelVersion": "4.0",
        }

    def op_ListFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        faces = sorted(self.faces[params["CollectionId"]], key=lambda face: face["FaceId"])
        if "UserId" in params:
            faces = [face for face in faces if face.get("UserId") == params["UserId"]]
        start = int(params.get("NextToken", 0))
        end = start + params["MaxResults"]
        answer: dict[str, Any] = {"Faces": faces[start:end], "FaceModelVersion": "4.0"}
        if end < len(faces):
            answer["NextToken"] = str(end)
        return answer

    def op_DeleteFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        faces = self.faces[params["CollectionId"]]
        wanted = [face for face in faces if face["FaceId"] in params["FaceIds"]]
        gone = [face for face in wanted if not face.get("UserId")]
        self.faces[params["CollectionId"]] = [face for face in faces if face not in gone]
        return {
            "DeletedFaces": [face["FaceId"] for face in gone],
            "UnsuccessfulFaceDeletions": [
                {
                    "FaceId": face["FaceId"],
                    "UserId": face["UserId"],
                    "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"],
                }
                for face in wanted
                if face.get("UserId")
            ],
        }

    def op_SearchFacesByImage(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "SearchedFaceBoundingBox": BOX,
            "SearchedFaceConfidence": 99.87,
            "FaceMatches": self.matches(params["CollectionId"])[: params["MaxFaces"]],
            "FaceModelVersion": "4.0",
        }

    def op_SearchFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"FaceMatches": self.matches(params["CollectionId"]), "FaceModelVersion": "4.0"}

    def matches(self, name: str) -> list[dict[str, Any]]:
        """Every face of the collection: 99.9, then 8 less each."""
        return [
            {"Similarity": max(0.0, 99.9 - 8 * rank), "Face": face}
            for rank, face in enumerate(self.faces[name])
        ]

    def op_CompareFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "SourceImageFace": {"BoundingBox": BOX, "Confidence": 99.87},
            "FaceMatches": [{"Similarity": 93.4, "Face": face_detail()}],
            "UnmatchedFaces": [],
        }

    def op_CreateUser(self, params: dict[str, Any]) -> dict[str, Any]:
        self.users[params["CollectionId"]].append(params["UserId"])
        return {}

    def op_DeleteUser(self, params: dict[str, Any]) -> dict[str, Any]:
        self.users[params["CollectionId"]].remove(params["UserId"])
        return {}

    def op_ListUsers(self, params: dict[str, Any]) -> dict[str, Any]:
        owners = {face.get("UserId") for face in self.faces[params["CollectionId"]]}
        return {
            "Users": [
                {"UserId": user, "UserStatus": "ACTIVE" if user in owners else "CREATED"}
                for user in self.users[params["CollectionId"]]
            ]
        }

    def op_AssociateFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        for face in self.faces[params["CollectionId"]]:
            if face["FaceId"] in params["FaceIds"]:
                face["UserId"] = params["UserId"]
        return {
            "AssociatedFaces": [{"FaceId": face_id} for face_id in params["FaceIds"]],
            "UnsuccessfulFaceAssociations": [],
            "UserStatus": "ACTIVE",
        }

    def op_DisassociateFaces(self, params: dict[str, Any]) -> dict[str, Any]:
        for face in self.faces[params["CollectionId"]]:
            if face["FaceId"] in params["FaceIds"]:
                del face["UserId"]
        return {
            "DisassociatedFaces": [{"FaceId": face_id} for face_id in params["FaceIds"]],
            "UnsuccessfulFaceDisassociations": [],
            "UserStatus": "CREATED",
        }

    def op_SearchUsersByImage(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "SearchedFace": {"FaceDetail": face_detail()},
            "UnsearchedFaces": [],
            "UserMatches": self.user_matches(params["CollectionId"]),
            "FaceModelVersion": "4.0",
        }

    def op_SearchUsers(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "UserMatches": self.user_matches(params["CollectionId"]),
            "FaceModelVersion": "4.0",
        }

    def user_matches(self, name: str) -> list[dict[str, Any]]:
        return [
            {"Similarity": 96.2, "User": {"UserId": user, "UserStatus": "ACTIVE"}}
            for user in self.users[name]
        ]
