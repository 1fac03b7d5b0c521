"""Pictures of every page, to be looked at: written to out/screenshots/, which git ignores."""

import json
from pathlib import Path

import pytest

from browser.console_stub import Refusal
from browser.visitor import sign_in
from recollect.wire import openapi

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "out" / "screenshots"
SCREENS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "phone": {
        "color_scheme": "light",
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
NAMES = ["collins:badge", "collins:visit-2", "sally_ride", "mae_jemison", "valentina_tereshkova"]


@pytest.fixture
def gallery(stub):
    """A collection of astronauts, and a few empty ones."""
    for name in NAMES:
        stub.op_IndexFaces({"CollectionId": "staff", "ExternalImageId": name})
    for name in ["visitors.2026", "archive"]:
        stub.op_CreateCollection({"CollectionId": name})
    stub.users["staff"] += ["collins", "hopper"]
    stub.faces["staff"][0]["UserId"] = "collins"
    stub.tags |= {"team": "door", "purpose": "entrance control"}
    return stub


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_is_photographed(open_page, gallery, astronaut, coffee, crowd, screen):
    FOLDER.mkdir(parents=True, exist_ok=True)
    page = open_page(**SCREENS[screen])
    shots = iter(range(1, 100))

    def shoot(name, **options):
        page.evaluate("document.getElementById('messages').replaceChildren()")
        path = FOLDER / f"{screen}-{next(shots):02}-{name}.png"
        page.screenshot(path=path, **{"full_page": True, **options})

    def visit(path, text):
        page.evaluate("(path) => { location.hash = `#/${path}`; }", path)
        page.get_by_text(text).first.wait_for()

    page.route(
        "**/openapi.json",
        lambda route: route.fulfill(
            body=json.dumps(openapi.document("0")), content_type="application/json"
        ),
    )
    page.goto(gallery.url)
    page.get_by_text("Where do I find a key?").click()
    shoot("sign-in")
    sign_in(page, gallery.url)
    page.get_by_text("15 Jun 2025").first.wait_for()
    shoot("collections")
    page.get_by_role("button", name="Delete archive").click()
    shoot("confirm", full_page=False)
    page.keyboard.press("Escape")

    visit("collections/staff", "Choose a picture")
    shoot("before-search")
    page.locator("input[type=file]").set_input_files(astronaut)
    page.get_by_text("at 80 or more").wait_for()
    shoot("search")
    page.get_by_label("Threshold as a number").fill("40")
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_text("Enrolled as").wait_for()
    shoot("enrolled")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").wait_for()
    page.wait_for_timeout(500)
    shoot("camera", full_page=False)
    page.keyboard.press("Escape")

    def refuse(params):
        text = "There are no faces in the image. Should be at least 1."
        raise Refusal("InvalidParameterException", text)

    gallery.answers |= {"SearchFacesByImage": refuse, "DetectFaces": lambda _: {"FaceDetails": []}}
    page.locator("input[type=file]").set_input_files(coffee)
    page.get_by_role("alert").wait_for()
    shoot("no-face")

    visit("collections/staff/faces", "Find similar")
    page.get_by_label("Choose sally_ride").check()
    shoot("faces")
    page.get_by_role("button", name="Find similar to mae_jemison").click()
    page.get_by_text("at 80 or more").wait_for()
    shoot("similar", full_page=False)
    page.keyboard.press("Escape")
    visit("collections/staff/users", "hopper")
    shoot("users")
    visit("collections/staff/users/collins", "collins:badge")
    shoot("user")
    visit("collections/staff/import", "Choose a folder")
    page.locator("input[multiple]").first.set_input_files([astronaut, coffee, crowd])
    page.get_by_role("button", name="Start").click()
    page.get_by_text("3 of 3 files done").wait_for()
    shoot("import")
    visit("collections/staff/details", "entrance control")
    shoot("details")
    visit("compare", "The picture to look in")
    page.locator("input[type=file]").nth(0).set_input_files(astronaut)
    page.locator("input[type=file]").nth(1).set_input_files(astronaut)
    page.get_by_text("1 of 1 face").wait_for()
    shoot("compare")
    gallery.op_CreateAccessKey({"UserName": "kiosk", "Kind": "BEARER", "Policies": ["{}"]})
    visit("access", "A new key")
    page.get_by_label("User", exact=True).fill("door-3")
    shoot("access")
    page.get_by_role("button", name="Create the key").click()
    page.get_by_text("shown this once").wait_for()
    shoot("key-made", full_page=False)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Policies of kiosk").click()
    page.get_by_label("Policy 1").wait_for()
    shoot("policies", full_page=False)
    page.keyboard.press("Escape")
    visit("audit", "SearchFacesByImage")
    shoot("audit")
    page.get_by_role("button", name="Details of record 5").click()
    shoot("record", full_page=False)
    page.keyboard.press("Escape")
    visit("api", "Associate faces")
    page.get_by_label("Operation").select_option("SearchFacesByImage")
    shoot("api")
