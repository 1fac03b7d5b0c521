"""What a picture claims, read without decoding it."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recollect.errors import (
    AnswerError,
    ImageTooLargeException,
    InvalidImageFormatException,
    InvalidParameterException,
)
from recollect.vision.header import PARTS_MAX, Header, Limits, bare_png, read

ANY_SIZE = Limits(side_px_min=1)


def jpeg(width=96, height=80, mode="RGB", **options):
    picture = io.BytesIO()
    Image.effect_noise((width, height), 40).convert(mode).save(picture, "JPEG", **options)
    return picture.getvalue()


def png(width=96, height=80, mode="RGB", **options):
    picture = io.BytesIO()
    Image.effect_noise((width, height), 40).convert(mode).save(picture, "PNG", **options)
    return picture.getvalue()


def segment(code, payload=b""):
    return struct.pack(">BBH", 0xFF, code, len(payload) + 2) + payload


def frame(width, height, code=0xC0, components=1):
    return segment(code, struct.pack(">BHHB", 8, height, width, components) + b"\1\x11\0")


SCAN = segment(0xDA, b"\1\1\0\0\x3f\0")


def chunk(kind, payload=b""):
    check = zlib.crc32(kind + payload)
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", check)


def ihdr(width, height, bits=8, colour=2, rest=b"\0\0\0"):
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, bits, colour) + rest)


SIGNATURE = b"\x89PNG\r\n\x1a\n"


def exif(value, order="<", kind=3, tag=0x0112):
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    packed = struct.pack(
        f"{order}{'I' if kind == 4 else 'HH'}", *((value,) if kind == 4 else (value, 0))
    )
    entry = struct.pack(f"{order}HHI", tag, kind, 1) + packed
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def turned(exif_bytes):
    whole = jpeg()
    return whole[:2] + segment(0xE1, exif_bytes) + whole[2:]


def test_a_jpeg_says_what_it_is():
    assert read(jpeg()) == Header("jpeg", 96, 80, 3, 8, 1, False, 1)
    assert read(jpeg(mode="L")).channels == 1
    assert read(jpeg(mode="CMYK")).channels == 4


def test_a_progressive_jpeg_has_more_scans():
    header = read(jpeg(progressive=True))

    assert header.progressive
    assert header.scans == jpeg(progressive=True).count(b"\xff\xda") > 1


def test_a_png_says_what_it_is():
    assert read(png()) == Header("png", 96, 80, 3, 8, 1, False, 1)
    assert read(png(mode="1")).bits == 1
    assert read(png(mode="P")).channels == 1
    assert read(png(mode="LA")).channels == 2
    assert read(png(mode="RGBA")).channels == 4


def test_the_content_decides_and_nothing_else_is_read():
    for data in (b"", b"\xff", b"\xff\xd8", SIGNATURE, b"GIF89a", b"BM", b"<svg/>", b"\0" * 1000):
        with pytest.raises(
            InvalidImageFormatException, match=r"^Request has invalid image format$"
        ):
            read(data)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
def test_the_orientation_is_found_in_either_byte_order(value, order, kind):
    header = read(turned(exif(value, order, kind)))

    assert header.orientation == value
    assert header.upright == ((80, 96) if value >= 5 else (96, 80))


@pytest.mark.parametrize(
    "garbage",
    [
        exif(0),
        exif(9),
        exif(65535),
        exif(6, tag=0x0113),
        exif(6)[:-10],
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"http://ns.adobe.com/xap/1.0/\0" + exif(6),
        b"",
    ],
)
def test_an_orientation_that_makes_no_sense_means_upright(garbage):
    assert read(turned(garbage)).orientation == 1


def test_the_first_exif_counts_and_a_thumbnail_does_not():
    thumbnail = exif(6) + jpeg(progressive=True)
    whole = turned(exif(8))

    header = read(whole[:2] + segment(0xE1, thumbnail) + whole[2:])

    assert (header.orientation, header.width, header.scans) == (6, 96, 1)


def test_exif_in_a_png_turns_nothing():
    whole = png()
    data = whole[:33] + chunk(b"eXIf", exif(6)[6:]) + whole[33:]

    assert read(data).orientation == 1


def test_the_walk_agrees_with_the_decoder_about_markers():
    # Fill bytes before a marker, stuffed bytes and restarts in the data, garbage between segments.
    data = (
        b"\xff\xd8"
        + b"\xff\xff" + frame(96, 80)
        + b"\0\1\2" + SCAN + b"\xff\0\xff\xd0\x12\xff\xff\xd7\xff\xff\0"
        + SCAN + b"\xff\x01\xff\xff\xff\xd9"
    )  # fmt: skip

    assert read(data).scans == 2


def test_what_follows_the_end_is_not_read():
    assert read(jpeg() + SCAN * 100 + b"PK\3\4").scans == 1
    assert read(png() + b"PK\3\4").format == "png"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(96, 80) + b"\xff\xd9",
        b"\xff\xd8" + frame(96, 80) + frame(96, 80) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(96, 0) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(0, 80) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + segment(0xC0, b"\x08\0\x50") + SCAN + b"\xff\xd9",
        b"\xff\xd8\xff\xe0\0\1" + frame(96, 80) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(96, 80) + SCAN + b"\xff\xe1\xff\xff\xff\xd9",
        *(
            b"\xff\xd8" + frame(96, 80, code) + SCAN + b"\xff\xd9"
            for code in (*range(0xC3, 0xC4), *range(0xC5, 0xCC), *range(0xCD, 0xD0), 0xDE)
        ),
    ],
)
def test_a_jpeg_without_a_sound_structure_is_refused(data):
    with pytest.raises(InvalidImageFormatException):
        read(data)


@pytest.mark.parametrize(
    "chunks",
    [
        ihdr(96, 80),
        ihdr(96, 80) + chunk(b"IEND"),
        ihdr(96, 80) + chunk(b"IDAT"),
        ihdr(96, 80) + ihdr(96, 80) + chunk(b"IDAT") + chunk(b"IEND"),
        chunk(b"IDAT") + ihdr(96, 80) + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, rest=b"\0\0") + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, rest=b"\0\0\2") + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, rest=b"\1\0\0") + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, rest=b"\0\1\0") + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, bits=3, colour=0) + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, bits=16, colour=3) + chunk(b"PLTE") + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, bits=8, colour=3) + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80, colour=1) + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(0, 80) + chunk(b"IDAT") + chunk(b"IEND"),
        ihdr(96, 80) + b"\xff\xff\xff\xffIDAT" + chunk(b"IEND"),
        ihdr(96, 80) + chunk(b"IDAT") + chunk(b"ID\0T") + chunk(b"IEND"),
        ihdr(96, 80) + chunk(b"IDAT") + chunk(b"ID\xe4T") + chunk(b"IEND"),
        ihdr(96, 80) + chunk(b"IDAT") + b"\0\0\0\1IEND" + bytes(4),
        ihdr(96, 80) + chunk(b"IDAT") + chunk(b"IEND")[:-1],
    ],
)
def test_a_png_without_a_sound_structure_is_refused(chunks):
    with pytest.raises(InvalidImageFormatException):
        read(SIGNATURE + chunks)


@pytest.mark.parametrize("make", [jpeg, png])
def test_a_side_below_80_pixels_is_refused(make):
    assert read(make(80, 80)).width == 80
    for width, height in ((79, 80), (80, 79), (1, 1)):
        with pytest.raises(InvalidParameterException, match=r"^Request has invalid parameters$"):
            read(make(width, height))


def sized(width, height, kind):
    if kind == "jpeg":
        return b"\xff\xd8" + frame(width, height) + SCAN + b"\xff\xd9"
    return SIGNATURE + ihdr(width, height) + chunk(b"IDAT") + chunk(b"IEND")


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_side_above_10000_pixels_is_refused(kind):
    assert read(sized(10_000, 80, kind)).width == 10_000
    for width, height in ((10_001, 80), (80, 10_001), (65_500, 65_500)):
        text = f"Input image dimensions {width} x {height} exceed maximum dimension size of 10000 "
        with pytest.raises(ImageTooLargeException, match=f"^{text}pixels$"):
            read(sized(width, height, kind))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_more_than_64_megapixels_are_refused(kind):
    assert read(sized(8_000, 8_000, kind)).width == 8_000
    with pytest.raises(ImageTooLargeException, match="8001 x 8000 pixels exceed"):
        read(sized(8_001, 8_000, kind))
    assert read(sized(9_000, 9_000, kind), Limits(pixels_max=81_000_000)).width == 9_000


def test_more_than_50_scans_are_refused_without_reading_on():
    start = b"\xff\xd8" + frame(96, 80, 0xC2)

    assert read(start + SCAN * 50 + b"\xff\xd9").scans == 50
    with pytest.raises(ImageTooLargeException, match=r"^Image size is too large$"):
        read(start + SCAN * 51)
    assert read(start + SCAN * 51 + b"\xff\xd9", Limits(scans_max=51)).scans == 51


def test_the_largest_picture_cannot_have_the_most_scans():
    start = b"\xff\xd8" + frame(8_000, 8_000, 0xC2)

    assert read(start + SCAN * 11 + b"\xff\xd9").scans == 11
    with pytest.raises(ImageTooLargeException):
        read(start + SCAN * 12 + b"\xff\xd9")


def test_the_number_of_parts_is_bounded():
    many = segment(0xE1) * (PARTS_MAX + 1)
    with pytest.raises(InvalidImageFormatException):
        read(b"\xff\xd8" + many + frame(96, 80) + SCAN + b"\xff\xd9")
    with pytest.raises(InvalidImageFormatException):
        read(SIGNATURE + ihdr(96, 80) + chunk(b"IDAT") * (PARTS_MAX + 1) + chunk(b"IEND"))


def test_a_bare_png_keeps_size_palette_and_pixels_only():
    whole = png(mode="P", transparency=0, icc_profile=b"profile", dpi=(72, 72))
    assert whole != bare_png(whole)

    bare = bare_png(whole)

    assert b"iCCP" not in bare
    assert b"tRNS" not in bare
    assert b"pHYs" not in bare
    assert Image.open(io.BytesIO(bare)).convert("RGB").tobytes() == (
        Image.open(io.BytesIO(whole)).convert("RGB").tobytes()
    )


REAL = [
    jpeg(),
    jpeg(progressive=True),
    jpeg(quality=95, restart_marker_rows=1),
    png(),
    png(mode="P"),
    turned(exif(6)),
]


@given(st.sampled_from(REAL), st.data())
def test_a_file_cut_short_is_refused(whole, data):
    length = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(InvalidImageFormatException):
        read(whole[:length], ANY_SIZE)


@given(st.sampled_from(REAL), st.data())
def test_any_change_gives_a_header_or_a_typed_error(whole, data):
    at = data.draw(st.integers(0, min(len(whole), 700)))
    junk = data.draw(st.binary(max_size=4))

    try:
        header = read(whole[:at] + junk + whole[at + len(junk) :], ANY_SIZE)
    except AnswerError:
        return
    assert header.width * header.height <= 64_000_000
    assert 1 <= header.orientation <= 8


TOKENS = [b"\xff", b"\0", b"\xd8", b"\xd9", b"\xda", b"\xc0", b"\xe1", b"\x08", SCAN, frame(96, 80)]


def oracle_scans(data):
    """Count the scans as libjpeg's reader would, byte by byte."""
    at, scans = 2, 0
    while True:
        while data[at] != 0xFF:
            at += 1
        while data[at] == 0xFF:
            at += 1
        code = data[at]
        at += 1
        if code == 0xD9:
            return scans
        if code < 0xC0 or 0xD0 <= code <= 0xD8:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        scans += code == 0xDA
        at += length


@given(st.lists(st.sampled_from(TOKENS), max_size=12))
def test_scans_are_counted_as_a_byte_by_byte_reader_counts_them(tokens):
    data = b"\xff\xd8" + frame(96, 80) + b"".join(tokens) + b"\xff\xd9"
    try:
        header = read(data, ANY_SIZE)
    except AnswerError:
        return
    assert header.scans == oracle_scans(data)
