"""Keys, policies and the audit log in the console, for those allowed and for those who are not."""

import json

import pytest

from browser.console_stub import KEY_ID
from browser.visitor import arrive, sign_in

SEARCHING = {
    "Effect": "Allow",
    "Action": ["rekognition:ListCollections", "recollect:GetPolicies"],
    "Resource": "*",
}


@pytest.fixture(scope="module")
def running(serve):
    return serve()


def enter(page, running):
    root = running.root
    return sign_in(page, f"{running.url}/console/", root["AccessKeyId"], root["SecretAccessKey"])


def pages_of(page):
    return page.locator("#navigation a").all_inner_texts()


def test_a_key_is_made_shown_once_used_disabled_and_deleted_on_a_real_server(page, running):
    enter(page, running)
    page.get_by_role("link", name="Access").click()
    page.get_by_label("User", exact=True).fill("kiosk")
    page.get_by_label("Start from").select_option("Everything with faces")
    page.get_by_role("button", name="Create the key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("shown this once").wait_for()
    key_id, secret = dialog.locator("code").all_inner_texts()
    page.get_by_role("button", name="I have it").click()
    # Closed is not yet gone: that comes with an event.
    page.locator("dialog").wait_for(state="detached")
    assert secret not in page.content()
    page.get_by_role("row", name="kiosk").wait_for()

    page.get_by_role("button", name="Sign out").click()
    sign_in(page, f"{running.url}/console/", key_id, secret)
    assert pages_of(page) == ["Collections", "Compare", "API"]

    page.get_by_role("button", name="Sign out").click()
    enter(page, running)
    page.get_by_role("link", name="Access").click()
    page.get_by_role("button", name="Disable the key of kiosk").click()
    page.get_by_role("button", name="Enable the key of kiosk").wait_for()
    assert not running.server.store.access_key(key_id).active

    page.get_by_role("button", name="Policies of kiosk").click()
    page.get_by_label("Policy 1").fill('{"Version": "2012-10-17", "Statement": []}')
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Policy 1: Statement: at least one is needed").wait_for()
    page.get_by_label("Policy 1").fill("")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="detached")
    assert running.server.store.access_key(key_id).policies == ()

    page.get_by_role("button", name="Delete the key of kiosk").click()
    page.get_by_role("button", name="Delete the key", exact=True).click()
    page.get_by_role("row", name="kiosk").wait_for(state="detached")
    assert running.server.store.access_key(key_id) is None


def test_the_audit_log_is_read_newest_first_with_its_records(page, running):
    enter(page, running)
    page.get_by_role("link", name="Audit").click()
    page.get_by_role("button", name="Details of record").first.click()

    record = json.loads(page.get_by_label("The record").inner_text())

    assert record["eventName"] in {"GetCaller", "ListCollections"}
    assert record["userIdentity"]["userName"] == "root"
    times = page.locator("tbody th").all_inner_texts()
    assert len(times) > 1


def test_a_key_without_the_permission_sees_neither_links_nor_content(page, running):
    key = running.key(SEARCHING, name="searcher")
    sign_in(page, f"{running.url}/console/", key.key_id, key.secret)
    assert pages_of(page) == ["Collections", "Compare", "API"]

    for path, action in [("access", "ListAccessKeys"), ("audit", "ReadAudit")]:
        page.evaluate("(path) => { location.hash = `#/${path}`; }", path)
        page.get_by_text(f"not authorized to perform: recollect:{action}").wait_for()
        assert running.root["AccessKeyId"] not in page.content()
        assert page.locator("tbody").count() == 0
        assert page.get_by_label("Policy", exact=True).count() == 0


def test_what_cannot_be_done_has_no_button(page, stub):
    stub.administration = ["GetCaller", "ListAccessKeys", "GetPolicies"]
    stub.op_CreateAccessKey({"UserName": "kiosk", "Kind": "SIGV4", "Policies": ["{}"]})
    arrive(page, stub.url, "access")
    page.get_by_role("row", name="kiosk").wait_for()

    buttons = page.locator("main button").all_inner_texts()

    assert sorted(set(buttons)) == ["Copy", "Policies"]
    assert pages_of(page) == ["Collections", "Compare", "Access", "API"]


def test_root_and_ones_own_key_cannot_be_changed_here(page, stub):
    stub.op_CreateAccessKey({"UserName": "kiosk", "Kind": "SIGV4", "Policies": ["{}"]})
    arrive(page, stub.url, "access")
    page.get_by_role("row", name="kiosk").wait_for()

    assert page.get_by_role("button", name="Disable the key").count() == 1
    page.get_by_role("button", name=f"Policies of stub, {KEY_ID}").click()
    assert page.get_by_label("Policy 1").get_attribute("readonly") is not None
    assert page.get_by_role("button", name="Save").count() == 0


def test_a_bearer_key_is_shown_as_the_token_that_is_sent(page, stub):
    arrive(page, stub.url, "access")
    page.get_by_label("User", exact=True).fill("app")
    page.get_by_label("Kind").select_option("bearer (curl)")
    page.get_by_label("Lives").select_option("one day")
    page.get_by_role("button", name="Create the key").click()

    page.get_by_text("recollect.AKIA0000000000000002.shown-once").wait_for()
    sent = dict(stub.calls)["CreateAccessKey"]
    assert (sent["Kind"], sent["ExpiresInSeconds"]) == ("BEARER", 86400)
    assert json.loads(sent["Policies"][0])["Statement"][0]["Effect"] == "Allow"
