import threading
import uuid

import numpy as np
import pytest

import kernels
from recollect.gallery import exact
from recollect.gallery.arena import Arena
from recollect.gallery.columns import CHUNK_ROWS, GROUP_ROWS
from recollect.gallery.ids import packed_all

SPACE = (1, "faces")


def ids(count, first=0):
    return [str(uuid.UUID(int=number)) for number in range(first, first + count)]


def unit(count, dimension, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(count, dimension=16, **more):
    arena = Arena()
    arena.open(SPACE, dimension, None, **more)
    arena.load([(SPACE, packed_all(ids(count)), unit(count, dimension))])
    return arena


def found(arena, probe, score_min=0.999, **options):
    return [c.id for c in arena.search(SPACE, probe, count_max=10, score_min=score_min, **options)]


def test_a_published_face_is_found_and_a_removed_one_is_not():
    arena, (one, other) = filled(0), unit(2, 16)
    arena.publish(SPACE, 1, list(zip(ids(2), [one, other], strict=True)), [])
    assert found(arena, one) == ids(1)

    arena.publish(SPACE, 2, [], ids(1))

    assert found(arena, one) == []
    assert found(arena, other) == ids(1, first=1)
    assert arena.sequence(SPACE) == 2


def test_an_addition_replaces_what_stands_under_its_id():
    arena, (old, new) = filled(0), unit(2, 16)
    arena.publish(SPACE, 1, [(ids(1)[0], old)], [])

    arena.publish(SPACE, 2, [(ids(1)[0], new)], ids(1))

    assert found(arena, old) == []
    assert found(arena, new, score_min=-1) == ids(1)


def test_the_last_of_two_additions_under_one_id_stays():
    arena, (first, last) = filled(0), unit(2, 16)

    arena.publish(SPACE, 1, [(ids(1)[0], first), (ids(1)[0], last)], [])

    assert found(arena, first) == []
    assert found(arena, last) == ids(1)


def test_removing_an_unknown_id_changes_nothing():
    arena = filled(3)

    arena.publish(SPACE, 1, [], ids(1, first=99))

    assert sorted(found(arena, unit(1, 16)[0], score_min=-1)) == ids(3)


def test_a_change_that_was_applied_is_not_applied_again():
    arena, (template,) = filled(0), unit(1, 16)
    arena.publish(SPACE, 5, [], [])

    arena.publish(SPACE, 5, [(ids(1)[0], template)], [])
    arena.publish(SPACE, 4, [(ids(1)[0], template)], [])

    assert found(arena, template) == []
    assert arena.sequence(SPACE) == 5


def test_a_change_that_cannot_be_applied_leaves_everything_as_it_was():
    arena, templates = filled(3), unit(3, 16)
    bad = templates[0] * 2

    with pytest.raises(AssertionError, match="unit length"):
        arena.publish(SPACE, 1, [(ids(1)[0], bad)], ids(1, first=2))

    assert sorted(found(arena, templates[0], score_min=-1)) == ids(3)
    assert arena.sequence(SPACE) == 0
    arena.publish(SPACE, 1, [], ids(1))
    assert sorted(found(arena, templates[0], score_min=-1)) == ids(2, first=1)


def test_the_excluded_id_gives_its_place_to_the_next():
    arena, angles = filled(0, 2), np.linspace(0, 3, 50)
    templates = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    arena.load([(SPACE, packed_all(ids(50)), templates)])

    nearest = [c.id for c in arena.search(SPACE, templates[0], count_max=3, score_min=-1)]
    without = found(arena, templates[0], score_min=-1, exclude=nearest[0])

    assert nearest == ids(3)
    assert without == ids(10, first=1)


def test_spaces_do_not_see_each_other():
    arena, (template,) = filled(0), unit(1, 16)
    arena.open((1, "users"), 16, None)
    arena.open((2, "faces"), 16, None)

    arena.publish((1, "users"), 1, [(ids(1)[0], template)], [])

    assert found(arena, template) == []
    assert arena.search((2, "faces"), template, count_max=1, score_min=-1) == []


def test_a_dropped_space_is_unknown_and_can_be_opened_again():
    arena, template = filled(10), unit(10, 16)[0]

    arena.drop(SPACE)

    with pytest.raises(KeyError):
        found(arena, template)
    arena.open(SPACE, 8, None)
    assert found(arena, unit(1, 8)[0], score_min=-1) == []


def test_a_probe_of_another_model_is_refused():
    with pytest.raises(AssertionError, match="another model"):
        found(filled(1), unit(1, 8)[0])


def test_the_bytes_of_a_removed_face_are_overwritten():
    arena, templates = filled(3), unit(3, 16)
    (part, *_) = arena._spaces[SPACE]._view.parts

    arena.publish(SPACE, 1, [], ids(1, first=1))

    row = part.extent.start + 1
    assert not any(column[row].any() for column in part.extent.chunk.columns)
    assert np.array_equal(part.extent.chunk.templates[row - 1], templates[0])


def test_what_a_running_search_sees_is_overwritten_when_it_ends():
    arena = filled(3)
    gallery = arena._spaces[SPACE]
    with gallery.reading() as view:
        extent = view.parts[0].extent

        arena.publish(SPACE, 1, [], ids(1, first=1))

        assert extent.chunk.templates[extent.start + 1].any()
    assert not extent.chunk.templates[extent.start + 1].any()


def test_freed_rows_are_used_again():
    arena = filled(5000)
    templates = unit(100, 16)
    for sequence in range(1, 200):
        arena.publish(SPACE, sequence, list(zip(ids(100, 10_000), templates, strict=True)), [])

    rows = sum(part.extent.capacity for part in arena._spaces[SPACE]._view.parts)

    assert rows < 3 * 5100


def test_a_gallery_that_shrinks_gives_its_memory_back():
    arena = filled(3 * CHUNK_ROWS, dimension=4)
    probe = unit(1, 4)[0]
    for sequence, first in enumerate(range(0, 3 * CHUNK_ROWS - 10, 4096), 1):
        last = min(first + 4096, 3 * CHUNK_ROWS - 10)
        arena.publish(SPACE, sequence, [], ids(last - first, first))

    kept = ids(10, 3 * CHUNK_ROWS - 10)
    assert sorted(found(arena, probe, score_min=-1)) == kept
    assert sum(part.extent.capacity for part in arena._spaces[SPACE]._view.parts) <= 64
    (shelf,) = arena._shelves.values()
    assert len(shelf._chunks) == 1


def test_rows_that_were_given_back_belong_to_nobody():
    arena = filled(100)
    arena.drop(SPACE)

    (shelf,) = arena._shelves.values()

    assert shelf._chunks == {}
    assert not any(shelf._free.values())


def test_the_tops_of_groups_cover_every_row_that_a_search_sees(tmp_path):
    arena = Arena(kernel=kernels.kernel_named("native-0"))
    arena.open(SPACE, 256, unit(1, 256, seed=8)[0] / 2)

    def assert_covered(arena):
        for part in arena._spaces[SPACE]._view.parts:
            chunk, rows = part.extent.chunk, part.extent.start + np.arange(part.rows)
            assert (chunk.tops[rows // GROUP_ROWS, 0] >= chunk.factor[rows]).all()
            assert (chunk.tops[rows // GROUP_ROWS, 1] >= chunk.offset[rows]).all()

    templates = unit(1000, 256)
    arena.load([(SPACE, packed_all(ids(300)), templates[:300])])
    assert_covered(arena)
    for step in range(300, 1000, 7):
        added = list(zip(ids(7, step), templates[step : step + 7], strict=True))
        arena.publish(SPACE, step, added, ids(9, (step - 300) // 7 * 9))
        assert_covered(arena)

    arena.save(tmp_path / "index", bytes(32))
    after = Arena(kernel=kernels.kernel_named("native-0"))
    after.restore(tmp_path / "index", bytes(32), {SPACE: arena.sequence(SPACE)})
    assert_covered(after)


def test_an_arena_without_templates_asks_for_the_few_it_has_to_score():
    everyone = dict(zip(ids(2000), unit(2000, 64), strict=True))
    asked = []

    def templates(face_ids):
        asked.extend(face_ids)
        return np.stack([everyone[face_id] for face_id in face_ids])

    arena = filled(2000, 64, keeps_templates=False)
    for sequence, first in enumerate(range(0, 1500, 100), 1):
        arena.publish(SPACE, sequence, [], ids(100, first))
    probe = everyone[ids(1, 1700)[0]]

    left = ids(500, 1500)
    expected = exact.search(
        left, np.stack([everyone[i] for i in left]), probe, count_max=9, score_min=0.3
    )
    outside = {"count_max": 9, "outside": templates}
    assert arena.search(SPACE, probe, score_min=0.3, **outside) == expected
    assert len(asked) < 20
    assert arena.search(SPACE, probe, score_min=1.1, **outside) == []
    assert arena.need_bytes(64, 1, keeps_templates=False) == 64 + 16 + 16
    assert arena.held_bytes(SPACE) < 2 * 2000 * 96


def test_a_face_that_the_truth_has_deleted_meanwhile_is_no_answer():
    everyone = unit(3, 16)

    def templates(face_ids):
        rows = np.stack([everyone[ids(3).index(face_id)] for face_id in face_ids])
        rows[[face_id == ids(3)[1] for face_id in face_ids]] = np.nan
        return rows

    arena = filled(3, keeps_templates=False)

    answers = found(arena, everyone[1], score_min=-1, outside=templates)

    assert sorted(answers) == [ids(3)[0], ids(3)[2]]


def hammer(steps, dimension, workers=8):
    """Insert, delete and search from many threads; count answers that were stale or ghosts."""
    templates = unit(workers * 64, dimension).reshape(workers, 64, dimension)
    arena = filled(500, dimension)
    order, sequence, wrong = threading.Lock(), iter(range(1, 1 << 40)), []

    def publish(added, removed):
        with order:
            arena.publish(SPACE, next(sequence), added, removed)

    def work(worker):
        random = np.random.default_rng(worker)
        mine = ids(64, first=100_000 * (worker + 1))
        live = set()
        for _ in range(steps // workers):
            which = int(random.integers(64))
            face_id, template = mine[which], templates[worker, which]
            match random.integers(3):
                case 0:
                    publish([(face_id, template)], [])
                    live.add(face_id)
                case 1:
                    publish([], [face_id])
                    live.discard(face_id)
                case 2:
                    near = {
                        c.id for c in arena.search(SPACE, template, count_max=4096, score_min=0.99)
                    }
                    if (face_id in near) != (face_id in live):
                        wrong.append((worker, face_id))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


# With 256 dimensions there are sign bits, which many rows keep in one cache line.
@pytest.mark.parametrize("dimension", [32, 256])
def test_no_answer_is_stale_and_none_a_ghost(dimension):
    assert hammer(4_000, dimension) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dimension", [32, 256])
def test_no_answer_is_stale_and_none_a_ghost_in_100_000_steps(dimension, figure):
    wrong = hammer(100_000, dimension)

    figure(
        f"inserts, deletions and searches of 8 threads, {dimension} dimensions",
        100_000,
        f"{len(wrong)} answers stale or ghosts",
    )
    assert wrong == []


def test_a_face_that_is_replaced_again_and_again_is_always_there_once():
    arena = filled(300, 32)
    templates = unit(300, 32)
    stop, counts = threading.Event(), []

    def replace():
        for sequence in range(1, 1500):
            which = sequence % 300
            arena.publish(SPACE, sequence, [(ids(1, which)[0], templates[which])], [])
        stop.set()

    writer = threading.Thread(target=replace)
    writer.start()
    while not stop.is_set():
        everyone = arena.search(SPACE, templates[0], count_max=4096, score_min=-1)
        counts.append(len({c.id for c in everyone}))
        assert len(everyone) == counts[-1]
    writer.join()

    assert set(counts) == {300}
    assert (
        arena.search(SPACE, templates[5], count_max=1, score_min=0.9)[0].score
        == (exact.scores(templates[5:6], templates[5])[0])
    )
