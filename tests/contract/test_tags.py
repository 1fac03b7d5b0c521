"""TagResource, UntagResource, ListTagsForResource."""

import pytest

from contract.broken import refusal


@pytest.fixture
def arn(rekognition, collection):
    return rekognition.describe_collection(CollectionId=collection)["CollectionARN"]


def tags(rekognition, arn):
    return rekognition.list_tags_for_resource(ResourceArn=arn)["Tags"]


def test_tags_are_set_overwritten_and_removed(rekognition, arn):
    assert tags(rekognition, arn) == {}
    rekognition.tag_resource(ResourceArn=arn, Tags={"team": "a", "Größe": "x + y = z"})
    rekognition.tag_resource(ResourceArn=arn, Tags={"team": "b", "empty": ""})
    assert tags(rekognition, arn) == {"team": "b", "Größe": "x + y = z", "empty": ""}
    rekognition.untag_resource(ResourceArn=arn, TagKeys=["team", "never-set"])
    assert tags(rekognition, arn) == {"Größe": "x + y = z", "empty": ""}


def test_the_form_without_arn_is_understood_too(rekognition, arn):
    rekognition.tag_resource(ResourceArn=arn.removeprefix("arn:"), Tags={"a": "b"})

    assert tags(rekognition, arn) == {"a": "b"}


def test_tags_given_at_creation_are_there(rekognition):
    made = rekognition.create_collection(CollectionId="tagged", Tags={"a": "b"})

    assert tags(rekognition, made["CollectionArn"]) == {"a": "b"}
    rekognition.delete_collection(CollectionId="tagged")


def test_a_resource_has_a_bounded_number_of_tags(rekognition, arn):
    rekognition.tag_resource(ResourceArn=arn, Tags={f"k{n}": "v" for n in range(50)})

    error = refusal(rekognition.tag_resource, ResourceArn=arn, Tags={"one-more": "v"})

    assert error["Code"] == "ServiceQuotaExceededException"
    assert len(tags(rekognition, arn)) == 50


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("tag_resource", {"Tags": {"a": "b"}}),
        ("untag_resource", {"TagKeys": ["a"]}),
        ("list_tags_for_resource", {}),
    ],
)
@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (
            "arn:aws:rekognition:eu-west-1:123456789012:collection/nobody",
            "ResourceNotFoundException",
        ),
        ("arn:aws:rekognition:eu-west-1:123456789012:project/x", "ResourceNotFoundException"),
        ("arn:aws:rekognition:eu-west-1:999999999999:collection/x", "AccessDeniedException"),
        ("short", "ValidationException"),
        ("a" * 2049, "ValidationException"),
    ],
)
def test_what_is_no_resource_of_ours_is_refused(rekognition, operation, more, resource, code):
    error = refusal(getattr(rekognition, operation), ResourceArn=resource, **more)

    assert error["Code"] == code


@pytest.mark.parametrize(
    "wrong", [{"aws:mine": "x"}, {"k" * 129: "x"}, {"k": "v" * 257}, {"k": "a<b"}]
)
def test_a_tag_that_breaks_a_rule_is_refused(rekognition, arn, wrong):
    error = refusal(rekognition.tag_resource, ResourceArn=arn, Tags=wrong)

    assert error["Code"] == "ValidationException"
