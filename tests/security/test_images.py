"""Hostile and odd pictures of others, and bombs of our own: a picture or a typed error, in time."""

import io
import os
import resource
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from recollect.errors import (
    ImageTooLargeException,
    InvalidImageFormatException,
    InvalidParameterException,
)
from recollect.vision.header import Limits
from recollect.vision.image import Decoder

SHARED = Path(__file__).parents[2].parent / "shared"
DATA = Path(os.environ.get("RECOLLECT_EVAL_DATA", SHARED / "data"))
SUITES = SHARED / "suites"

TYPED = (InvalidImageFormatException, ImageTooLargeException, InvalidParameterException)
CPU_S_MAX = 2.0
WALL_S_MAX = 20.0
"""Where others want the cores too; what a picture costs is its CPU time."""
SERVER_BYTES_MAX = 512 << 20
CHILD_BYTES_MAX = (1 << 30) + (256 << 20)
"""The limit of address space and the libraries."""


@pytest.fixture(scope="module")
def decoder():
    """As the server has it, but for one child, so that every file meets the same one."""
    decoder = Decoder(1)
    decoder.ready()
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def small_too():
    """A decoder that takes pictures of any size: most of the suites' are small."""
    decoder = Decoder(1, limits=Limits(side_px_min=1))
    decoder.ready()
    yield decoder
    decoder.close()


def cpu_s(pid):
    """CPU time of a child and of this process."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") + time.process_time()


def outcome(decoder, data, cpu_s_max=CPU_S_MAX):
    """Decode, within the bounds of every hostile input; return the picture or the error."""
    child = pid(decoder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu_start_s = time.monotonic(), cpu_s(child)
    try:
        result = decoder.decode(data)
    except TYPED as error:
        result = error
    assert time.monotonic() - start < WALL_S_MAX
    assert pid(decoder) == child, "the child died of it"
    assert cpu_s(child) - cpu_start_s < cpu_s_max
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < SERVER_BYTES_MAX
    return result


def pid(decoder):
    return decoder._workers[0]._process.pid


def peak_bytes(pid):
    """Most memory the process ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def files(folder, patterns):
    """Files of a folder that is not part of the repository."""
    if not folder.is_dir():
        return []
    return sorted(path for p in patterns for path in folder.glob(p) if path.suffix != ".csv")


BAD = files(DATA / "bad", ["*/*"])
OTHERS = files(SUITES / "images", ["*/*"])
PNGSUITE = files(SUITES / "images" / "pngsuite", ["*.png"])


def sweep(decoder, paths):
    """Decode all."""
    results = {path: outcome(decoder, path.read_bytes()) for path in paths}
    assert peak_bytes(pid(decoder)) < CHILD_BYTES_MAX
    read = sum(not isinstance(result, Exception) for result in results.values())
    print(f"{len(results)} files: {read} decoded, {len(results) - read} refused")
    return results


@pytest.mark.skipif(not BAD, reason="the evaluation data is not here")
def test_a_choice_of_bad_files_gives_a_picture_or_a_typed_error(decoder):
    sweep(decoder, [*files(DATA / "bad", ["limits/*", "notimage/*"]), *BAD[::5]])


@pytest.mark.skipif(not OTHERS, reason="shared/suites is not here")
def test_a_choice_of_fuzzed_files_gives_a_picture_or_a_typed_error(small_too):
    sweep(small_too, OTHERS[::5])


@pytest.mark.slow
@pytest.mark.skipif(not (BAD and OTHERS), reason="shared is not here")
def test_every_file_gives_a_picture_or_a_typed_error(decoder, small_too):
    sweep(decoder, BAD + OTHERS)
    sweep(small_too, BAD + OTHERS)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
@pytest.mark.skipif(not PNGSUITE, reason="shared/suites is not here")
def test_pngsuite_decodes_to_what_a_second_decoder_sees(small_too):
    assert len(PNGSUITE) == 175
    refused = []
    for path in PNGSUITE:
        data = path.read_bytes()
        result = outcome(small_too, data)
        if isinstance(result, Exception):
            refused.append(path.name)
            continue
        second = Image.open(io.BytesIO(data))
        if second.mode.startswith("I"):
            # Pillow clips deep grey to white; so take its high bytes.
            grey = np.asarray(second).astype(int) // 257
            expected = np.repeat(grey[..., None], 3, axis=2)
            assert np.abs(result.pixels - expected).max() <= 1, path.name
        else:
            assert np.array_equal(result.pixels, np.asarray(second.convert("RGB"))), path.name

    assert refused == sorted(path.name for path in PNGSUITE if path.name.startswith("x"))


@pytest.mark.skipif(not OTHERS, reason="shared/suites is not here")
@pytest.mark.parametrize(
    ("series", "size"), [("Landscape", (1800, 1200)), ("Portrait", (1200, 1800))]
)
def test_nine_orientations_of_one_photograph_are_one_picture(decoder, series, size):
    folder = SUITES / "images" / "exif-orientation"
    pictures = [outcome(decoder, (folder / f"{series}_{n}.jpg").read_bytes()) for n in range(9)]

    for picture in pictures:
        assert (picture.width, picture.height) == size
        assert cv2.absdiff(picture.pixels, pictures[1].pixels).mean() <= 3.7


@pytest.mark.skipif(not BAD, reason="the evaluation data is not here")
def test_files_cut_short_are_never_half_read(decoder):
    cut = files(DATA / "bad" / "limits", ["truncated_*", "no_eoi*", "bad_crc*"])
    assert len(cut) == 12

    for path in cut:
        assert isinstance(outcome(decoder, path.read_bytes()), InvalidImageFormatException), path


@pytest.mark.skipif(not BAD, reason="the evaluation data is not here")
def test_only_jpeg_and_png_are_pictures_whatever_their_names(decoder):
    for path in files(DATA / "bad" / "notimage", ["*"]):
        assert isinstance(outcome(decoder, path.read_bytes()), InvalidImageFormatException), path
    for name in ("jpeg_named.png", "png_named.jpg", "trailing_zip.jpg", "many_app1_500.jpg"):
        assert outcome(decoder, (DATA / "bad" / "limits" / name).read_bytes()).width >= 80


# Bombs, made here.


def chunk(kind, payload):
    check = zlib.crc32(kind + payload)
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", check)


def png(width, height, bits, colour, rows, *extra):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *extra,
            chunk(b"IDAT", rows),
            chunk(b"IEND", b""),
        ]
    )


def zeros(length):
    """That many zero bytes, deflated, without holding them."""
    deflate = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [deflate.compress(block) for _ in range(length >> 20)]
    return b"".join([*parts, deflate.compress(block[: length % (1 << 20)]), deflate.flush()])


def small_png(*extra):
    rows = zlib.compress(b"".join(b"\0" + bytes(300) for _ in range(100)))
    return png(100, 100, 8, 2, rows, *extra)


def jpeg(width, height, **options):
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "JPEG", **options)
    return file.getvalue()


def many_scans(side, count):
    """A progressive JPEG whose last scan comes again and again."""
    whole = jpeg(side, side, progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


def noisy():
    """64 megapixels of noise in as many bytes as a store may send, in many scans."""
    grey = Image.effect_noise((8000, 8000), 50)
    file = io.BytesIO()
    options = {"progressive": True, "subsampling": 0, "quality": 10}
    Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)]).save(file, "JPEG", **options)
    return file.getvalue()


def claiming(data, width, height):
    """The JPEG with other numbers in its frame header."""
    at = next(
        data.index(bytes([0xFF, code])) for code in (0xC0, 0xC2) if bytes([0xFF, code]) in data
    )
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


DEEP = zeros(200 << 20)

TOO_LARGE = {
    "PNG of 30000 x 30000, one bit": lambda: png(30_000, 30_000, 1, 0, zeros(30_000 * 3751)),
    "PNG of 2^31-1 a side": lambda: png(2**31 - 1, 2**31 - 1, 8, 2, b""),
    "PNG of 10000 x 10000": lambda: png(10_000, 10_000, 8, 0, zeros(10_000 * 10_001)),
    "JPEG of 65535 a side": lambda: claiming(jpeg(100, 100), 65_535, 65_535),
    "JPEG of 10000 scans": lambda: many_scans(3000, 10_000),
    "JPEG of 51 scans": lambda: many_scans(100, 51),
    "JPEG of 64 megapixels in 50 scans": lambda: many_scans(8000, 43),
}

BROKEN = {
    "JPEG that claims more than it holds": lambda: claiming(jpeg(100, 100), 8000, 8000)[:-2],
    "PNG that holds less than it claims": lambda: png(8000, 8000, 8, 2, zeros(1 << 20)),
    "PNG whose chunk is as long as can be": lambda: small_png()[:33] + b"\x7f\xff\xff\xffIDAT",
    "PNG in a million chunks": lambda: small_png(*[chunk(b"tEXt", b"")] * 1_000_000),
    "JPEG in a million segments": lambda: (
        b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000 + jpeg(99, 99)[2:]
    ),
    "five million fill bytes": lambda: b"\xff\xd8" + b"\xff" * 5_242_878,
    "five million restart markers": lambda: b"\xff\xd8" + b"\xff\xd0" * 2_621_439,
}

HARMLESS = {
    "zTXt that inflates to 200 MB, 16 times": lambda: small_png(
        *[chunk(b"zTXt", b"key\0\0" + DEEP)] * 16
    ),
    "iTXt that inflates to 200 MB": lambda: small_png(chunk(b"iTXt", b"k\0\1\0\0\0" + DEEP)),
    "iCCP that inflates to 200 MB": lambda: small_png(chunk(b"iCCP", b"key\0\0" + DEEP)),
    "pixels that inflate to 200 MB": lambda: png(100, 100, 8, 2, DEEP),
    "animation of 2^31-1 frames": lambda: small_png(
        chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 100, 100, 0, 0, 0, 0, 0, 0)),
    ),
    "JPEG in 90000 segments": lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 90_000 + jpeg(99, 99)[2:],
    "the largest PNG": lambda: png(8000, 8000, 8, 2, zeros(8000 * 24_001)),
    "the largest JPEG": lambda: jpeg(8000, 8000),
}

HEAVIEST = {
    "the largest PNG, 16 bits and alpha": lambda: png(8000, 8000, 16, 6, zeros(8000 * 64_001)),
    "the largest progressive JPEG": lambda: many_scans(8000, 4),
    "the largest progressive JPEG of noise in colour": lambda: noisy(),
}


@pytest.mark.parametrize("make", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_bomb_is_refused_by_its_header(decoder, make):
    bomb = make()
    start = time.process_time()

    assert isinstance(outcome(decoder, bomb), ImageTooLargeException)

    assert time.process_time() - start < 0.2


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_a_broken_bomb_is_refused(decoder, make):
    assert isinstance(outcome(decoder, make()), InvalidImageFormatException)


@pytest.mark.parametrize("make", HARMLESS.values(), ids=HARMLESS)
def test_what_would_be_a_bomb_elsewhere_is_a_picture_here(decoder, make):
    picture = outcome(decoder, make())

    assert picture.pixels.shape == (picture.height, picture.width, 3)
    assert peak_bytes(pid(decoder)) < CHILD_BYTES_MAX


@pytest.mark.slow
@pytest.mark.parametrize("make", HEAVIEST.values(), ids=HEAVIEST)
def test_the_heaviest_pictures_that_are_allowed_cost_less_than_the_limit(decoder, make):
    picture = outcome(decoder, make(), cpu_s_max=5.0)

    assert (picture.width, picture.height) == (8000, 8000)
    assert peak_bytes(pid(decoder)) < CHILD_BYTES_MAX


def test_the_next_picture_is_served_after_every_bomb(decoder):
    assert outcome(decoder, small_png()).width == 100
