"""One flipped bit anywhere: named and refused, or of no consequence; never silently wrong."""

import contextlib
import random
import shutil

import apsw
import pytest

from enrolments import (
    ACCOUNT,
    collection,
    enrolment,
    face_id,
    scanned,
    sqlite_store,
    template,
    templates_of,
)
from exact_arena import ExactArena
from recollect.errors import InternalServerError
from recollect.gallery.crypt import Damaged
from recollect.gallery.gallery import Galleries
from recollect.gallery.sqlite.database import PAGE_BYTES
from recollect.gallery.store import StoreUnusable

SEED = 20261124


pytestmark = pytest.mark.usefixtures("silent")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data folder with two collections, closed."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        for name in ("staff", "visitors"):
            store.add_faces(collection(store, name), [enrolment(n) for n in range(60)])
    return folder


def read(folder):
    """Everything the folder says, or how it refuses."""
    try:
        store = sqlite_store(folder)
    except StoreUnusable as refused:
        return str(refused)
    with contextlib.closing(store):
        try:
            return [
                (store.list_faces(c, after="", limit=99), templates_in(store, c))
                for c in store.every_collection()
            ]
        except Damaged as refused:
            return str(refused)


def templates_in(store, c):
    return [(i, row.tobytes()) for i, row in scanned(store, c)]


@pytest.mark.timeout(900)  # For the slow ones.
@pytest.mark.parametrize("flips", [150, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_never_a_wrong_answer(whole, tmp_path, figure, flips):
    chance = random.Random(SEED)
    right = read(shutil.copytree(whole, tmp_path / "right"))
    refused = 0
    for number in range(flips):
        folder = shutil.copytree(whole, tmp_path / str(number))
        path = folder / chance.choice(["recollect.db", "recollect.db", "keyring.db", "data.key"])
        data = bytearray(path.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)

        found = read(folder)

        assert found == right or isinstance(found, str), f"seed {SEED}, flip {number}"
        refused += found != right
        shutil.rmtree(folder)
    # Most pages hold something; a harness that met only free ones would prove nothing.
    assert refused > flips // 3
    figure(
        "one bit flipped",
        flips,
        f"0 silently wrong; {refused:,} refused, the rest harmless (seed {SEED})",
    )


@pytest.fixture
def holed(tmp_path):
    """A data folder with a damaged page among staff's faces, and none among visitors'."""
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        staff, visitors = collection(store, "staff"), collection(store, "visitors")
        store.add_faces(staff, [enrolment(n) for n in range(60)])
        store.add_faces(visitors, [enrolment(n) for n in range(400)])
        # Where staff's templates lie.
        ((page,),) = store._database.writer.execute(
            "SELECT min(pageno) FROM dbstat WHERE name = 'face' AND pagetype = 'leaf'"
        )
    with (folder / "recollect.db").open("r+b") as file:
        place = (page - 1) * PAGE_BYTES + 4000
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    return folder


def test_a_damaged_page_fails_only_the_writes_that_meet_it(holed):
    with contextlib.closing(sqlite_store(holed)) as store:
        staff, visitors = (store.collection(ACCOUNT, name) for name in ("staff", "visitors"))
        for number in range(10):
            with pytest.raises(Damaged):
                store.delete_faces(staff, [face_id(number)])
            store.delete_faces(visitors, [face_id(399 - number)])
        store.add_faces(visitors, [enrolment(999)])

        assert store.counts(staff) == (60, 0)
        assert store.counts(visitors) == (391, 0)


def test_a_damaged_page_fails_only_the_reads_that_meet_it(holed):
    with contextlib.closing(sqlite_store(holed)) as store:
        staff, visitors = (store.collection(ACCOUNT, name) for name in ("staff", "visitors"))
        for number in range(10):
            writer = store._database.writer
            with pytest.raises(Damaged):
                store.references(staff, [face_id(number)])
            # It was read by the connection that writes, which is another one from then on.
            assert store._database.writer is not writer
            store.delete_faces(visitors, [face_id(399 - number)])
            found, _ = store.references(visitors, [face_id(number)])
            assert [face.face_id for face in found] == [face_id(number)]

        assert store.counts(visitors) == (390, 0)


def test_where_the_file_cannot_be_opened_again_after_damage_writes_stop(holed, monkeypatch):
    with contextlib.closing(sqlite_store(holed)) as store:
        staff, visitors = (store.collection(ACCOUNT, name) for name in ("staff", "visitors"))

        def gone(path):
            raise apsw.CantOpenError("unable to open database file")

        monkeypatch.setattr(store._database, "_open", gone)
        with pytest.raises(InternalServerError):
            store.delete_faces(staff, [face_id(0)])
        monkeypatch.undo()
        with pytest.raises(InternalServerError, match="started again"):
            store.add_faces(visitors, [enrolment(999)])

        assert store.counts(visitors) == (400, 0)


def test_a_damaged_collection_is_named_and_the_others_are_served(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "data")
    with contextlib.closing(sqlite_store(folder)) as store:
        visitors = store.collection(ACCOUNT, "visitors")
        store._database.writer.execute(
            "UPDATE face SET sealed = zeroblob(length(sealed)) WHERE row = ?",
            ((visitors.key << 36) + 5,),
        )
        galleries = Galleries(store, ExactArena(), lambda _: None)
        galleries.load()
        assert galleries.ready()
        search = {"count_max": 1, "score_min": 0.9}
        staff = store.collection(ACCOUNT, "staff")
        (best,) = galleries.search(staff, template(3), **search)
        assert best.id == face_id(3)
        with pytest.raises(InternalServerError, match="visitors cannot be searched"):
            galleries.search(visitors, template(3), **search)

        # Adding does not mend it, deleting the damaged face does.
        store.add_faces(visitors, [enrolment(70)])
        with pytest.raises(InternalServerError):
            galleries.search(visitors, template(3), **search)
        store.delete_faces(visitors, [face_id(n) for n in range(10)])
        assert galleries.search(visitors, template(3), **search) == []
        assert [c.id for c in galleries.search(visitors, template(70), **search)] == [face_id(70)]


def test_a_template_that_was_moved_is_refused(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "data")
    with contextlib.closing(sqlite_store(folder)) as store:
        staff, visitors = (store.collection(ACCOUNT, name) for name in ("staff", "visitors"))
        ours, theirs = (staff.key << 36) + 5, (visitors.key << 36) + 5
        write = store._database.writer.execute
        sealed = dict(write("SELECT row, sealed FROM face").fetchall())

        # The same face's template, from the other collection.
        write("UPDATE face SET sealed = ? WHERE row = ?", (sealed[theirs], ours))
        with pytest.raises(Damaged, match=f"{ACCOUNT}/{staff.key}/"):
            scanned(store, staff)

        # Another face's template, from the same collection.
        write("UPDATE face SET sealed = ? WHERE row = ?", (sealed[ours + 1], ours))
        with pytest.raises(Damaged, match=face_id(4).replace("-", "")):
            scanned(store, staff)
        with pytest.raises(Damaged):
            templates_of(store, staff, [face_id(4)])
