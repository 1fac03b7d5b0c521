"""The OpenAPI document describes what is served."""

import json
import re

import jsonschema_rs
import pytest

from recollect.wire import model, openapi
from wire_stub import ask, endpoint

DOCUMENT = openapi.document("1.2.3", ("/rek",))


def resolved(schema):
    """A schema that stands alone, with the document's components."""
    return schema | {"components": DOCUMENT["components"]}


def test_every_operation_has_its_path():
    assert set(DOCUMENT["paths"]) == {f"/v1/{name}" for name in model.every_operation()}
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert DOCUMENT["servers"] == [{"url": "/rek"}]
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_a_path_says_in_a_sentence_what_it_does_where_that_is_known():
    described = openapi.document("1", summaries={"ListFaces": "List a collection's faces."})

    assert described["paths"]["/v1/ListFaces"]["post"]["summary"] == "List a collection's faces."
    assert described["paths"]["/v1/ListUsers"]["post"]["summary"] == "List users"


def test_every_reference_leads_somewhere():
    names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT))

    assert set(names) == set(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize("name", model.every_operation())
def test_examples_fit_their_schemas_and_answers_their_envelopes(name):
    post = DOCUMENT["paths"][f"/v1/{name}"]["post"]
    content = post["requestBody"]["content"]["application/json"]
    jsonschema_rs.validator_for(resolved(content["schema"])).validate(content["example"])

    app = endpoint()
    try:
        good = ask(app, content["example"], path=f"/v1/{name}")
        bad = ask(app, {"CollectionId": "a b", "ResourceArn": 5}, path=f"/v1/{name}")
    finally:
        app.close()

    success = post["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema_rs.validator_for(resolved(success)).validate(good.json)
    if bad.status == 400:
        failure = post["responses"]["400"]["content"]["application/json"]["schema"]
        jsonschema_rs.validator_for(resolved(failure)).validate(bad.json)


def test_the_schemas_state_the_rules_of_the_model():
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["CollectionId"] == {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": r"^(?:[a-zA-Z0-9_.\-]+)$",
    }
    assert schemas["ImageBlob"] == {
        "type": "string",
        "contentEncoding": "base64",
        "minLength": 4,
        "maxLength": 6_990_508,
    }
    assert schemas["Percent"] == {"type": "number", "minimum": 0, "maximum": 100}
    assert schemas["FaceIdList"]["maxItems"] == 4096
    assert schemas["TagMap"]["maxProperties"] == 200
    assert schemas["SearchFacesRequest"]["required"] == ["CollectionId", "FaceId"]


def test_each_error_stands_under_its_status():
    responses = DOCUMENT["paths"]["/v1/CreateCollection"]["post"]["responses"]

    found = {
        status: set(response["content"]["application/json"].get("examples", ()))
        for status, response in responses.items()
    }
    assert "VALIDATION_ERROR" in found["400"]
    assert "MISSING_AUTHENTICATION_TOKEN" in found["401"]
    assert found["403"] == {"ACCESS_DENIED"}
    assert "RESOURCE_ALREADY_EXISTS" in found["409"]
    assert "THROTTLING" in found["429"]
    assert found["500"] == {"INTERNAL_SERVER_ERROR"}
