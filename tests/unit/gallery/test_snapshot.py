import stat
import uuid

import numpy as np
import pytest

import kernels
from recollect.gallery.arena import Arena
from recollect.gallery.crypt import Damaged
from recollect.gallery.ids import packed_all
from recollect.gallery.sealed import SealedWriter

KEY = bytes(range(32))
FACES, USERS, OTHER = (1, "faces"), (1, "users"), (2, "faces")


def ids(count, first=0):
    return [str(uuid.UUID(int=(1 << 100) + number)) for number in range(first, first + count)]


def unit(count, dimension, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(kernel="auto"):
    """Three spaces: one with holes and a centre, an empty one, and a long-templated one."""
    arena = Arena(kernel=kernel)
    arena.open(FACES, 32, unit(1, 32, seed=9)[0] / 2)
    arena.load([(FACES, packed_all(ids(40_000)), unit(40_000, 32))])
    arena.publish(FACES, 7, list(zip(ids(9), unit(9, 32, seed=4), strict=True)), ids(30, 100))
    arena.open(USERS, 32, unit(1, 32, seed=9)[0] / 2)
    arena.publish(USERS, 7, (), ())
    arena.open(OTHER, 256, None)
    arena.load([(OTHER, packed_all(ids(100)), unit(100, 256))])
    arena.publish(OTHER, 3, (), ())
    return arena


def answers(arena, space, dimension):
    probe = unit(1, dimension, seed=4)[0]
    return arena.search(space, probe, count_max=4096, score_min=0.2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.snapshot"


@pytest.mark.parametrize("name", ["numpy", "native-0"])
def test_what_was_saved_answers_as_before(path, name):
    before = filled(kernels.kernel_named(name))
    before.save(path, KEY)
    after = Arena(kernel=kernels.kernel_named(name))

    opened = after.restore(path, KEY, {FACES: 7, USERS: 7, OTHER: 3})

    assert opened == ({FACES, USERS, OTHER}, set())
    for space, dimension in ((FACES, 32), (USERS, 32), (OTHER, 256)):
        assert after.sequence(space) == before.sequence(space)
        assert answers(after, space, dimension) == answers(before, space, dimension)
    after.publish(FACES, 8, (), ids(5))
    before.publish(FACES, 8, (), ids(5))
    assert answers(after, FACES, 32) == answers(before, FACES, 32)


def test_a_space_that_stands_elsewhere_in_the_truth_is_left_out(path):
    filled().save(path, KEY)
    after = Arena()

    opened = after.restore(path, KEY, {FACES: 8, OTHER: 3})

    assert opened == ({OTHER}, {FACES, USERS})
    with pytest.raises(KeyError):
        after.sequence(FACES)
    after.open(FACES, 32, None)


def test_spaces_of_another_layout_are_left_out(path):
    filled("numpy").save(path, KEY)

    opened = Arena(kernel="numpy").restore(
        path, KEY, {FACES: 7, USERS: 7, OTHER: 3}, codes_only={FACES, OTHER}
    )

    assert opened == ({USERS}, {FACES, OTHER})


@pytest.mark.parametrize("place", [3, 100, -5_000_000, -3])
def test_a_damaged_file_opens_nothing_and_is_not_read_again(path, place):
    filled().save(path, KEY)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    after = Arena()

    with pytest.raises(Damaged):
        after.restore(path, KEY, {FACES: 7, USERS: 7, OTHER: 3})

    assert after._spaces == {}
    assert not path.exists()


def test_a_file_of_another_version_opens_nothing(path):
    # Whose records had other fields.
    record = b'{"format": 1, "widest": [0.1, 0.2, 0.3]}'
    with path.open("wb") as file:
        sealed = SealedWriter(file, KEY)
        sealed.write(len(record).to_bytes(4, "little") + record)
        sealed.finish()
    after = Arena()

    with pytest.raises(Damaged, match="another version"):
        after.restore(path, KEY, {FACES: 7, USERS: 7, OTHER: 3})

    assert after._spaces == {}


def test_a_file_is_used_once(path):
    filled().save(path, KEY)
    Arena().restore(path, KEY, {})

    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        Arena().restore(path, KEY, {})


def test_nothing_in_the_file_can_be_read_and_only_its_owner_may_try(path):
    filled().save(path, KEY)

    raw = path.read_bytes()
    assert uuid.UUID(ids(1)[0]).bytes not in raw
    assert unit(40_000, 32)[50].tobytes()[:16] not in raw
    assert b"faces" not in raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_what_was_deleted_is_not_in_the_file(path):
    arena = filled()
    arena.publish(FACES, 8, (), ids(39_990))
    arena.save(path, KEY)

    after = Arena()
    after.restore(path, KEY, {FACES: 8})
    everyone = after.search(FACES, unit(1, 32)[0], count_max=4096, score_min=-1)
    assert sorted(c.id for c in everyone) == ids(10, 39_990)
    assert path.parent.exists()
