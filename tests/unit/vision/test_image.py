"""Bytes to pixels, through a child that may die."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recollect.errors import (
    ImageTooLargeException,
    InvalidImageFormatException,
    ThrottlingException,
)
from recollect.vision import decode_child, image
from recollect.vision.header import Limits
from recollect.vision.image import Decoder
from recollect.vision.shared_memory import SharedMemory

ANY_SIZE = Limits(side_px_min=1)
AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 3),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.fixture(scope="module")
def decoder():
    decoder = Decoder(1, limits=ANY_SIZE)
    decoder.ready()
    yield decoder
    decoder.close()


@contextmanager
def own_decoder(children=1, **options):
    decoder = Decoder(children, **options)
    try:
        yield decoder
    finally:
        decoder.close()


def noise(width, height, channels=3, seed=0):
    """Coarse colours, so that a JPEG of them stays close to them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, channels), np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width]


def encoded(picture, kind="JPEG", **options):
    file = io.BytesIO()
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    picture.save(file, kind, **options)
    return file.getvalue()


def with_orientation(picture, value, kind="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(picture, kind, exif=exif)


def pids(decoder):
    return [worker._process.pid for worker in decoder._workers]


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_png_comes_back_pixel_by_pixel(decoder):
    original = noise(130, 97)

    picture = decoder.decode(encoded(original, "PNG"))

    assert np.array_equal(picture.pixels, original)
    assert picture.pixels.dtype == np.uint8
    assert (picture.width, picture.height, picture.scale) == (130, 97, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_set_upright_exactly_once(decoder, orientation):
    data = with_orientation(noise(160, 96), orientation)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), AS_STORED)[..., ::-1]

    picture = decoder.decode(data)

    assert np.array_equal(picture.pixels, TURNED[orientation](stored))
    assert picture.pixels.shape == (picture.height, picture.width, 3)


def test_a_png_is_never_turned(decoder):
    original = noise(160, 96)

    assert np.array_equal(decoder.decode(with_orientation(original, 6, "PNG")).pixels, original)


def test_alpha_is_ignored_and_not_composited(decoder):
    original = noise(96, 80, 4)
    original[..., 3] = 0

    assert np.array_equal(decoder.decode(encoded(original, "PNG")).pixels, original[..., :3])
    assert np.array_equal(
        decoder.decode(encoded(Image.fromarray(original).convert("LA"), "PNG")).pixels,
        np.asarray(Image.fromarray(original).convert("LA").convert("RGB")),
    )


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("transparency", [None, 0])
def test_grey_palette_and_one_bit_become_rgb(decoder, mode, transparency):
    original = Image.fromarray(noise(96, 80)).convert(mode)
    options = {} if transparency is None else {"transparency": transparency}

    picture = decoder.decode(encoded(original, "PNG", **options))

    assert np.array_equal(picture.pixels, np.asarray(original.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_to_eight(decoder, channels):
    deep = np.random.default_rng(0).integers(0, 65536, (80, 96, channels)).astype(np.uint16)
    data = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()

    picture = decoder.decode(data)

    assert np.abs(picture.pixels.astype(int) - deep / 257).max() <= 1


def test_interlaced_pngs_and_progressive_jpegs_are_read(decoder):
    original = noise(96, 80)
    # Pillow writes no interlaced PNG; PngSuite has them and is tested in tests/security.
    plain = decoder.decode(encoded(original, quality=95)).pixels
    progressive = decoder.decode(encoded(original, quality=95, progressive=True)).pixels

    assert np.array_equal(plain, progressive)


def test_cmyk_is_converted(decoder):
    original = noise(96, 80)
    data = encoded(Image.fromarray(original).convert("CMYK"), quality=95)

    picture = decoder.decode(data)

    assert np.abs(picture.pixels.astype(int) - original).mean() < 8


def test_an_animated_png_gives_its_still_image(decoder):
    frames = [Image.fromarray(noise(96, 80, seed=seed)) for seed in range(3)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    hidden = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)

    assert data.count(b"fdAT") == 2
    assert np.array_equal(decoder.decode(data).pixels, np.asarray(frames[0]))
    assert np.array_equal(decoder.decode(hidden).pixels, np.asarray(frames[0]))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    long_side_max=st.sampled_from([1, 40, 64, 100, 250, 251, 499, 500]),
    orientation=st.integers(1, 8),
)
def test_a_reduced_jpeg_keeps_its_long_side(decoder, width, height, long_side_max, orientation):
    data = with_orientation(noise(width, height), orientation)

    picture = decoder.decode(data, long_side_max=long_side_max)

    whole = decoder.decode(data)
    assert (picture.width, picture.height) == (whole.width, whole.height)
    assert picture.scale in (1, 1 / 2, 1 / 4, 1 / 8)
    assert picture.pixels.shape == (
        -(-picture.height * picture.scale // 1),
        -(-picture.width * picture.scale // 1),
        3,
    )
    longest = max(picture.pixels.shape[:2])
    assert longest >= min(long_side_max, max(width, height))
    assert picture.scale == 1 / 8 or longest <= 2 * long_side_max or picture.scale == 1


def test_a_reduced_jpeg_shows_the_same_picture(decoder):
    data = encoded(noise(800, 640), quality=95)

    whole, reduced = decoder.decode(data), decoder.decode(data, long_side_max=200)

    assert reduced.scale == 1 / 4
    expected = cv2.resize(whole.pixels, (200, 160), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.pixels.astype(int) - expected).mean() < 6


def test_a_png_is_never_reduced(decoder):
    assert decoder.decode(encoded(noise(320, 320), "PNG"), long_side_max=10).scale == 1


CUT = [
    encoded(noise(256, 256), quality=90),
    encoded(noise(256, 256), quality=90, progressive=True),
    encoded(noise(256, 256), "PNG"),
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CUT), st.data())
def test_a_file_cut_short_is_refused_and_never_half_read(decoder, whole, data):
    length = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(InvalidImageFormatException):
        decoder.decode(whole[:length])


def test_a_png_whose_pixels_are_missing_or_damaged_is_refused(decoder):
    whole = encoded(noise(256, 256), "PNG")
    at = whole.index(b"IDAT") + 40

    with pytest.raises(InvalidImageFormatException):
        decoder.decode(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CUT), st.data())
def test_any_change_gives_a_picture_or_a_typed_error(decoder, whole, data):
    at = data.draw(st.integers(0, len(whole) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=8))
    (pid,) = pids(decoder)

    try:
        picture = decoder.decode(whole[:at] + junk + whole[at + len(junk) :])
    except (InvalidImageFormatException, ImageTooLargeException):
        pass
    else:
        assert picture.pixels.shape == (picture.height, picture.width, 3)
    assert pids(decoder) == [pid], "the child died of it"


def test_a_picture_cannot_be_written_to(decoder):
    picture = decoder.decode(CUT[0])

    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0, 0] = 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 4), st.booleans()), max_size=12))
def test_a_picture_stays_what_it_is_while_others_are_decoded(decoder, steps):
    held = {}
    for side, slot, as_view in steps:
        original = noise(side, side, seed=side)
        pixels = decoder.decode(encoded(original, "PNG")).pixels
        # Whoever cuts out a part holds on to the whole.
        held[slot] = (pixels[:1, :1], original[:1, :1]) if as_view else (pixels, original)
        del pixels
        for seen, expected in held.values():
            assert np.array_equal(seen, expected)


def test_memory_and_descriptors_are_used_again(decoder):
    data = encoded(noise(640, 480))
    broken = data[:20] + b"\xff\xd9"
    held = [decoder.decode(data) for _ in range(4)]
    before = open_descriptors()

    for _ in range(50):
        held.append(decoder.decode(data))
        held.pop(0)
        with pytest.raises(InvalidImageFormatException):
            decoder.decode(broken)

    assert open_descriptors() <= before + 2


def test_a_large_picture_takes_no_memory_for_later(decoder):
    picture = decoder.decode(encoded(Image.new("L", (4800, 3600)), "PNG"))
    assert picture.pixels.nbytes > 40 << 20

    before = open_descriptors()
    del picture

    assert open_descriptors() < before


def test_many_callers_share_few_children():
    originals = [noise(100 + n, 90 + n, seed=n) for n in range(8)]
    files = [encoded(original, "PNG") for original in originals]
    with own_decoder(2) as decoder, ThreadPoolExecutor(8) as callers:
        before = pids(decoder)

        pictures = list(callers.map(decoder.decode, files * 10))

        assert pids(decoder) == before
        assert len(set(before)) == 2
    for picture, original in zip(pictures, originals * 10, strict=True):
        assert np.array_equal(picture.pixels, original)


def test_a_child_holds_no_secret_and_no_descriptor_of_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with (tmp_path / "open").open("w") as file, own_decoder() as decoder:
        os.set_inheritable(file.fileno(), True)
        decoder.ready()
        decoder.decode(CUT[0])
        (pid,) = pids(decoder)

        environment = Path(f"/proc/{pid}/environ").read_bytes()
        descriptors = sorted(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())

    assert b"canary" not in environment
    assert b"AWS" not in environment
    assert descriptors == [0, 1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_is_confined(decoder):
    decoder.decode(CUT[0])
    (pid,) = pids(decoder)
    rows = Path(f"/proc/{pid}/limits").read_text().splitlines()
    soft = {row[:26].strip(): row[26:].split()[0] for row in rows}

    assert soft["Max core file size"] == "0"
    assert soft["Max file size"] == "0"
    assert soft["Max open files"] == "7"
    assert 1 <= int(soft["Max cpu time"]) <= 30
    assert (1 << 30) < int(soft["Max address space"]) < (3 << 30)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status


def test_a_child_imports_little(decoder):
    program = "import sys, recollect.vision.decode_child; print(*sorted(sys.modules))"
    path = os.pathsep.join(sys.path)

    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )

    ours = {name for name in result.stdout.split() if name.startswith("recollect")}
    assert ours == {
        f"recollect{name}" for name in ("", ".vision", ".vision.decode_child", ".vision.jail")
    }


def test_a_child_that_died_idle_is_replaced_and_no_picture_pays_for_it():
    with own_decoder() as decoder:
        decoder.ready()
        for _ in range(3):
            (pid,) = pids(decoder)
            os.kill(pid, signal.SIGKILL)
            while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
                time.sleep(0.001)

            assert decoder.decode(CUT[2]).width == 256
            assert pids(decoder) != [pid]


@contextmanager
def ended_while_busy(decoder, how):
    """Stop the child, so that it cannot finish the next picture, and end it a little later."""
    (pid,) = pids(decoder)
    os.kill(pid, signal.SIGSTOP)

    def end():
        os.kill(pid, how)
        # A stopped process takes signals other than SIGKILL only when it goes on.
        os.kill(pid, signal.SIGCONT)

    timer = threading.Timer(0.1, end)
    timer.start()
    yield
    timer.join()
    assert pids(decoder) != [pid]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        # Out of CPU time, out of memory: there was too much of it. A crash: it was malformed.
        (signal.SIGXCPU, ImageTooLargeException),
        (signal.SIGKILL, ImageTooLargeException),
        (signal.SIGSEGV, InvalidImageFormatException),
        (signal.SIGABRT, InvalidImageFormatException),
    ],
)
def test_a_child_that_dies_of_a_picture_is_a_typed_error_and_is_replaced(how, error):
    with own_decoder() as decoder:
        decoder.ready()
        with ended_while_busy(decoder, how), pytest.raises(error):
            decoder.decode(CUT[0])

        assert decoder.decode(CUT[0]).width == 256


def test_the_next_child_does_not_see_what_the_last_one_saw():
    with own_decoder() as decoder:
        decoder.decode(CUT[0])
        (worker,) = decoder._workers
        before = [worker._file, *worker._pictures]
        os.kill(pids(decoder)[0], signal.SIGKILL)
        worker._process.wait()

        decoder.decode(CUT[0])

        assert len(before) == 2
        assert not set(before) & {worker._file, *worker._pictures}


def test_a_picture_of_another_size_than_it_claims_is_refused_by_the_child():
    data = CUT[0]
    file, picture = SharedMemory(len(data)), SharedMemory(256 * 256 * 3)
    os.pwrite(file.descriptor, data, 0)

    def answer(width, height):
        job = decode_child.JOB.pack(len(data), width, height, 1, 1)
        return decode_child.decode(job, file.descriptor, picture.descriptor)

    assert answer(256, 256) == decode_child.DONE
    assert answer(256, 255) == decode_child.UNREADABLE


def test_shared_memory_cannot_be_shortened():
    memory = SharedMemory(100)

    with pytest.raises(PermissionError):
        os.ftruncate(memory.descriptor, 10)


def test_a_child_that_hangs_is_killed_after_a_while():
    with own_decoder(cpu_s=0.25) as decoder:
        decoder.ready()
        (pid,) = pids(decoder)
        os.kill(pid, signal.SIGSTOP)

        with pytest.raises(ImageTooLargeException):
            decoder.decode(CUT[0])

        assert not Path(f"/proc/{pid}").exists()
        assert decoder.decode(CUT[0]).width == 256


def test_a_picture_that_needs_too_much_memory_is_too_large():
    with own_decoder(memory_bytes=60 << 20) as decoder:
        decoder.ready()
        before = pids(decoder)

        with pytest.raises(ImageTooLargeException):
            decoder.decode(encoded(Image.new("RGB", (5000, 4000)), "PNG"))

        assert decoder.decode(CUT[0]).width == 256
        assert pids(decoder) == before


def test_a_picture_that_needs_too_much_time_is_too_large():
    slow = encoded(Image.new("L", (3000, 3000), 128), progressive=True)
    last, end = slow.rindex(b"\xff\xda"), len(slow) - 2
    slow = slow[:last] + slow[last:end] * 600 + slow[end:]
    limits = Limits(scans_max=1000, pixel_visits_max=1 << 40)
    with own_decoder(cpu_s=0.5, limits=limits) as decoder:
        decoder.ready()
        before = pids(decoder)
        start = time.monotonic()

        with pytest.raises(ImageTooLargeException):
            decoder.decode(slow)

        assert time.monotonic() - start < 10
        assert pids(decoder) != before


def test_a_caller_waits_for_a_child_only_so_long(monkeypatch):
    monkeypatch.setattr(image, "WAIT_S_MAX", 0.05)
    with own_decoder(cpu_s=0.25) as decoder, ThreadPoolExecutor(1) as callers:
        decoder.ready()
        os.kill(pids(decoder)[0], signal.SIGSTOP)
        first = callers.submit(decoder.decode, CUT[0])
        time.sleep(0.05)

        with pytest.raises(ThrottlingException):
            decoder.decode(CUT[0])

        with pytest.raises(ImageTooLargeException):
            first.result()
        monkeypatch.undo()
        assert decoder.decode(CUT[0]).width == 256


def test_children_that_cannot_start_are_reported_and_the_place_is_kept(monkeypatch):
    with own_decoder() as decoder:
        decoder.ready()
        (worker,) = decoder._workers
        monkeypatch.setattr(sys, "executable", "/bin/false")
        os.kill(pids(decoder)[0], signal.SIGKILL)
        worker._process.wait()

        for _ in range(2):
            with pytest.raises(RuntimeError, match="did not start"):
                decoder.decode(CUT[0])

        monkeypatch.setattr(sys, "executable", "/nonexistent")
        with pytest.raises(FileNotFoundError):
            decoder.decode(CUT[0])
        monkeypatch.undo()
        assert decoder.decode(CUT[0]).width == 256


def test_a_broken_installation_is_noticed_at_the_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with own_decoder(2) as decoder, pytest.raises(RuntimeError, match="did not start"):
        decoder.ready()


def test_closing_ends_the_children_and_whoever_waits_for_them():
    decoder = Decoder(2)
    decoder.ready()
    before = pids(decoder)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(3) as callers:
        waiting = [callers.submit(decoder.decode, CUT[0]) for _ in range(3)]
        time.sleep(0.1)

        decoder.close()
        decoder.close()

        for call in waiting:
            with pytest.raises(RuntimeError, match="closed"):
                call.result()
    with pytest.raises(RuntimeError, match="closed"):
        decoder.decode(CUT[0])
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)


def test_children_end_with_a_server_that_is_killed():
    program = (
        "from recollect.vision.image import Decoder; d = Decoder(1); d.ready(); "
        "print(d._workers[0]._process.pid, flush=True); input()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with server:
        child = int(server.stdout.readline())
        server.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists():
        state = Path(f"/proc/{child}/stat").read_text().split()[2]
        if state == "Z":  # Nobody reaps orphans where there is no init.
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
