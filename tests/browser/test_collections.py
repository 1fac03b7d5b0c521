"""Collections, their faces, users and tags: made, listed, changed, deleted."""

import pytest

from browser.console_stub import Refusal
from browser.visitor import arrive


@pytest.fixture
def staffed(stub):
    """Forty-five faces and two users."""
    for number in range(45):
        stub.op_IndexFaces({"CollectionId": "staff", "ExternalImageId": f"face-{number:02}"})
    stub.users["staff"] += ["collins", "hopper"]
    return stub


def test_a_collection_is_made_listed_with_its_figures_and_deleted_by_its_name(page, staffed):
    arrive(page, staffed.url)
    row = page.get_by_role("row", name="staff")
    row.get_by_role("cell", name="45", exact=True).wait_for()
    assert row.get_by_role("cell", name="4.0, stub").is_visible()

    page.get_by_label("Name of a collection").fill("new.one")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("heading", name="new.one").wait_for()
    page.get_by_role("link", name="Collections").first.click()

    page.get_by_role("button", name="Delete new.one").click()
    confirm = page.get_by_role("button", name="Delete the collection")
    assert confirm.is_disabled()
    page.get_by_label("Type new.one to confirm").fill("new")
    assert confirm.is_disabled()
    page.keyboard.press("Escape")
    assert "new.one" in staffed.faces

    page.get_by_role("button", name="Delete new.one").click()
    page.get_by_label("Type new.one to confirm").fill("new.one")
    confirm.click()
    page.get_by_text("Deleted new.one.").wait_for()
    assert "new.one" not in staffed.faces


def test_without_a_collection_the_page_says_what_to_do(page, stub):
    stub.faces.clear()
    arrive(page, stub.url)

    page.get_by_text("There is no collection yet.").wait_for()


def test_an_error_shows_code_message_request_id_and_what_to_do(page, stub):
    arrive(page, stub.url)
    page.get_by_label("Name of a collection").fill("staff")
    page.get_by_role("button", name="Create").click()

    alert = page.get_by_role("alert")
    alert.wait_for()
    text = alert.inner_text()
    assert "The collection id already exists" in text
    assert "Choose another name, or open the one that exists." in text
    assert "ResourceAlreadyExistsException from CreateCollection, request" in text


def test_a_page_of_something_that_is_gone_says_so(page, stub):
    arrive(page, stub.url, path="collections/nobody")

    page.get_by_text("Collection:nobody not found!").wait_for()
    page.goto(f"{stub.url}#/nowhere")
    page.get_by_role("heading", name="There is no such page").wait_for()


def test_faces_are_listed_page_by_page_and_deleted(page, staffed):
    arrive(page, staffed.url, path="collections/staff/faces")
    rows = page.locator("tbody tr")
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("Page 2").wait_for()
    page.get_by_role("button", name="Next page").click()
    page.get_by_text("Page 3").wait_for()
    assert rows.count() == 5
    page.get_by_role("button", name="Previous page").click()
    page.get_by_text("Page 2").wait_for()

    page.get_by_label("Choose every face of this page").check()
    assert page.get_by_text("20 faces chosen").is_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()

    page.get_by_text("Deleted 20 faces.").wait_for()
    page.get_by_text("25 faces · 2 users").wait_for()


def test_a_face_of_a_user_is_not_deleted_and_the_page_says_why(page, staffed):
    staffed.faces["staff"] = staffed.faces["staff"][:1]
    staffed.faces["staff"][0]["UserId"] = "collins"
    arrive(page, staffed.url, path="collections/staff/faces")
    page.get_by_label("Choose every face of this page").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()

    page.get_by_text("belongs to the user collins. Disassociate it first.").wait_for()
    assert len(staffed.faces["staff"]) == 1


def test_a_user_is_made_gets_faces_loses_them_and_is_deleted(page, staffed):
    arrive(page, staffed.url, path="collections/staff/users")
    page.get_by_label("Name of a new user").fill("ride")
    page.get_by_role("button", name="Create").click()
    page.get_by_text("This user has no face yet").wait_for()

    page.get_by_role("button", name="Add faces").click()
    dialog = page.get_by_role("dialog")
    for number in range(2):
        dialog.locator("tbody input").nth(number).check()
    dialog.get_by_role("button", name="Take 2 faces").click()
    page.get_by_label("UserMatchThreshold").fill("60")
    page.get_by_role("button", name="Associate", exact=True).click()
    page.get_by_text("2 faces associated.").wait_for()
    page.get_by_role("button", name="Close").click()
    rows = page.locator("tbody tr")
    rows.nth(1).wait_for()
    assert dict(staffed.calls)["AssociateFaces"]["UserMatchThreshold"] == 60
    assert dict(staffed.calls)["AssociateFaces"]["ClientRequestToken"]

    rows.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Disassociate the chosen").click()
    page.get_by_text("Disassociated 1 face.").wait_for()
    assert sum(face.get("UserId") == "ride" for face in staffed.faces["staff"]) == 1

    page.get_by_role("button", name="Find similar users").click()
    page.get_by_role("dialog").get_by_role("link", name="hopper").wait_for()
    page.get_by_role("button", name="Close").click()

    page.get_by_role("button", name="Delete the user").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the user").click()
    page.get_by_text("Deleted ride.").wait_for()
    assert staffed.users["staff"] == ["collins", "hopper"]


def test_a_refused_association_says_why(page, staffed):
    faces = sorted(face["FaceId"] for face in staffed.faces["staff"])[:3]
    staffed.answers["AssociateFaces"] = lambda params: {
        "AssociatedFaces": [],
        "UnsuccessfulFaceAssociations": [
            {"FaceId": faces[0], "Confidence": 41.5, "Reasons": ["LOW_MATCH_CONFIDENCE"]},
            {
                "FaceId": faces[1],
                "UserId": "hopper",
                "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"],
            },
            {"FaceId": faces[2], "Reasons": ["FACE_NOT_FOUND"]},
        ],
        "UserStatus": "CREATED",
    }
    arrive(page, staffed.url, path="collections/staff/faces")
    for number in range(3):
        page.locator("tbody input").nth(number).check()
    page.get_by_role("button", name="Associate with a user").click()
    page.get_by_label("User", exact=True).fill("collins")
    page.get_by_role("button", name="Associate", exact=True).click()

    dialog = page.get_by_role("dialog")
    dialog.get_by_text(f"{faces[0]} resembles the user by 41.5 only.").wait_for()
    assert dialog.get_by_text(f"{faces[1]} belongs to hopper.").is_visible()
    assert dialog.get_by_text(f"{faces[2]} is not in this collection any more.").is_visible()


def test_look_alikes_of_a_face_are_found_from_the_list(page, staffed):
    arrive(page, staffed.url, path="collections/staff/faces")
    page.get_by_role("button", name="Find similar to").first.click()

    page.get_by_role("dialog").get_by_text("3 faces at 80 or more.").wait_for()
    assert dict(staffed.calls)["SearchFaces"]["FaceMatchThreshold"] == 0


def test_tags_are_set_and_removed(page, stub):
    arrive(page, stub.url, path="collections/staff/details")
    page.get_by_text("It has no tags.").wait_for()
    page.get_by_label("Key").fill("team")
    page.get_by_label("Value").fill("door")
    page.get_by_role("button", name="Set the tag").click()
    page.get_by_role("row", name="team door").wait_for()
    assert stub.tags == {"team": "door"}

    page.get_by_role("button", name="Remove the tag team").click()
    page.get_by_text("It has no tags.").wait_for()
    assert stub.tags == {}


def test_a_page_that_is_left_stops_asking(page, staffed):
    """Answers that come late must not be drawn over another page."""

    def refuse(params):
        raise Refusal("InternalServerError", "broken", status=500)

    staffed.answers["ListFaces"] = refuse
    arrive(page, staffed.url, path="collections/staff/faces")
    page.get_by_role("link", name="Users").click()

    page.get_by_role("link", name="hopper").wait_for()
    assert not page.get_by_text("broken").is_visible()
