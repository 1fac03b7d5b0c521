"""Backup, restore, check, audit and subject as a person runs them, beside a running server."""

import json

import pytest

from contract.test_command_line import data, recollect
from toys import picture

__all__ = ["data"]


def enrol(rekognition, collection, person, name):
    answer = rekognition.index_faces(
        CollectionId=collection, Image={"Bytes": picture(person)}, ExternalImageId=name
    )
    return answer["FaceRecords"][0]["Face"]["FaceId"]


@pytest.mark.embedded
def test_a_backup_is_restored_without_what_was_deleted_since(serve, tmp_path):
    server = serve()
    client, folder = server.client(), server.server.settings.data
    client.create_collection(CollectionId="kept")
    client.create_collection(CollectionId="dropped")
    stays, goes = enrol(client, "kept", 1, "stays"), enrol(client, "kept", 2, "goes")
    first = recollect("backup", tmp_path / "copies", "--data", folder).strip()
    client.delete_faces(CollectionId="kept", FaceIds=[goes])
    client.delete_collection(CollectionId="dropped")
    recollect("backup", tmp_path / "copies", "--data", folder)

    refused = recollect("restore", first, "--data", tmp_path / "new", code=2)
    (tmp_path / "new").mkdir(exist_ok=True)
    key = tmp_path / "new" / "master.key"
    key.write_bytes((folder / "master.key").read_bytes())
    key.chmod(0o600)
    restored = json.loads(recollect("restore", first, "--data", tmp_path / "new", "--json"))
    credentials = "root-credentials.json"
    (tmp_path / "new" / credentials).write_bytes((folder / credentials).read_bytes())
    again = serve(data=tmp_path / "new")

    assert "master key" in refused
    assert (restored["collections"], restored["faces"]) == (1, 1)
    client = again.client(server.root["AccessKeyId"], server.root["SecretAccessKey"])
    (face,) = client.list_faces(CollectionId="kept")["Faces"]
    assert face["FaceId"] == stays
    assert client.search_faces_by_image(CollectionId="kept", Image={"Bytes": picture(1)})[
        "FaceMatches"
    ]


def test_check_reads_everything_and_the_chain_is_whole(rekognition, collection, data):
    enrol(rekognition, collection, 1, "a")

    checked = json.loads(recollect("check", "--data", data, "--json"))

    assert checked["faces"] >= 1
    assert checked["damages"] == []
    assert "none altered, none missing" in recollect("audit", "verify", "--data", data)


def test_every_call_is_in_the_audit_log_without_picture_or_secret(
    server, rekognition, collection, data, tmp_path
):
    face = enrol(rekognition, collection, 1, "a")
    rekognition.search_faces_by_image(
        CollectionId=collection, Image={"Bytes": picture(1)}, FaceMatchThreshold=90
    )

    entry = json.loads(recollect("audit", "tail", "-n", 1, "--data", data, "--json"))
    recollect("audit", "export", tmp_path / "log", "--data", data)

    assert entry["eventName"] == "SearchFacesByImage"
    assert entry["userIdentity"]["arn"] == "arn:aws:iam::123456789012:root"
    assert entry["requestParameters"]["CollectionId"] == collection
    assert entry["requestParameters"]["FaceMatchThreshold"] == 90
    assert set(entry["requestParameters"]["Image"]["Bytes"]) == {"sha256", "bytes"}
    (match,) = entry["additionalEventData"]["matches"]
    assert match["FaceId"] == face
    assert match["Similarity"] > 99
    log = (tmp_path / "log").read_text()
    assert server.root["SecretAccessKey"] not in log


def test_a_person_is_exported_and_erased_everywhere(rekognition, collection, data):
    other = collection + "-2"
    rekognition.create_collection(CollectionId=other)
    here, there = enrol(rekognition, collection, 1, "ann"), enrol(rekognition, other, 1, "ann")
    stays = enrol(rekognition, collection, 2, "bob")
    rekognition.create_user(CollectionId=collection, UserId="u")
    rekognition.associate_faces(CollectionId=collection, UserId="u", FaceIds=[here])
    who = ("--external-image-id", "ann", "--data", data)

    exported = json.loads(recollect("subject", "export", *who))
    asked = recollect("subject", "erase", *who, code=2)
    recollect("subject", "erase", *who, "--yes")
    of_user = json.loads(recollect("subject", "export", "--user-id", "u", "--data", data))

    found = {face["FaceId"] for entry in exported for face in entry["Faces"]}
    assert found == {here, there}
    assert "--yes" in asked
    assert json.loads(recollect("subject", "export", *who)) == []
    left = rekognition.list_faces(CollectionId=collection)["Faces"]
    assert [face["FaceId"] for face in left] == [stays]
    assert [entry["Users"] for entry in of_user] == [["u"]]
    rekognition.delete_collection(CollectionId=other)


def test_doctor_looks_at_everything_a_server_needs(tmp_path):
    rows = json.loads(
        recollect("doctor", "--data", tmp_path, "--json", RECOLLECT_PORT="0", code=None)
    )

    assert {row["check"] for row in rows} == {
        "machine",
        "index",
        "models",
        "data folder",
        "store",
        "pictures in S3",
        "clock",
        "port",
    }
    assert all(row["found"] for row in rows)
