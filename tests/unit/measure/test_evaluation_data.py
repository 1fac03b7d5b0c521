import pytest

import drawn_people
from recollect.measure import data
from recollect.measure.data import DataError, Picture


@pytest.fixture
def folder(tmp_path):
    return drawn_people.draw(tmp_path)


def test_a_folder_is_read_whole(folder):
    found = data.read(folder)
    assert [len(pictures) for pictures in found.sets.values()] == [27]
    (table,) = found.pairs
    assert (table.name, table.set_name, len(table.pairs)) == ("toys", "toys", 18)
    assert table.pairs[0] == (0, 1, True)
    (search,) = found.searches
    assert [len(part) for part in (search.gallery, search.mated, search.nonmated)] == [6, 12, 3]
    assert [picture.path.name for picture in found.without_face] == ["field.png"]
    assert [variant.hard for variant in found.variants] == [False, False, True]
    assert [variant.upright for variant in found.variants] == [False, True, False]
    first = found.sets["toys"][0]
    assert (first.width_px, first.sex, first.identity) == (400, "male", "person00")


def test_only_the_manifest_has_to_be_there(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,set,identity\n")
    found = data.read(tmp_path)
    assert (found.sets, found.pairs, found.searches, found.variants) == ({}, (), (), ())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("manifest.csv", "path,set\nx,y\n", "no column 'identity'"),
        ("manifest.csv", "path,set,identity\nx,y\n", "line 2 does not fit"),
        ("manifest.csv", "path,set,identity\na,s,p\na,s,p\n", "twice"),
        ("manifest.csv", "path,set,identity\n../../etc/passwd,s,p\n", "leads out of"),
        ("manifest.csv", "path,set,identity,width\na,s,p,-3\n", "width of a is no number"),
        ("manifest.csv", b"\xff\xfe", "cannot be read"),
        ("pairs/toys.csv", "a,b,same\nnobody,nobody,1\n", "nobody is not in manifest.csv"),
        (
            "pairs/toys.csv",
            "a,b,same\ntoys/person00/0.png,toys/person01/0.png,1\n",
            "contradict the manifest",
        ),
        ("pairs/toys.csv", "a,b,same\n", "of one set"),
        (
            "ident/toys/gallery.csv",
            "path,identity\ntoys/person00/0.png,person01\n",
            "shows person00",
        ),
        (
            "ident/toys/probes_nonmated.csv",
            "path,identity\ntoys/person00/1.png,person00\n",
            "searched as non-mated and enrolled",
        ),
        (
            "ident/toys/probes_mated.csv",
            "path,identity\ntoys/person08/1.png,person08\n",
            "searched as mated and not enrolled",
        ),
        ("bad/face-variants/expected.csv", "file,faces,note\na.png,many,\n", "has to be a number"),
    ],
)
def test_a_table_that_does_not_fit_is_named(folder, file, text, message):
    path = folder / file
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        data.read(folder)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.csv does not exist"):
        data.read(tmp_path)


def test_a_picture_of_more_than_five_mebibytes_is_not_read(tmp_path):
    path = tmp_path / "big.jpg"
    path.write_bytes(bytes(data.PICTURE_BYTES_MAX))
    assert len(Picture(path, "big.jpg", "").read()) == data.PICTURE_BYTES_MAX
    path.write_bytes(bytes(data.PICTURE_BYTES_MAX + 1))
    with pytest.raises(DataError, match="larger than"):
        Picture(path, "big.jpg", "").read()
    with pytest.raises(DataError, match="cannot be read"):
        Picture(tmp_path / "none.jpg", "none.jpg", "").read()
