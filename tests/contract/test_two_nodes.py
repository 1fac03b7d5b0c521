"""Two servers over one PostgreSQL, before an unmodified boto3: what one does the other sees."""

import pytest

import postgres_server
from toys import picture

STORES = ("postgres",)


@pytest.fixture(scope="module")
def pair(serve, tmp_path_factory):
    url = postgres_server.SESSION.enter_context(postgres_server.schema())
    folder = tmp_path_factory.mktemp("shared")
    # Both have the master key and the root key of this folder, as two machines would.
    return [serve(store=url, data=folder).client() for _ in range(2)]


def test_a_face_enrolled_at_one_server_is_found_and_deleted_at_the_other(pair):
    here, there = pair
    here.create_collection(CollectionId="staff")
    (face,) = here.index_faces(
        CollectionId="staff", Image={"Bytes": picture(1)}, ExternalImageId="anna"
    )["FaceRecords"]
    face_id = face["Face"]["FaceId"]

    search = {"CollectionId": "staff", "Image": {"Bytes": picture(1)}}
    for client in pair:
        (match,) = client.search_faces_by_image(**search)["FaceMatches"]
        assert match["Face"]["FaceId"] == face_id

    assert there.delete_faces(CollectionId="staff", FaceIds=[face_id])["DeletedFaces"] == [face_id]
    for client in pair:
        assert client.search_faces_by_image(**search)["FaceMatches"] == []

    for number in range(3):
        here.create_user(CollectionId="staff", UserId=f"user-{number}")
    first = here.list_users(CollectionId="staff", MaxResults=2)
    rest = there.list_users(CollectionId="staff", MaxResults=2, NextToken=first["NextToken"])
    assert len(first["Users"] + rest["Users"]) == 3

    here.delete_collection(CollectionId="staff")
    with pytest.raises(there.exceptions.ResourceNotFoundException):
        there.search_faces_by_image(**search)
