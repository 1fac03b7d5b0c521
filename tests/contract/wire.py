"""One call as bytes or in plain JSON, for what boto3 would tidy up or does not speak."""

import json
import urllib.error
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def call(server, operation, params, headers=None, path="/", body=None):
    """Status and body of a signed call; `params` is any JSON, or `body` any bytes."""
    data = json.dumps(params).encode() if body is None else body
    request = AWSRequest(
        "POST",
        server.url + path,
        data=data,
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"RekognitionService.{operation}",
        }
        | (headers or {}),
    )
    root = Credentials(server.root["AccessKeyId"], server.root["SecretAccessKey"])
    SigV4Auth(root, "rekognition", "eu-west-1").add_auth(request)
    sent = urllib.request.Request(
        request.url, data=data, headers=dict(request.headers.items()), method="POST"
    )
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def plain(server, operation, params, bearer=None):
    """Status and envelope of one call, with a bearer token where one is given."""
    headers = {"content-type": "application/json"}
    if bearer is not None:
        headers["authorization"] = f"Bearer {bearer}"
    request = urllib.request.Request(
        f"{server.url}/v1/{operation}", json.dumps(params).encode(), headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
