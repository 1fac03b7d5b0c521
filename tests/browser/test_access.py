"""Can everybody use it: rules of accessibility, keyboard, narrow screens, still pictures."""

import pytest

from browser.visitor import arrive

PATHS = {
    "collections": "15 Jun 2025",
    "collections/staff": "Choose a picture",
    "collections/staff/faces": "Find similar",
    "collections/staff/users": "active",
    "collections/staff/users/collins": "face-0",
    "collections/staff/import": "Choose a folder",
    "collections/staff/details": "Remove",
    "compare": "The picture to look in",
    "access": "A new key",
    "audit": "SearchFacesByImage",
    "api": "openapi.json",
}
"""Each page, and a text that is there once it is whole."""

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {
    "light": {"type": "tag", "values": TAGS},
    "dark": {"type": "rule", "values": ["color-contrast"]},
}
"""In the dark only the colours are others."""


def faults(page, axe, scheme):
    """What axe-core finds, one line a fault."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate("(runOnly) => axe.run({ runOnly })", RULES[scheme])
    return [
        f"{violation['id']}: {node['html'][:120]} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


@pytest.fixture
def peopled(stub):
    for number in range(3):
        stub.op_IndexFaces({"CollectionId": "staff", "ExternalImageId": f"face-{number}"})
    stub.users["staff"].append("collins")
    stub.faces["staff"][0]["UserId"] = "collins"
    stub.tags["team"] = "door"
    return stub


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_keeps_the_rules_of_accessibility(open_page, peopled, axe, astronaut, scheme):
    page = open_page(color_scheme=scheme, bypass_csp=True)
    arrive(page, peopled.url)
    found = []
    for path, text in PATHS.items():
        page.evaluate("(path) => { location.hash = `#/${path}`; }", path)
        page.get_by_text(text).first.wait_for()
        if path == "collections/staff":
            page.locator("input[type=file]").set_input_files(astronaut)
            page.locator("ol.matches > li").first.wait_for()
            page.get_by_role("button", name="Enrol", exact=True).click()
            page.locator(".plain code").wait_for()
        found += [f"{path}: {fault}" for fault in faults(page, axe, scheme)]
        if path == "collections/staff/faces":
            page.get_by_label("Choose face-0").check()
            page.get_by_role("button", name="Delete", exact=True).click()
            found += [f"{path}, dialog: {fault}" for fault in faults(page, axe, scheme)]
            page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    found += [f"sign-in: {fault}" for fault in faults(page, axe, scheme)]
    assert "\n".join(found) == ""


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_screen(open_page, peopled, astronaut, width):
    phone = width < 700
    size = {"width": width, "height": 740}
    page = open_page(viewport=size, is_mobile=phone, has_touch=phone)
    arrive(page, peopled.url)
    widths = {}
    for path, text in PATHS.items():
        page.evaluate("(path) => { location.hash = `#/${path}`; }", path)
        page.get_by_text(text).first.wait_for()
        if path == "collections/staff":
            page.locator("input[type=file]").set_input_files(astronaut)
            page.locator("ol.matches > li").first.wait_for()
        if path == "compare":
            for number in range(2):
                page.locator("input[type=file]").nth(number).set_input_files(astronaut)
            page.get_by_text("1 of 1 face").wait_for()
        widths[path] = page.evaluate("document.documentElement.scrollWidth")
    assert widths == dict.fromkeys(PATHS, width)


def test_the_console_is_used_with_the_keyboard_alone(page, stub):
    page.goto(stub.url)
    page.get_by_role("heading", name="Sign in").wait_for()
    page.keyboard.type("AKIDSTUB")
    page.keyboard.press("Tab")
    page.keyboard.type("a secret/with+signs")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="staff").wait_for()

    page.get_by_role("link", name="Skip to the content").press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="staff").wait_for()

    page.get_by_role("link", name="recollect").focus()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                    const { activeElement: node } = document;
                    const { outlineStyle, outlineWidth } = getComputedStyle(node);
                    const { tagName, textContent } = node;
                    return [tagName, textContent.trim(), outlineStyle, parseFloat(outlineWidth)];
                }"""
            )
        )
    names = [name for _, name, _, _ in reached]
    for expected in ["Collections", "Compare", "API", "Sign out", "Create", "staff"]:
        assert expected in names
    # After the last control the focus is the browser's own.
    inside = [entry for entry in reached if entry[0] != "BODY"]
    assert [entry for entry in inside if entry[2] == "none" or entry[3] < 2] == []


def test_a_dialog_holds_the_focus_and_gives_it_back(page, peopled):
    arrive(page, peopled.url)
    page.get_by_role("button", name="Delete staff").press("Enter")
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")

    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == "Delete staff"


def test_nothing_moves_for_those_who_ask_for_stillness(page, stub):
    page.goto(stub.url)
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((node) => {
            const { animationName, transitionDuration } = getComputedStyle(node);
            return animationName !== "none" || parseFloat(transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0
