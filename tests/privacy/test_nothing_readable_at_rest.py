"""What lies on the disk says nothing without the master key, and little without its collection."""

import contextlib
import json

import numpy as np
import pytest

from enrolments import (
    ACCOUNT,
    MASTER_KEY,
    collection,
    enrolment,
    face_id,
    image_id,
    sqlite_store,
    template,
)
from recollect.gallery.sqlite import SQLiteStore
from recollect.gallery.store import AccessKey, StoreUnusable

FACES = 200
DIMENSION = 32
SECRET = "s3cr3t-of-the-searcher"


def use(store):
    """Leave something of everything."""
    staff = collection(store, "staff-of-berlin", dimension=DIMENSION, tags={"purpose": "doors"})
    store.add_faces(staff, [enrolment(n, dimension=DIMENSION) for n in range(FACES)])
    store.create_user(staff, "anna-karenina", None)
    store.associate_faces(staff, "anna-karenina", [face_id(0)], faces_max=9, once=None)
    store.record(json.dumps({"who": "vronsky"}).encode())
    store.add_key(
        AccessKey("AKIA0EXAMPLE", SECRET, ACCOUNT, "searcher", ("{}",), session_token="t0k3n-x")
    )


def traces():
    """Byte strings that would give something away."""
    yield from (b"staff-of-berlin", b"purpose", b"doors", b"anna-karenina", b"vronsky")
    yield from (b"AKIA0EXAMPLE", b"searcher", SECRET.encode(), b"t0k3n-x", ACCOUNT.encode())
    for n in range(FACES):
        yield from (f"person-{n}.jpg".encode(), face_id(n).encode(), image_id(n).encode())
        yield bytes.fromhex(face_id(n).replace("-", ""))
        yield from template_traces(n)


def template_traces(n):
    row = template(n, DIMENSION)
    for kind in ("<f4", "<f2", "<f8"):
        data = row.astype(kind).tobytes()
        yield data[: len(data) // 2]
        yield data[len(data) // 2 :]


def found(folder, wanted):
    """Which byte strings some file of the folder holds."""
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    assert len(content) > 100_000
    return {trace for trace in wanted if trace in content}


def test_no_file_holds_a_template_an_id_or_a_name(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        use(store)
        # While it runs: database, write-ahead log, shared memory.
        assert (tmp_path / "recollect.db-wal").stat().st_size > 0
        assert found(tmp_path, traces()) == set()
    assert found(tmp_path, traces()) == set()


def test_the_search_finds_what_is_not_encrypted(tmp_path):
    """A positive control: ids and names of the same database in clear, and an unsealed template."""
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        use(store)
        clear = store._database.writer.serialize("main")
    wanted = set(traces())
    seen = {trace for trace in wanted if trace in clear}
    assert {b"staff-of-berlin", b"anna-karenina", b"vronsky", b"AKIA0EXAMPLE"} <= seen
    assert bytes.fromhex(face_id(7).replace("-", "")) in seen
    # Without the database's encryption the collection's still covers templates, as the access
    # keys' covers secrets.
    assert not seen & {trace for n in range(FACES) for trace in template_traces(n)}
    assert SECRET.encode() not in seen
    plain = np.stack([template(n, DIMENSION) for n in range(FACES)]).tobytes()
    assert set(template_traces(7)) & {trace for trace in wanted if trace in plain}


def test_another_master_key_opens_nothing_and_changes_nothing(tmp_path):
    with contextlib.closing(sqlite_store(tmp_path)) as store:
        use(store)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(StoreUnusable, match="the master key is not the one it was made with"):
        SQLiteStore(tmp_path, MASTER_KEY[::-1], clock=None, ids=None, reserve_bytes=4096)

    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after == before


def test_only_the_owner_may_read_the_files(tmp_path):
    folder = tmp_path / "data"
    with contextlib.closing(sqlite_store(folder)) as store:
        use(store)
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert set(modes.values()) == {0o600}, modes
        assert folder.stat().st_mode & 0o777 == 0o700
