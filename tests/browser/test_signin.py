"""Signing in and out: what is sent, what is kept, what is said."""

import json
import time

from browser.console_stub import BEARER, KEY_ID, SECRET, Refusal, Stub
from browser.visitor import sign_in, sign_in_bearer

STORED = """() => JSON.stringify(Object.entries(localStorage)) + document.cookie
    + JSON.stringify(Object.entries(sessionStorage))"""


def test_an_access_key_signs_in_and_its_secret_never_leaves_the_page(page, stub):
    sent = []
    page.on("request", lambda r: sent.append((r.url, r.post_data, json.dumps(r.all_headers()))))

    sign_in(page, stub.url)

    page.get_by_role("link", name="staff").wait_for()
    assert any("AWS4-HMAC-SHA256" in headers for _, _, headers in sent)
    assert SECRET not in str(sent)
    assert SECRET not in page.content()
    assert page.evaluate(STORED) == "[][]"


def test_a_bearer_key_signs_in_and_only_its_id_is_shown(page, stub):
    sign_in_bearer(page, stub.url)

    page.get_by_role("link", name="staff").wait_for()
    assert page.get_by_text(f"bearer {KEY_ID}").is_visible()
    assert BEARER not in page.content()
    assert page.evaluate(STORED) == "[][]"


def test_a_wrong_secret_is_explained_and_signs_nobody_in(page, stub):
    page.goto(stub.url)
    page.get_by_label("Access key ID").fill(KEY_ID)
    page.get_by_label("Secret access key").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()

    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "InvalidSignatureException from GetCaller, request" in alert.inner_text()
    assert "The secret does not belong to this access key" in alert.inner_text()
    assert not page.get_by_role("button", name="Sign out").is_visible()


def test_reloading_signs_out_unless_the_person_asked_to_stay(page, stub):
    sign_in(page, stub.url)
    page.reload()
    page.get_by_role("heading", name="Sign in").wait_for()

    page.get_by_label("Stay signed in").check()
    page.get_by_label("Access key ID").fill(KEY_ID)
    page.get_by_label("Secret access key").fill(SECRET)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("link", name="staff").wait_for()
    page.reload()
    page.get_by_role("link", name="staff").wait_for()

    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert page.evaluate(STORED) == "[][]"
    page.reload()
    page.get_by_role("heading", name="Sign in").wait_for()


def test_a_key_that_may_not_list_collections_signs_in_and_opens_one_by_name(page, stub):
    def denied(params):
        raise Refusal("AccessDeniedException", "User: x is not authorized to perform: y")

    stub.answers |= {"ListCollections": denied, "DescribeCollection": denied}
    sign_in(page, stub.url)

    page.get_by_text("This key's policy does not allow the action.").wait_for()
    page.get_by_label("Name of a collection").fill("staff")
    page.get_by_role("button", name="Open").click()
    page.get_by_role("button", name="Choose a picture").wait_for()


def test_a_clock_that_is_wrong_is_set_by_the_servers_date(page, stub):
    stub.clock_s = lambda: time.time() + 7200

    sign_in(page, stub.url)

    page.get_by_role("link", name="staff").wait_for()
    assert stub.calls[0][0] == "GetCaller"


def test_a_server_that_is_gone_is_said_to_be_gone(page, stub):
    sign_in(page, stub.url)
    page.get_by_role("link", name="staff").wait_for()
    page.context.set_offline(True)

    page.get_by_role("link", name="staff").click()

    page.get_by_text("The server did not answer.").wait_for()


def test_a_busy_server_is_asked_again(page, stub):
    turns = iter([True, True, False])

    def busy(params):
        if next(turns):
            raise Refusal("ThrottlingException", "Slow down", status=400)
        return stub.op_GetCaller(params)

    stub.answers["GetCaller"] = busy
    sign_in(page, stub.url)

    page.get_by_role("button", name="Sign out").wait_for()
    assert [name for name, _ in stub.calls][:3] == ["GetCaller"] * 3


def test_below_a_path_prefix_the_console_finds_the_api(open_page):
    stub = Stub(prefix="/far/rek/")
    stub.op_CreateCollection({"CollectionId": "staff"})
    page = sign_in(open_page(), stub.url)

    page.get_by_role("link", name="staff").wait_for()
    stub.close()


def test_a_server_that_says_nothing_of_itself_is_served_as_well(page, stub):
    stub.about = None

    sign_in(page, stub.url, path="collections/staff")

    page.get_by_text("states no error rates for this model").wait_for()


def test_no_key_is_asked_for_where_the_server_needs_none(page, stub):
    stub.about = {**stub.about, "no_auth": True}
    stub.authenticate = lambda path, headers, body: None
    page.goto(stub.url)

    page.get_by_text("anybody who reaches it may do anything").wait_for()
    page.get_by_role("button", name="Go on without a key").click()

    page.get_by_role("link", name="staff").wait_for()


def test_over_plain_http_from_elsewhere_the_page_says_what_to_do(page, stub):
    page.goto(stub.url.replace("127.0.0.1", "console.test"))

    page.get_by_text("This page came over plain HTTP from another computer.").wait_for()
    assert not page.get_by_role("button", name="Sign in", exact=True).is_visible()
