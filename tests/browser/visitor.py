"""What a visitor of the console does: sign in, drop files."""

import json
from base64 import b64encode
from typing import Any

from browser.console_stub import BEARER, KEY_ID, SECRET


def sign_in(page: Any, url: str, key_id: str = KEY_ID, secret: str = SECRET, path: str = "") -> Any:
    """Sign in with an access key and show a page of the console."""
    page.goto(f"{url}#/{path}")
    page.get_by_label("Access key ID").fill(key_id)
    page.get_by_label("Secret access key").fill(secret)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Sign out").wait_for()
    return page


def arrive(page: Any, url: str, path: str = "") -> Any:
    """Come to a page of the console as somebody who signed in before and asked to stay."""
    credentials = {"kind": "key", "keyId": KEY_ID, "secret": SECRET, "region": "us-east-1"}
    kept = json.dumps(json.dumps(credentials))
    page.add_init_script(f"sessionStorage.setItem('recollect.credentials', {kept})")
    page.goto(f"{url}#/{path}")
    page.get_by_role("button", name="Sign out").wait_for()
    return page


def sign_in_bearer(page: Any, url: str, bearer: str = BEARER) -> Any:
    """Sign in with a bearer key."""
    page.goto(url)
    page.get_by_role("button", name="Bearer key").click()
    page.get_by_label("Bearer key", exact=True).fill(bearer)
    page.get_by_role("button", name="Sign in", exact=True).click()
    return page


def drop(page: Any, selector: str, names: list[str], data: bytes, kind: str) -> None:
    """Drop files of one content under any names, which a file chooser would not allow."""
    page.evaluate(
        """([selector, names, data, type]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
            for (const name of names) transfer.items.add(new File([bytes], name, { type }));
            document.querySelector(selector).dispatchEvent(
                new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }),
            );
        }""",
        [selector, names, b64encode(data).decode(), kind],
    )
