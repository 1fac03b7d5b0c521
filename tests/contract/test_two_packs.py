"""Two packs in one server: each collection keeps its own, and no answer crosses."""

import random
from dataclasses import replace

import numpy as np
import pytest

from contract.wire import call, plain
from recollect import app
from recollect.errors import InternalServerError
from recollect.operations.service import Service
from recollect.wire import bearer
from toys import ToyPack, picture

PEOPLE = range(1, 13)


class WiderPack(ToyPack):
    """Another model: more dimensions, and a scale of its own."""

    dimension = 48
    centre = np.zeros(48, np.float32)

    def embed(self, image, faces):
        return [replace(face, template=wide(face.template)) for face in super().embed(image, faces)]

    def similarity(self, score):
        return 100.0 * max(0.0, score) ** 2

    def score(self, similarity):
        return (similarity / 100) ** 0.5 if similarity > 0 else -1.0


def wide(template):
    """The smaller model's vector in front: an index that mixed the two would find it at once."""
    return np.pad(template, (0, 48 - len(template)))


@pytest.fixture(scope="module")
def both(serve):
    return serve({"toy": ToyPack(), "wide": WiderPack("5.0", "wide")}, pack="toy")


@pytest.fixture(scope="module")
def collections(both):
    """Two collections of each pack, each with all people; FaceIds by collection."""
    key = both.key(
        {"Effect": "Allow", "Action": "rekognition:*", "Resource": "*"}, name="all", bearer_key=True
    )
    both.token = bearer.token(key.key_id, key.secret)
    client = both.client()
    ids = {}
    for number, pack in enumerate(("toy", "wide", "toy", "wide")):
        name = f"{pack}-{number}"
        status, envelope = plain(
            both, "CreateCollection", {"CollectionId": name, "Pack": pack}, both.token
        )
        assert status == 200
        assert envelope["data"]["FaceModelVersion"] == {"toy": "4.0", "wide": "5.0"}[pack]
        ids[name] = {}
    pairs = [(name, person) for name in ids for person in PEOPLE]
    random.Random(3).shuffle(pairs)
    for name, person in pairs:
        (record,) = client.index_faces(
            CollectionId=name, Image={"Bytes": picture(person)}, ExternalImageId=str(person)
        )["FaceRecords"]
        ids[name][person] = record["Face"]["FaceId"]
    return ids


def test_no_answer_crosses_packs(both, collections):
    client = both.client()
    strays = answers = 0
    for name, ids in collections.items():
        for person in PEOPLE:
            by_image = client.search_faces_by_image(
                CollectionId=name, Image={"Bytes": picture(person)}, FaceMatchThreshold=0
            )
            by_face = client.search_faces(
                CollectionId=name, FaceId=ids[person], FaceMatchThreshold=0
            )
            for answer in (by_image, by_face):
                found = {match["Face"]["FaceId"] for match in answer["FaceMatches"]}
                strays += len(found - set(ids.values()))
                answers += len(found)
                assert answer["FaceModelVersion"] == {"t": "4.0", "w": "5.0"}[name[0]]
            assert by_image["FaceMatches"][0]["Face"]["ExternalImageId"] == str(person)
    assert (strays, answers > 500) == (0, True)


def test_each_pack_s_scale_is_its_own(both, collections):
    client = both.client()
    first, second = (
        {
            match["Face"]["ExternalImageId"]: match["Similarity"]
            for match in client.search_faces_by_image(
                CollectionId=name, Image={"Bytes": picture(1)}, FaceMatchThreshold=0
            )["FaceMatches"]
        }
        for name in ("toy-0", "wide-1")
    )
    for person in first.keys() & second.keys():
        assert second[person] == pytest.approx(first[person] ** 2 / 100, abs=0.01)


def test_a_collection_keeps_its_pack_when_the_default_changes(both, collections):
    client = both.client()
    assert client.create_collection(CollectionId="later")["FaceModelVersion"] == "4.0"
    assert client.describe_collection(CollectionId="wide-1")["FaceModelVersion"] == "5.0"

    settings = replace(both.server.settings, pack="wide")
    assert app._default_pack(settings, both.server.packs) == "wide"


def test_a_pack_that_is_not_here_is_refused_with_those_that_are(both, collections):
    status, envelope = plain(
        both, "CreateCollection", {"CollectionId": "x", "Pack": "absent"}, both.token
    )
    assert status == 400
    assert "there are: toy, wide" in envelope["error"]["message"]


def test_the_aws_dialect_takes_the_default_whatever_it_is_told(both, collections):
    client = both.client()
    status, _ = call(both, "CreateCollection", {"CollectionId": "aws", "Pack": "wide"})
    assert status == 200
    assert client.describe_collection(CollectionId="aws")["FaceModelVersion"] == "4.0"


def test_a_collection_whose_pack_is_not_loaded_is_never_answered_by_another(both, collections):
    parts = both.server
    service = Service(
        type("Parts", (), {"packs": {"toy": ToyPack()}, "store": parts.store})(), "123456789012", ""
    )
    with pytest.raises(InternalServerError, match="wide"):
        service.pack(parts.store.collection("123456789012", "wide-1"))
