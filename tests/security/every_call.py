"""Every operation once, with parameters that a good credential gets 200 for, in a working order."""

import base64
import http.client
import json
import time

from recollect.wire import sigv4
from toys import picture

COLLECTION, USER = "matrix", "anna"


def prepared(client):
    """A collection with two faces and a user of one face; what the calls need of it."""
    client.create_collection(CollectionId=COLLECTION)
    faces = [enrolled(client, person) for person in (1, 2)]
    client.create_user(CollectionId=COLLECTION, UserId=USER)
    client.associate_faces(CollectionId=COLLECTION, UserId=USER, FaceIds=faces[:1])
    arn = client.describe_collection(CollectionId=COLLECTION)["CollectionARN"]
    return arn, faces


def enrolled(client, person):
    answer = client.index_faces(CollectionId=COLLECTION, Image={"Bytes": picture(person)})
    return answer["FaceRecords"][0]["Face"]["FaceId"]


def calls(arn, faces):
    """Operation to parameters, as JSON has them."""
    of, user = {"CollectionId": COLLECTION}, {"CollectionId": COLLECTION, "UserId": USER}
    image = {"Bytes": base64.b64encode(picture(1)).decode()}
    return {
        "CreateCollection": {"CollectionId": "another"},
        "DescribeCollection": of,
        "ListCollections": {},
        "IndexFaces": of | {"Image": {"Bytes": base64.b64encode(picture(3)).decode()}},
        "ListFaces": of,
        "SearchFaces": of | {"FaceId": faces[0]},
        "SearchFacesByImage": of | {"Image": image},
        "DetectFaces": {"Image": image},
        "CompareFaces": {"SourceImage": image, "TargetImage": image},
        "CreateUser": of | {"UserId": "vronsky"},
        "ListUsers": of,
        "AssociateFaces": user | {"FaceIds": faces[1:]},
        "SearchUsers": of | {"FaceId": faces[0]},
        "SearchUsersByImage": of | {"Image": image},
        "DisassociateFaces": user | {"FaceIds": faces[1:]},
        "TagResource": {"ResourceArn": arn, "Tags": {"a": "b"}},
        "ListTagsForResource": {"ResourceArn": arn},
        "UntagResource": {"ResourceArn": arn, "TagKeys": ["a"]},
        "DeleteFaces": of | {"FaceIds": faces[1:]},
        "DeleteUser": user,
        "DeleteCollection": of,
    }


class Request:
    """One call before it is sent: what a credential signs, and what a forger changes."""

    def __init__(self, host, operation, params, dialect):
        self.path, self.query = "/", ""
        self.headers = {"host": host, "content-type": "application/x-amz-json-1.1"}
        if dialect == "aws":
            self.headers["x-amz-target"] = f"RekognitionService.{operation}"
        else:
            self.path, self.headers["content-type"] = f"/v1/{operation}", "application/json"
        self.body = json.dumps(params).encode()

    def sign(self, key_id, secret, *, unsigned=(), at=None, **more):
        """Sign the headers but those named, which are sent all the same."""
        left = {name: self.headers[name] for name in unsigned if name in self.headers}
        signed = {name: v for name, v in self.headers.items() if name not in left}
        self.headers = left | sigv4.sign(
            "POST",
            self.path,
            signed,
            self.body,
            key_id=key_id,
            secret=secret,
            now=time.time() if at is None else at,
            **{"region": "eu-west-1"} | more,
        )
        return self

    def send(self, port):
        """The status and the error's name, "" where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        target = self.path + (f"?{self.query}" if self.query else "")
        connection.putrequest("POST", target, skip_host=True, skip_accept_encoding=True)
        for name, value in (self.headers | {"content-length": str(len(self.body))}).items():
            connection.putheader(name, value)
        connection.endheaders(self.body)
        response = connection.getresponse()
        answer = json.loads(response.read() or b"{}")
        connection.close()
        error = answer.get("__type") or (answer.get("error") or {}).get("code", "")
        return response.status, error
