"""Importing many files: names, outcomes, pause, second tries."""

import threading
import time

import pytest

from browser.console_stub import Refusal
from browser.visitor import arrive, drop

PNG = b"\x89PNG\r\n\x1a\n"
CASES = {
    "Eileen Collins.jpg": "Eileen_Collins",
    "Zoë.Müller (2).png": "Zoe.Muller_2_",
    "../../etc/passwd.png": ".._.._etc_passwd",
    "a:b-c_d.jpeg": "a:b-c_d",
    "漢字.png": "_",
    ".jpg": ".jpg",
    "x" * 300 + ".jpg": "x" * 255,
}


@pytest.fixture
def importing(page, stub):
    arrive(page, stub.url, path="collections/staff/import")
    page.get_by_role("button", name="Choose files").wait_for()
    return page


def put(page, names):
    """Drop files that claim to be PNG, each with other bytes."""
    drop(page, ".intake", names, PNG, "image/png")


def test_a_file_name_becomes_an_external_image_id(page, stub):
    page.goto(stub.url)

    found = page.evaluate(
        """async (names) => {
            const { idOf, EXTERNAL_IMAGE_ID } = await import("./views/enrolment.js");
            return names.map((name) => [idOf(name), EXTERNAL_IMAGE_ID.test(idOf(name))]);
        }""",
        list(CASES),
    )

    assert [[expected, True] for expected in CASES.values()] == found


def test_each_file_says_what_became_of_it(importing, stub):
    def index(params):
        name = params["ExternalImageId"]
        if name == "broken":
            raise Refusal("InvalidImageFormatException", "Request has invalid image format")
        answer = stub.op_IndexFaces(params)
        if name == "landscape":
            answer["FaceRecords"] = []
        if name == "blurred":
            answer["FaceRecords"] = []
            answer["UnindexedFaces"] = [{"Reasons": ["LOW_SHARPNESS"], "FaceDetail": {}}]
        return answer

    stub.answers["IndexFaces"] = index
    put(importing, ["good.png", "landscape.png", "blurred.png", "broken.png"])
    drop(importing, ".intake", ["notes.txt"], b"text", "text/plain")
    assert importing.get_by_text("1 file left out").is_visible()
    importing.get_by_role("button", name="Start").click()

    importing.get_by_text(
        "4 of 4 files done: 1 enrolled, 2 without a face to enrol, 1 failed."
    ).wait_for()
    row = importing.locator(".files li")
    assert "1 face enrolled." in row.nth(0).inner_text()
    assert "No face was found." in row.nth(1).inner_text()
    assert "No face enrolled. Not enrolled: too blurred." in row.nth(2).inner_text()
    assert "Request has invalid image format" in row.nth(3).inner_text()
    importing.get_by_label("Show only what was not enrolled").check()
    assert not row.nth(0).is_visible()
    assert row.nth(3).is_visible()

    stub.answers["IndexFaces"] = stub.op_IndexFaces
    importing.get_by_role("button", name="Try the failed again").click()
    importing.get_by_text("2 enrolled, 2 without a face to enrol, 0 failed.").wait_for()


def test_in_a_folder_the_folders_are_part_of_the_name(importing, tmp_path):
    for person in ["collins", "ride"]:
        (tmp_path / "people" / person).mkdir(parents=True)
        (tmp_path / "people" / person / "1.png").write_bytes(PNG)
    importing.locator("input[webkitdirectory]").set_input_files(tmp_path / "people")

    ids = importing.locator(".files code").all_inner_texts()
    assert sorted(ids) == ["collins:1", "ride:1"]


def test_an_import_pauses_and_goes_on(importing, stub):
    gate = threading.Semaphore(3)

    def index(params):
        gate.acquire(timeout=10)
        return stub.op_IndexFaces(params)

    stub.answers["IndexFaces"] = index
    put(importing, [f"{number}.png" for number in range(12)])
    importing.get_by_role("button", name="Start").click()
    importing.get_by_text("3 of 12 files done").wait_for()
    importing.get_by_role("button", name="Pause").click()
    gate.release(20)

    importing.get_by_text("5 of 12 files done").wait_for()
    importing.wait_for_timeout(150)
    assert importing.get_by_text("5 of 12 files done").is_visible()
    importing.get_by_role("button", name="Go on").click()
    importing.get_by_text("12 of 12 files done: 12 enrolled").wait_for()
    names = [p["ExternalImageId"] for name, p in stub.calls if name == "IndexFaces"]
    assert sorted(names) == sorted(str(number) for number in range(12))


def test_an_error_that_the_next_file_would_meet_too_pauses_the_import(importing, stub):
    def denied(params):
        raise Refusal("AccessDeniedException", "User: x is not authorized to perform: IndexFaces")

    stub.answers["IndexFaces"] = denied
    put(importing, [f"{number}.png" for number in range(9)])
    importing.get_by_role("button", name="Start").click()

    importing.get_by_text("User: x is not authorized").wait_for()
    importing.get_by_text("0 of 9 files done").wait_for()
    assert sum(name == "IndexFaces" for name, _ in stub.calls) <= 2
    stub.answers["IndexFaces"] = stub.op_IndexFaces
    importing.get_by_role("button", name="Start").click()
    importing.get_by_text("9 of 9 files done: 9 enrolled").wait_for()
    assert not importing.get_by_role("alert").is_visible()


def test_an_error_from_before_a_new_start_does_not_pause_it(importing, stub):
    late, seen = threading.Event(), iter(range(100))

    def denied(params):
        if next(seen) == 1:
            late.wait(10)
        raise Refusal("AccessDeniedException", "not yet")

    stub.answers["IndexFaces"] = denied
    put(importing, [f"{number}.png" for number in range(9)])
    importing.get_by_role("button", name="Start").click()
    importing.get_by_text("not yet").wait_for()

    def index(params):
        late.set()
        time.sleep(0.05)
        return stub.op_IndexFaces(params)

    stub.answers["IndexFaces"] = index
    importing.get_by_role("button", name="Start").click()
    importing.get_by_text("9 of 9 files done: 9 enrolled").wait_for()
