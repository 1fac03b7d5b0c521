"""Models in processes of their own: the same answers, whoever dies."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn_packs import FIVE, draw_pack
from recollect.errors import InternalServerError, ThrottlingException
from recollect.vision import jail, model_job, model_pool
from recollect.vision.face import Face, Pose
from recollect.vision.manifest import PackError
from recollect.vision.model_job import Answer, Job
from recollect.vision.model_pool import ModelPool
from recollect.vision.pack import load
from recollect.vision.packs import default
from recollect.vision.shared_memory import SharedMemory, lender


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_pack(tmp_path_factory.mktemp("models"), "drawn")


@contextmanager
def pool_of(*folders, processes=1):
    pool = ModelPool(folders, processes)
    try:
        pool.ready()
        yield pool
    finally:
        pool.close()


def face(image, template=None):
    height, width = image.shape[:2]
    points = FIVE * (min(height, width) - 20) + 10
    return Face(
        box=(0.1, 0.1, 0.8, 0.8),
        confidence=99.5,
        landmarks={"nose": (0.5, 0.5)},
        pose=Pose(0.0, 1.0, 2.0),
        brightness=50.0,
        sharpness=60.0,
        size_px=80.0,
        points=points,
        template=template,
    )


def noise(seed=0, height=120, width=150):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def embedded(pool, image):
    (found,) = pool.packs["drawn"].embed(image, [face(image)])
    return found.template


def pids(pool):
    return [place._process[0] for place in pool._places]


def ended(pid):
    """Whether a process is gone, or waits only to be waited for."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def wait_until(true, seconds=5):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def same(one, other):
    assert np.array_equal(one.points, other.points)
    assert (one.template is None) == (other.template is None)
    assert one.template is None or np.array_equal(one.template, other.template)
    for field in Face.__dataclass_fields__:
        if field not in ("points", "template"):
            assert getattr(one, field) == getattr(other, field)
    return True


@pytest.mark.models
def test_a_pooled_pack_answers_to_the_bit_what_a_pack_of_this_process_does(
    models_dir, pack, astronaut
):
    blank = np.full_like(astronaut, 90)
    with pool_of(models_dir / default.NAME, processes=2) as pool:
        pooled = pool.packs[default.NAME]

        assert same(pooled.largest_face(astronaut, "AUTO"), pack.largest_face(astronaut, "AUTO"))
        assert pooled.largest_face(blank, "NONE") is None
        found = pooled.faces(astronaut)
        assert all(map(same, found, pack.faces(astronaut)))
        assert all(map(same, pooled.embed(astronaut, found), pack.embed(astronaut, found)))
        assert pooled.embed(astronaut, []) == []


def test_what_needs_no_net_is_the_manifests(drawn):
    here = load(drawn)
    with pool_of(drawn) as pool:
        pooled = pool.packs["drawn"]

        for name in ("name", "version", "rank", "false_match_rates", "dimension"):
            assert getattr(pooled, name) == getattr(here, name)
        assert pooled.similarity(0.4) == here.similarity(0.4)
        assert pooled.reasons(face(noise()), "HIGH") == here.reasons(face(noise()), "HIGH")


def test_pictures_of_every_size_and_memory_layout_arrive_whole(drawn):
    here = load(drawn)
    large = np.kron(noise(3), np.ones((36, 36, 1), np.uint8))
    assert large.nbytes > model_pool.KEPT_BYTES
    with pool_of(drawn) as pool:
        for image in (noise(1), noise(2)[:, ::-1], noise(2)[5:, 7:], large, noise(1)):
            (expected,) = here.embed(image, [face(image)])
            assert np.array_equal(embedded(pool, image), expected.template)


def test_a_picture_that_lies_in_shared_memory_is_not_copied(drawn):
    image = noise(4)
    memory = SharedMemory(image.nbytes + 1)
    os.pwrite(memory.descriptor, image.tobytes(), 0)
    lent = np.frombuffer(memory.lend(image.nbytes), np.uint8).reshape(image.shape)
    (expected,) = load(drawn).embed(image, [face(image)])
    with pool_of(drawn) as pool:
        (place,) = pool._places
        place._picture = None

        assert np.array_equal(embedded(pool, lent), expected.template)


def test_only_an_array_that_begins_and_runs_as_the_memory_does_is_lent_by_it():
    memory = SharedMemory(600)
    whole = np.frombuffer(memory.lend(300), np.uint8).reshape(10, 10, 3)

    assert lender(whole) is lender(whole[:5]) is lender(whole.reshape(-1)) is memory
    for other in (whole[1:], whole[:, ::-1], whole[:, :5], whole[::2], whole.copy(), noise()):
        assert lender(other) is None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_fails_its_own_call_and_is_replaced(drawn, how):
    with pool_of(drawn, processes=2) as pool:
        expected = embedded(pool, noise())
        before = pids(pool)
        os.kill(before[1], how)  # The one that is next.
        wait_until(lambda: ended(before[1]))

        with pytest.raises(InternalServerError):
            embedded(pool, noise())

        assert np.array_equal(embedded(pool, noise()), expected)
        assert pids(pool)[0] == before[0]
        assert pids(pool)[1] not in before


def test_a_process_that_hangs_is_killed_after_a_while(drawn, monkeypatch):
    monkeypatch.setattr(model_pool, "JOB_S_MAX", 0.2)
    with pool_of(drawn) as pool:
        (pid,) = pids(pool)
        os.kill(pid, signal.SIGSTOP)

        with pytest.raises(InternalServerError):
            embedded(pool, noise())

        wait_until(lambda: ended(pid))
        monkeypatch.setattr(model_pool, "JOB_S_MAX", 60)
        assert embedded(pool, noise()) is not None


def test_the_next_process_does_not_see_what_the_last_one_saw(drawn):
    with pool_of(drawn) as pool:
        (place,) = pool._places
        embedded(pool, noise())
        before = place._picture
        os.kill(pids(pool)[0], signal.SIGKILL)
        with pytest.raises(InternalServerError):
            embedded(pool, noise())

        embedded(pool, noise())

        assert place._picture is not before


def test_the_process_that_loads_is_replaced_too(drawn):
    with pool_of(drawn) as pool:
        expected = embedded(pool, noise())
        for pid in (pool._loader._process.pid, *pids(pool)):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: ended(pid))
        with pytest.raises(InternalServerError):
            embedded(pool, noise())

        assert np.array_equal(embedded(pool, noise()), expected)


def test_a_pack_that_changes_while_it_serves_is_never_mixed_with_another(tmp_path):
    folder = draw_pack(tmp_path, "drawn")
    with pool_of(folder) as pool:
        net = folder / "arcface.onnx"
        net.write_bytes(net.read_bytes()[:-1] + b"\0")
        text = (folder / "manifest.toml").read_text()
        (folder / "manifest.toml").write_text(text.replace('"drawn"', '"other"'))
        for pid in (pool._loader._process.pid, *pids(pool)):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: ended(pid))
        with pytest.raises(InternalServerError):
            embedded(pool, noise())

        with pytest.raises(PackError, match=r"arcface\.onnx is not the file of the manifest"):
            embedded(pool, noise())


def test_a_folder_that_is_no_pack_is_named_with_the_way_out(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PackError, match=r"empty holds no manifest.*recollect models"):
        ModelPool([empty], 1)

    broken = draw_pack(tmp_path, "broken")
    (broken / "detector.onnx").write_bytes(b"x")
    with (
        pytest.raises(PackError, match=r"broken: detector\.onnx.*recollect models"),
        pool_of(broken),
    ):
        pass


def test_a_call_that_finds_no_free_process_in_time_is_told_to_slow_down(drawn, monkeypatch):
    monkeypatch.setattr(model_pool, "WAIT_S_MAX", 0.1)
    with pool_of(drawn) as pool:
        (pid,) = pids(pool)
        os.kill(pid, signal.SIGSTOP)
        templates = []
        first = threading.Thread(target=lambda: templates.append(embedded(pool, noise())))
        first.start()
        wait_until(lambda: pool._idle.empty())

        with pytest.raises(ThrottlingException):
            embedded(pool, noise())

        os.kill(pid, signal.SIGCONT)
        first.join(10)
        assert len(templates) == 1


def test_what_goes_wrong_inside_is_told_with_its_traceback_and_costs_no_process(drawn):
    with pool_of(drawn) as pool:
        before = pids(pool)

        with pytest.raises(RuntimeError, match="KeyError: 'another'"):
            pool._run(Job("another", "faces", (80, 80, 3)), noise(0, 80, 80))

        assert embedded(pool, noise()) is not None
        assert pids(pool) == before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_process_that_runs_models_is_jailed_and_has_nothing_open_but_its_connection(drawn):
    if sys.platform != "linux" or os.uname().machine not in jail.CALLS:
        pytest.skip("seccomp filters are Linux's, and known for two processors")
    with pool_of(drawn, processes=2) as pool:
        embedded(pool, noise())
        for pid in pids(pool):
            status = Path(f"/proc/{pid}/status").read_text()
            assert "\nSeccomp:\t2\n" in status
            assert "\nNoNewPrivs:\t1\n" in status
            opened = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
            assert len([link for link in opened if "socket:" in str(link)]) == 1


def test_processes_end_with_the_pool_and_with_a_server_that_is_killed(drawn):
    with pool_of(drawn, processes=2) as pool:
        own = [pool._loader._process.pid, *pids(pool)]
        os.kill(own[1], signal.SIGSTOP)  # It would not notice by itself.
    wait_until(lambda: all(map(ended, own)))
    with pytest.raises(RuntimeError, match="closed"):
        pool._loader.fork()

    program = (
        "from pathlib import Path; from recollect.vision.model_pool import ModelPool; "
        f"p = ModelPool([Path({str(drawn)!r})], 2); p.ready(); "
        "print(p._loader._process.pid, *(q._process[0] for q in p._places), flush=True); input()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with server:
        children = [int(pid) for pid in server.stdout.readline().split()]
        server.kill()
    assert len(children) == 3
    wait_until(lambda: all(map(ended, children)))


def test_the_server_does_without_onnx_runtime():
    program = "import sys, recollect.app; print('onnxruntime' in sys.modules)"
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environ, check=True, capture_output=True, text=True
    )
    assert run.stdout == "False\n"


@given(st.binary(max_size=200))
def test_whatever_a_process_answers_is_faces_or_an_error(data):
    with suppress(msgspec.MsgspecError):
        assert isinstance(model_job.answers.decode(data), Answer)


FLOATS = st.floats(allow_nan=False, width=32)


@given(st.lists(FLOATS, max_size=8), st.lists(st.tuples(FLOATS, FLOATS), max_size=5), FLOATS)
def test_faces_come_back_as_they_were_sent(template, points, score):
    image = noise(0, 80, 80)
    one = face(image, np.array(template, np.float32))
    one = Face(
        **{name: getattr(one, name) for name in Face.__dataclass_fields__}
        | {
            "points": np.array(points, np.float64).reshape(-1, 2),
            "mirror_score": np.float32(score),
        }
    )

    (other,) = model_job.answers.decode(model_job.encode(Answer((one,)))).faces

    assert same(one, other)


@pytest.mark.parametrize("length", [0, 1, 10, 1 << 16, (1 << 16) - 4, 1 << 20])
def test_messages_of_every_length_arrive_with_their_descriptor(length):
    ours, theirs = socket.socketpair()
    message = np.random.default_rng(length).bytes(length)
    with ours, theirs, Path(os.devnull).open() as file:
        sender = threading.Thread(target=model_job.send, args=(ours, message, [file.fileno()]))
        sender.start()
        data, descriptors = model_job.receive(theirs)
        sender.join()
        for descriptor in descriptors:
            os.close(descriptor)
    assert data == message
    assert len(descriptors) == 1


@pytest.mark.parametrize("sent", [b"", b"\1", b"\5\0\0\0abc", b"\xff\xff\xff\xffabc"])
def test_a_message_that_is_cut_off_or_too_long_is_the_end(sent):
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(sent)
        with pytest.raises(EOFError):
            model_job.receive(theirs)
