import io

import hypothesis.strategies as st
import pytest
from hypothesis import given

from recollect.gallery import sealed
from recollect.gallery.crypt import Damaged
from recollect.gallery.sealed import MAGIC, SALT_BYTES, SealedReader, SealedWriter

KEY = bytes(range(32))
HEAD_BYTES = len(MAGIC) + SALT_BYTES


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(sealed, "PIECE_BYTES", 16)


def written(*contents):
    file = io.BytesIO()
    writer = SealedWriter(file, KEY)
    for content in contents:
        writer.write(content)
    writer.finish()
    return file.getvalue()


def read(raw, length_bytes, key=KEY):
    reader = SealedReader(io.BytesIO(raw), key)
    content = reader.read(length_bytes)
    reader.finish()
    return bytes(content)


@given(st.lists(st.binary(max_size=70), max_size=5))
def test_what_is_read_is_what_was_written(contents):
    sealed.PIECE_BYTES = 16
    content = b"".join(contents)

    assert read(written(*contents), len(content)) == content


@pytest.mark.parametrize("length_bytes", [0, 1, 15, 16, 17, 32, 40])
def test_a_file_cut_anywhere_is_damaged(length_bytes):
    raw = written(bytes(length_bytes))
    for cut in range(len(raw)):
        with pytest.raises(Damaged):
            read(raw[:cut], length_bytes)


def test_a_flipped_bit_anywhere_is_damage():
    raw = written(b"sixteen bytes or", b"a few more than these")
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 0x10
        with pytest.raises(Damaged):
            read(bytes(changed), 37)


def test_pieces_that_are_swapped_dropped_or_repeated_are_damage():
    raw = written(bytes(range(60)))
    piece_bytes = 4 + 16 + 16
    head, body = raw[:HEAD_BYTES], raw[HEAD_BYTES:]
    pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
    for order in ([1, 0, 2, 3], [0, 2, 3], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [0, 1, 2]):
        with pytest.raises(Damaged):
            read(head + b"".join(pieces[which] for which in order), 60)


def test_a_piece_of_another_file_is_damage():
    one, other = written(bytes(5)), written(bytes(5))

    with pytest.raises(Damaged):
        read(one[:HEAD_BYTES] + other[HEAD_BYTES:], 5)


def test_another_key_does_not_open_it():
    with pytest.raises(Damaged):
        read(written(b"content"), 7, key=bytes(32))


def test_what_is_left_over_or_missing_is_noticed():
    raw = written(b"content")

    for length_bytes in (6, 8):
        with pytest.raises(Damaged):
            read(raw, length_bytes)
    with pytest.raises(Damaged):
        read(raw + b"more", 7)
