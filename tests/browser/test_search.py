"""Searching with a picture: how it comes in, what is drawn, how the threshold filters."""

import json
from base64 import b64encode

import cv2
import numpy as np
import pytest

from browser.console_stub import BOX, Refusal, face_detail
from browser.visitor import arrive, drop

ROWS = "ol.matches > li"


@pytest.fixture
def searched(page, stub, astronaut):
    """The page of a collection with six faces, after a search."""
    for number in range(6):
        stub.op_IndexFaces({"CollectionId": "staff", "ExternalImageId": f"face-{number}"})
    arrive(page, stub.url, path="collections/staff")
    page.locator("input[type=file]").set_input_files(astronaut)
    page.get_by_text("3 faces at 80 or more").wait_for()
    return page


def set_threshold(page, value):
    page.get_by_label("Threshold as a number").fill(str(value))


def test_a_picture_is_searched_once_and_the_slider_filters_in_the_page(searched, stub):
    before = len(stub.calls)

    set_threshold(searched, 60)
    assert searched.locator(ROWS).count() == 5
    set_threshold(searched, 75.9)
    assert searched.locator(ROWS).count() == 4
    set_threshold(searched, 99.5)
    assert searched.locator(ROWS).count() == 1
    assert searched.get_by_text("The closest below has 91.9.").is_visible()
    set_threshold(searched, 100)
    assert searched.get_by_text("Nobody reaches 100.").is_visible()

    assert len(stub.calls) == before
    search = dict(stub.calls)["SearchFacesByImage"]
    assert search["FaceMatchThreshold"] == 0


def test_the_slider_moves_by_keyboard_and_says_what_it_means(searched):
    slider = searched.get_by_label("Threshold of Similarity")
    slider.focus()
    searched.keyboard.press("End")

    meaning = searched.locator(".meaning")
    assert "Less than 1 in 1,000,000 comparisons" in meaning.inner_text()
    assert searched.get_by_label("Threshold as a number").input_value() == "100"
    searched.keyboard.press("Home")
    assert "More than 1 in 2 comparisons" in meaning.inner_text()
    searched.get_by_role("button", name="Set the threshold to").click()
    assert "About" in meaning.inner_text()
    assert meaning.get_attribute("class") == "meaning good"


def test_a_match_shows_its_similarity_names_and_a_copy_button(open_page, stub, astronaut):
    stub.op_IndexFaces({"CollectionId": "staff", "ExternalImageId": "badge:7"})
    face = stub.faces["staff"][0]
    face["UserId"] = "collins"
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    arrive(page, stub.url, path="collections/staff")
    page.locator("input[type=file]").set_input_files(astronaut)

    row = page.locator(ROWS).first
    row.wait_for()
    assert row.locator(".similarity").inner_text() == "99.9"
    assert row.get_by_text("badge:7").is_visible()
    assert row.get_by_role("link", name="collins").is_visible()
    row.get_by_role("button", name=f"Copy FaceId {face['FaceId']}").click()
    page.get_by_text("Copied the FaceId.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == face["FaceId"]


def test_the_searched_face_is_marked_where_the_answer_says(page, stub, astronaut):
    other = {"Left": 0.7, "Top": 0.4, "Width": 0.2, "Height": 0.3}
    stub.answers["DetectFaces"] = lambda params: {
        "FaceDetails": [face_detail(other), face_detail(BOX)]
    }
    arrive(page, stub.url, path="collections/staff")
    page.locator("input[type=file]").set_input_files(astronaut)
    marked = page.get_by_role("button", name="Face 2, searched")
    marked.wait_for()

    picture, frame = page.locator(".stage img").bounding_box(), marked.bounding_box()
    for ratio, size, start, edge in [
        (BOX["Left"], "width", "x", "x"),
        (BOX["Top"], "height", "y", "y"),
    ]:
        assert (frame[edge] - picture[start]) / picture[size] == pytest.approx(ratio, abs=0.01)
    assert frame["width"] / picture["width"] == pytest.approx(BOX["Width"], abs=0.01)

    # Another face is cut out and searched; the answer's box is one of the cut-out picture.
    asked = []

    def search(params):
        asked.append(len(params["Image"]["Bytes"]))
        return {
            "SearchedFaceBoundingBox": {"Left": 0.3, "Top": 0.3, "Width": 0.4, "Height": 0.4},
            "SearchedFaceConfidence": 99.0,
            "FaceMatches": [],
            "FaceModelVersion": "4.0",
        }

    stub.answers["SearchFacesByImage"] = search
    page.get_by_role("button", name="Search face 1").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Face 1, searched").wait_for()
    assert len(asked) == 1
    assert page.evaluate("document.activeElement.classList.contains('frame')")


def test_a_key_that_may_not_detect_still_shows_the_searched_face(page, stub, astronaut):
    def denied(params):
        raise Refusal("AccessDeniedException", "not authorized")

    stub.answers["DetectFaces"] = denied
    stub.op_IndexFaces({"CollectionId": "staff"})
    arrive(page, stub.url, path="collections/staff")
    page.locator("input[type=file]").set_input_files(astronaut)

    page.get_by_role("button", name="Face 1, searched").wait_for()
    page.get_by_text("without an ExternalImageId").wait_for()
    assert not page.get_by_role("alert").is_visible()


def test_an_empty_collection_asks_whom_to_enrol_first(page, stub):
    arrive(page, stub.url, "collections/staff")

    page.get_by_text("Nobody is enrolled here yet. Whose face comes first?").wait_for()


def test_a_picture_without_a_face_is_explained(page, stub, coffee):
    def refuse(params):
        text = "There are no faces in the image. Should be at least 1."
        raise Refusal("InvalidParameterException", text)

    stub.answers |= {
        "SearchFacesByImage": refuse,
        "DetectFaces": lambda params: {"FaceDetails": []},
    }
    arrive(page, stub.url, path="collections/staff")
    page.locator("input[type=file]").set_input_files(coffee)

    page.get_by_text("Use a picture in which a face is seen from the front").wait_for()


def test_a_picture_can_be_dropped_and_pasted(page, stub, astronaut):
    arrive(page, stub.url, path="collections/staff")
    data = astronaut.read_bytes()
    page.get_by_role("button", name="Choose a picture").wait_for()

    drop(page, ".intake", ["dropped.png"], data, "image/png")
    page.get_by_text("dropped.png, 512").wait_for()

    page.evaluate(
        """(data) => {
            const clipboardData = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
            clipboardData.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        b64encode(data).decode(),
    )
    page.get_by_text("pasted.png, 512").wait_for()


def test_a_file_that_misses_its_place_does_not_replace_the_page(page, stub):
    arrive(page, stub.url)
    prevented = page.evaluate(
        """() => {
            const event = new DragEvent("drop", { bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
            return event.defaultPrevented;
        }"""
    )
    assert prevented


def test_the_camera_gives_a_picture(page, stub):
    arrive(page, stub.url, path="collections/staff")

    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()

    page.get_by_text("camera.jpg").wait_for()
    assert "SearchFacesByImage" in dict(stub.calls)
    assert page.locator("dialog").count() == 0


@pytest.mark.parametrize(
    ("sides", "says"),
    [
        ([79, 200], "at least 80 on each side"),
        ([300, 200], "Made a JPEG of 300"),
    ],
)
def test_what_the_api_does_not_take_is_converted_or_explained(page, stub, sides, says):
    arrive(page, stub.url, path="collections/staff")
    page.get_by_role("button", name="Choose a picture").wait_for()
    data = page.evaluate(
        """async (sides) => {
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = sides;
            canvas.getContext("2d").fillRect(0, 0, 10, 10);
            const blob = await new Promise((done) => canvas.toBlob(done, "image/webp"));
            return [...new Uint8Array(await blob.arrayBuffer())];
        }""",
        sides,
    )

    drop(page, ".intake", ["odd.webp"], bytes(data), "image/webp")

    page.get_by_text(says).wait_for()


def test_a_picture_over_five_mebibytes_is_made_smaller(page, stub, tmp_path):
    noise = np.random.default_rng(7).integers(0, 256, (1500, 1500, 3), np.uint8)
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), noise)
    assert path.stat().st_size > 5_242_880
    arrive(page, stub.url, path="collections/staff")
    page.locator("input[type=file]").set_input_files(path)

    page.get_by_text("Made a JPEG of 1500").wait_for()
    page.get_by_role("button", name="Face 1, searched").wait_for()
    sent = dict(stub.calls)["SearchFacesByImage"]["Image"]["Bytes"]
    assert len(sent) < 5_242_880 * 4 / 3


def test_more_matches_are_asked_for_where_there_may_be_more(page, stub, astronaut):
    for number in range(150):
        stub.op_IndexFaces({"CollectionId": "staff", "ExternalImageId": f"n{number}"})
    stub.matches = lambda name: [{"Similarity": 99.0, "Face": face} for face in stub.faces["staff"]]
    arrive(page, stub.url, path="collections/staff")
    page.locator("input[type=file]").set_input_files(astronaut)

    page.get_by_text("At least 100 faces at 80 or more.").wait_for()
    page.get_by_role("button", name="Look for more").click()

    page.get_by_text("150 faces at 80 or more.", exact=True).wait_for()
    limits = [params["MaxFaces"] for name, params in stub.calls if name == "SearchFacesByImage"]
    assert limits == [100, 1000]


def test_users_are_searched_from_the_same_page(searched, stub):
    stub.op_CreateUser({"CollectionId": "staff", "UserId": "collins"})
    searched.get_by_role("button", name="Users", exact=True).click()

    searched.get_by_text("1 user at 80 or more.").wait_for()
    searched.locator(ROWS).get_by_role("link", name="collins").click()
    searched.get_by_role("heading", name="collins").wait_for()


def test_faces_are_enrolled_from_the_same_page_with_reasons_for_the_others(searched, stub):
    def index(params):
        answer = stub.op_IndexFaces(params)
        answer["UnindexedFaces"] = [
            {"Reasons": ["LOW_SHARPNESS", "SMALL_BOUNDING_BOX"], "FaceDetail": face_detail()}
        ]
        return answer

    stub.answers["IndexFaces"] = index
    assert searched.get_by_label("ExternalImageId").input_value() == "astronaut"
    searched.get_by_label("ExternalImageId").fill("new:face")
    searched.get_by_label("QualityFilter").select_option("HIGH")
    searched.get_by_role("button", name="Enrol", exact=True).click()

    searched.get_by_text("2 not enrolled: too blurred, too small").wait_for()
    searched.get_by_text("7 faces · 0 users").wait_for()
    sent = dict(stub.calls)["IndexFaces"]
    assert {name: value for name, value in sent.items() if name != "Image"} == {
        "CollectionId": "staff",
        "ExternalImageId": "new:face",
        "MaxFaces": 1,
        "QualityFilter": "HIGH",
    }
    assert json.dumps(sent["Image"])[:20].startswith('{"Bytes": "iVBOR')


def test_a_name_that_the_api_refuses_is_refused_in_the_form(searched, stub):
    searched.get_by_label("ExternalImageId").fill("no spaces")
    searched.get_by_role("button", name="Enrol", exact=True).click()

    assert searched.locator("input:invalid").count() == 1
    assert "IndexFaces" not in dict(stub.calls)


def test_two_pictures_are_compared(page, stub, astronaut):
    arrive(page, stub.url, path="compare")
    for number in range(2):
        page.locator("input[type=file]").nth(number).set_input_files(astronaut)

    page.get_by_text("1 of 1 face at 80 or more.").wait_for()
    page.get_by_label("Threshold of Similarity").fill("95")
    page.get_by_text("None of 1 face reaches 95.").wait_for()
    assert page.get_by_text("Face 1: Similarity 93.4").is_visible()
