"""The main job through the AWS SDK for JavaScript v3, from npm.

Installing the SDK takes a while, so this runs in CI, and elsewhere where RECOLLECT_TEST_JAVASCRIPT
is set.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from toys import picture

SDK = "@aws-sdk/client-rekognition@3.1142.0"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (os.environ.get("CI") or os.environ.get("RECOLLECT_TEST_JAVASCRIPT")),
        reason="set RECOLLECT_TEST_JAVASCRIPT to fetch the SDK from npm",
    ),
    pytest.mark.timeout(300),
]

PROGRAM = """
import { readFileSync } from "node:fs";
import * as sdk from "@aws-sdk/client-rekognition";
const client = new sdk.RekognitionClient({ endpoint: process.argv[2], region: "us-east-1" });
const CollectionId = "by-javascript";
const one = { Bytes: readFileSync("one.png") }, none = { Bytes: readFileSync("none.png") };
await client.send(new sdk.CreateCollectionCommand({ CollectionId, Tags: { a: "b" } }));
const described = await client.send(new sdk.DescribeCollectionCommand({ CollectionId }));
const indexed = await client.send(new sdk.IndexFacesCommand({ CollectionId, Image: one }));
await client.send(new sdk.CreateUserCommand({ CollectionId, UserId: "ann" }));
const FaceIds = indexed.FaceRecords.map((record) => record.Face.FaceId);
await client.send(new sdk.AssociateFacesCommand({ CollectionId, UserId: "ann", FaceIds }));
const found = await client.send(new sdk.SearchFacesByImageCommand({ CollectionId, Image: one }));
let refused;
try {
  await client.send(new sdk.SearchFacesByImageCommand({ CollectionId, Image: none }));
} catch (error) {
  refused = [error.name, error instanceof sdk.InvalidParameterException, error.message,
    Boolean(error.$metadata.requestId)];
}
await client.send(new sdk.DeleteCollectionCommand({ CollectionId }));
console.log(JSON.stringify({
  created: described.CreationTimestamp instanceof Date, FaceIds, refused,
  found: found.FaceMatches.map((match) => [match.Face.FaceId, match.Face.UserId]),
}));
"""


@pytest.fixture(scope="module")
def project():
    """A folder with the SDK installed, kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "recollect-tests" / SDK.replace("/", "-")
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"type": "module", "private": true}')
        npm = ["npm", "install", "--no-audit", "--no-fund", "--silent", SDK]
        subprocess.run(npm, cwd=folder, check=True, timeout=240)
    return folder


def test_the_main_job(server, project):
    (project / "program.mjs").write_text(PROGRAM)
    (project / "one.png").write_bytes(picture(1))
    (project / "none.png").write_bytes(picture())
    keys = {
        "AWS_ACCESS_KEY_ID": server.root["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": server.root["SecretAccessKey"],
    }

    done = subprocess.run(
        ["node", "program.mjs", server.url],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project)} | keys,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["created"] is True
    assert said["found"] == [[said["FaceIds"][0], "ann"]]
    assert said["refused"] == [
        "InvalidParameterException",
        True,
        "There are no faces in the image. Should be at least 1.",
        True,
    ]
