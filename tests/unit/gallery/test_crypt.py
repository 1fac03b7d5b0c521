"""Seals: what they hold, when they refuse."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrolments import template
from recollect.gallery import crypt
from recollect.gallery.crypt import Box, Damaged, TemplateBox

KEY = bytes(range(32))
IDS = [bytes([n]) * 16 for n in range(1, 6)]
ROWS = np.stack([template(n) for n in range(5)])


def test_keys_for_two_purposes_have_nothing_in_common():
    assert crypt.derived(KEY, "a") == crypt.derived(KEY, "a")
    assert len({crypt.derived(KEY, "a"), crypt.derived(KEY, "b"), KEY}) == 3
    # RFC 5869 by hand: one block, no salt.
    import hmac

    extracted = hmac.digest(bytes(32), KEY, "sha256")
    assert crypt.derived(KEY, "a") == hmac.digest(extracted, b"recollect/a\x01", "sha256")


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=10))
def test_a_box_opens_to_what_was_sealed(plain, place):
    box = Box(KEY)
    assert box.open(box.seal(plain, place), place) == plain


def test_a_box_opens_nowhere_else_and_never_after_a_change():
    sealed = Box(KEY).seal(b"secret", b"here")

    assert b"secret" not in sealed
    for broken in mutants(sealed):
        with pytest.raises(Damaged):
            Box(KEY).open(broken, b"here")
    with pytest.raises(Damaged):
        Box(KEY).open(sealed, b"there")
    with pytest.raises(Damaged):
        Box(os.urandom(32)).open(sealed, b"here")


def test_templates_open_to_the_bits_that_were_sealed():
    box = TemplateBox(KEY, "1", 7)

    opened = box.open(IDS, box.seal(IDS, ROWS), 8)

    assert opened.dtype == np.float32
    assert opened.tobytes() == ROWS.tobytes()
    assert opened.flags.writeable


def test_templates_are_sealed_row_by_row_as_the_format_says():
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = TemplateBox(KEY, "123456789012", 7).seal(IDS, ROWS)

    for face, blob, row in zip(IDS, sealed, ROWS, strict=True):
        place = b"123456789012/7/" + face
        assert AESGCM(KEY).decrypt(blob[:12], blob[12:], place) == row.astype("<f4").tobytes()


def test_a_template_opens_under_its_own_account_collection_and_id_only():
    sealed = TemplateBox(KEY, "1", 7).seal(IDS, ROWS)

    for other in (
        TemplateBox(KEY, "2", 7),
        TemplateBox(KEY, "1", 8),
        TemplateBox(KEY[::-1], "1", 7),
    ):
        with pytest.raises(Damaged):
            other.open(IDS, sealed, 8)
    with pytest.raises(Damaged, match=IDS[0].hex()):
        TemplateBox(KEY, "1", 7).open(IDS, sealed[1:] + sealed[:1], 8)
    with pytest.raises(Damaged, match="another dimension"):
        TemplateBox(KEY, "1", 7).open(IDS, sealed, 9)


def test_the_damaged_template_is_named():
    box = TemplateBox(KEY, "1", 7)
    sealed = box.seal(IDS, ROWS)
    for broken in mutants(sealed[3]):
        with pytest.raises(Damaged, match=f"1/7/{IDS[3].hex()}"):
            box.open(IDS, [*sealed[:3], broken, sealed[4]], 8)


def test_templates_that_lie_one_behind_the_other_open_as_others_do():
    box = TemplateBox(KEY, "1", 7)
    ids, sealed = b"".join(IDS), box.seal(IDS, ROWS)

    assert box.open_joined(ids, b"".join(sealed), 8).tobytes() == ROWS.tobytes()
    assert box.open_joined(b"", b"", 8).shape == (0, 8)
    for broken in mutants(sealed[3]):
        joined = b"".join([*sealed[:3], broken, sealed[4]])
        match = IDS[3].hex() if len(broken) == len(sealed[3]) else "another dimension"
        with pytest.raises(Damaged, match=f"1/7/.*{match}"):
            box.open_joined(ids, joined, 8)
    with pytest.raises(Damaged, match="another dimension"):
        box.open_joined(ids[:-1], b"".join(sealed), 8)


def test_no_two_seals_are_alike():
    box = TemplateBox(KEY, "1", 7)
    nonces = {blob[:12] for _ in range(50) for blob in box.seal(IDS, ROWS)}
    assert len(nonces) == 250


def mutants(sealed):
    """Every flipped bit of it, and every length it should not have."""
    for position in range(len(sealed) * 8):
        broken = bytearray(sealed)
        broken[position // 8] ^= 1 << position % 8
        yield bytes(broken)
    yield from (sealed[:length] for length in range(len(sealed)))
    yield sealed + b"\0"
