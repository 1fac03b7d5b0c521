"""Strings that want to be markup or script: shown as text wherever they come from.

The page fixture fails on any dialog, uncaught error and policy violation; here the document is
looked at as well, since a payload that waits for a click would be silent.
"""

import json
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from browser.console_stub import ABOUT, BOX, Refusal
from browser.visitor import arrive, drop

SUITE = Path(__file__).parents[2].parent / "shared" / "suites" / "strings" / "xss.json"
OWN = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "'-alert(1)-'",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>",
    "{{constructor.constructor('alert(1)')()}}",
    "<style>@import 'http://evil.example/x.css'</style>",
    "\u202egnp.exe",
]
ELEMENTS = """() => [...document.querySelectorAll("*")].flatMap((node) => [
    ...[...node.attributes].map(({ name, value }) => [node.tagName, name, value]),
    [node.tagName, "", ""],
])"""
TAGS = (
    "HTML HEAD META TITLE LINK SCRIPT BODY A HEADER IMG NAV DIV MAIN SECTION H1 H2 P SPAN STRONG "
    "SMALL BUTTON INPUT LABEL SELECT OPTION FORM TABLE THEAD TBODY TR TH TD UL OL LI CODE DL DT DD "
    "PROGRESS FOOTER DIALOG DETAILS SUMMARY TEXTAREA PRE NOSCRIPT"
)


SUBMIT = """async (count) => {
    const shown = [];
    const input = document.querySelector("form input");
    for (let number = 0; number < count; number++) {
        input.value = String(number);
        input.form.requestSubmit();
        while (!document.querySelector(".failure:not(.seen)")) {
            await new Promise((done) => setTimeout(done, 2));
        }
        const failure = document.querySelector(".failure");
        const inside = [...failure.querySelectorAll("*")];
        const attributes = inside.flatMap((node) => [...node.attributes]).length;
        shown.push([
            failure.querySelector("strong").textContent,
            failure.querySelector("code").textContent,
            attributes,
        ]);
        failure.classList.add("seen");
    }
    return shown;
}"""


def strings():
    """Payloads that others wrote, and our own."""
    if not SUITE.exists():
        return OWN
    return OWN + [case["value"] for case in json.loads(SUITE.read_text(encoding="utf-8"))]


def tell(payloads, places):
    """Print how many strings a test shows, for the sum over all of them."""
    print(f"{len(payloads)} payloads in {places} places: {len(payloads) * places} strings")


def assert_only_text(page):
    """No element, handler or address came from a string."""
    found = page.evaluate(ELEMENTS)
    assert {tag for tag, _, _ in found} <= set(TAGS.split())
    assert [entry for entry in found if entry[1].startswith("on") or entry[1] == "srcdoc"] == []
    for tag, name, value in found:
        if name in {"href", "src"}:
            assert value.startswith(("#", "blob:", "icon.svg", "style.css", "app.js")), (tag, value)
    scripts = [value for tag, name, value in found if tag == "SCRIPT" and name == "src"]
    assert scripts == ["app.js"]


def face(number, text):
    return {
        "FaceId": text,
        "ImageId": text,
        "ExternalImageId": text,
        "UserId": text,
        "BoundingBox": BOX,
        "Confidence": 99.0 - number / 1000,
    }


def key(text):
    return {
        "AccessKeyId": text,
        "UserName": text,
        "Kind": text,
        "Status": text,
        "CreateDate": 1_750_000_000.5,
        "PolicyCount": 1,
    }


def entry(text):
    return {
        "eventTime": text,
        "eventName": text,
        "errorCode": text,
        "userIdentity": {"userName": text},
        "sourceIPAddress": text,
        "requestParameters": {"CollectionId": text},
    }


def texts(page, selector):
    return page.locator(selector).evaluate_all("nodes => nodes.map((n) => n.textContent)")


def test_every_payload_in_every_list_is_text(page, stub):
    payloads = strings()
    tell(payloads, places=17)
    faces = [face(number, text) for number, text in enumerate(payloads)]
    matches = [{"Similarity": 99.0 - n / 100, "Face": f} for n, f in enumerate(faces)]
    stub.answers |= {
        "ListCollections": lambda params: {
            "CollectionIds": payloads,
            "FaceModelVersions": payloads,
        },
        "ListFaces": lambda params: {"Faces": faces},
        "ListUsers": lambda params: {
            "Users": [{"UserId": text, "UserStatus": text} for text in payloads]
        },
        "ListTagsForResource": lambda params: {"Tags": {text: text for text in payloads}},
        "SearchFaces": lambda params: {"FaceMatches": matches},
        "ListAccessKeys": lambda params: {"AccessKeys": [key(text) for text in payloads]},
        "GetPolicies": lambda params: {"Policies": payloads[:20]},
        "ReadAudit": lambda params: {
            "Records": [{"Sequence": n, "Entry": entry(text)} for n, text in enumerate(payloads)]
        },
    }
    arrive(page, stub.url)
    page.locator("tbody tr").nth(len(payloads) - 1).wait_for()
    assert texts(page, "tbody th") == payloads
    addresses = page.locator("tbody a").evaluate_all("(links) => links.map((link) => link.hash)")
    assert [unquote(address) for address in addresses] == [f"#/collections/{p}" for p in payloads]
    assert {address.count("/") for address in addresses} == {2}
    assert_only_text(page)

    page.goto(f"{stub.url}#/collections/staff/faces")
    page.locator("td[data-label=User]").nth(len(payloads) - 1).wait_for()
    assert texts(page, "td[data-label=ExternalImageId]") == payloads
    assert texts(page, "td[data-label=User]") == payloads
    assert_only_text(page)
    page.locator("td.end button").first.click()
    page.locator("dialog li").nth(5).wait_for()
    assert texts(page, "dialog li strong") == payloads[: page.locator("dialog li").count()]
    assert_only_text(page)

    page.goto(f"{stub.url}#/collections/staff/users")
    page.locator("tbody th a").nth(len(payloads) - 1).wait_for()
    assert texts(page, "tbody th") == payloads
    assert_only_text(page)

    page.goto(f"{stub.url}#/collections/staff/details")
    page.locator("td[data-label=Value]").nth(len(set(payloads)) - 1).wait_for()
    assert set(texts(page, "td[data-label=Value]")) == set(payloads)
    assert_only_text(page)

    page.goto(f"{stub.url}#/access")
    page.locator("tbody th").nth(len(payloads) - 1).wait_for()
    assert texts(page, "tbody th") == payloads
    assert texts(page, "td[data-label=AccessKeyId] code") == payloads
    page.locator("td.end button", has_text="Policies").first.click()
    page.locator("dialog textarea").nth(19).wait_for()
    assert_only_text(page)
    page.keyboard.press("Escape")

    page.goto(f"{stub.url}#/audit")
    page.locator("td[data-label=Who]").nth(len(payloads) - 1).wait_for()
    for column in ("Who", "What", "Collection", "Answer", "From"):
        assert texts(page, f"td[data-label={column}]") == payloads
    page.get_by_role("button", name="Details of record 0", exact=True).click()
    assert json.loads(page.locator("dialog pre").inner_text()) == entry(payloads[0])
    assert_only_text(page)


def test_every_payload_as_a_file_name_is_text(page, stub):
    payloads = strings()
    tell(payloads, places=1)
    arrive(page, stub.url, path="collections/staff/import")
    page.get_by_role("button", name="Choose files").wait_for()

    drop(page, ".intake", payloads, b"\x89PNG", "image/png")

    assert texts(page, ".files .name") == payloads
    assert_only_text(page)


@pytest.mark.parametrize(
    "step",
    [pytest.param(6, id="a sixth"), pytest.param(1, id="all", marks=pytest.mark.slow)],
)
def test_a_payload_in_an_error_is_text(page, stub, step):
    payloads = strings()[::step]
    tell(payloads, places=2)

    def refuse(params):
        text = payloads[int(params["CollectionId"])]
        raise Refusal(text, text)

    stub.answers["CreateCollection"] = refuse
    arrive(page, stub.url)
    page.get_by_role("link", name="staff").wait_for()

    shown = page.evaluate(SUBMIT, len(payloads))

    for text, (message, code, attributes) in zip(payloads, shown, strict=True):
        assert message == text
        assert code == text.split("#")[-1]
        assert attributes <= 8
    assert_only_text(page)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(4, id="few"),
        pytest.param(None, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_a_payload_as_a_name_of_a_picture_an_address_and_a_pack_is_text(page, stub, count):
    data = cv2.imencode(".png", np.zeros((80, 80, 3), np.uint8))[1].tobytes()
    stub.answers["DetectFaces"] = lambda params: {"FaceDetails": []}
    arrive(page, stub.url)
    tell(strings()[:count], places=4)
    for text in strings()[:count]:
        stub.about = {**ABOUT, "version": text, "packs": {"4.0": {"name": text}}}
        page.goto(f"{stub.url}#/collections/staff")
        page.reload()
        page.get_by_text("0 faces · 0 users").wait_for()
        assert texts(page, "#version") == [f"recollect {text}"]
        assert f"model 4.0, {text} · created" in texts(page, ".figures")[0]

        drop(page, ".intake", [text], data, "image/png")
        page.locator(".stage img").wait_for()
        assert page.locator(".stage img").get_attribute("alt") == f"Your picture {text}"
        assert_only_text(page)

        page.evaluate("(text) => { location.hash = '#/collections/' + text; }", text)
        page.locator(".failure, h1").first.wait_for()
        assert_only_text(page)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "//evil.example", "data:text/html,x"])
def test_a_link_leads_to_a_page_of_the_console_only(page, stub, address):
    page.goto(stub.url)

    said = page.evaluate(
        """async (href) => {
            const { element } = await import("./element.js");
            try {
                return element("a", { href }, "x").outerHTML;
            } catch (error) {
                return error.message;
            }
        }""",
        address,
    )

    assert said == "a link leads to a page of the console"


def test_the_policy_itself_would_stop_markup_made_of_a_string(chromium, stub):
    """The control: were the page to set innerHTML, this browser would refuse and say so."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(stub.url)

    said = page.evaluate(
        """() => {
            try { document.body.innerHTML = "<b>x</b>"; } catch (error) { return error.name; }
            return "done";
        }"""
    )

    context.close()
    assert said == "TypeError"
