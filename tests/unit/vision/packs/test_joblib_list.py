"""Pickled lists read without unpickling, against joblib itself and against attackers."""

import io
import pickle
import pickletools
import sys

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision.packs.joblib_list import PickleRefusedError, read_arrays

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def dumped(value):
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


def arrays_of(shapes):
    random = np.random.default_rng(1)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


@given(st.lists(shapes, max_size=40))
def test_every_list_that_joblib_writes_is_read_as_joblib_reads_it(shapes):
    arrays = arrays_of(shapes)

    found = read_arrays(dumped(arrays))

    assert len(found) == len(arrays)
    for mine, theirs in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Calls:
    """Something whose unpickling runs a function."""

    def __init__(self, function, *arguments):
        self.function = function
        self.arguments = arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        [Calls(print, "owned")],
        Calls(eval, "1"),
        [Calls(getattr, print, "__call__")],
        {"weights": [1, 2]},
        [np.arange(4, dtype=np.float32)],
        [1.5],
        "text",
    ],
)
def test_what_joblib_would_not_write_is_refused_and_never_run(value, protocol, capsys):
    with pytest.raises(PickleRefusedError):
        read_arrays(pickle.dumps(value, protocol))

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "value",
    [
        [np.arange(4, dtype=np.float64)],
        [np.arange(4, dtype=">f4")],
        [np.array([{}, None], dtype=object)],
        [np.asfortranarray(np.ones((2, 3), np.float32))],
        np.ones(3, np.float32),
        [np.ones(3, np.float32), "text"],
    ],
)
def test_arrays_of_another_kind_are_refused(value):
    with pytest.raises(PickleRefusedError):
        read_arrays(dumped(value))


def test_a_pickle_cut_anywhere_is_refused():
    whole = dumped(arrays_of([(2, 3), (4,)]))

    for end in range(len(whole)):
        with pytest.raises(PickleRefusedError):
            read_arrays(whole[:end])


def test_bytes_behind_the_list_are_refused():
    with pytest.raises(PickleRefusedError, match="not one list"):
        read_arrays(dumped(arrays_of([(2,)])) + b"\0")


@given(st.data())
def test_a_changed_byte_never_escapes_as_another_error(data):
    whole = bytearray(dumped(arrays_of([(2, 2), (3,)])))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))

    try:
        found = read_arrays(bytes(whole))
    except PickleRefusedError:
        return
    assert all(array.dtype == np.float32 for array in found)


def test_a_list_that_claims_too_much_is_refused_before_it_is_read():
    # The shape (2, 3) becomes (255, 255, ...): more than the file holds.
    whole = dumped([np.ones((2, 3), np.float32)])
    claimed = whole.replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86")
    assert claimed != whole

    with pytest.raises(PickleRefusedError, match="C-ordered"):
        read_arrays(claimed)


def test_a_name_that_joblib_would_not_write_is_refused_by_itself():
    with pytest.raises(PickleRefusedError, match="names 'builtins print'"):
        read_arrays(pickle.dumps([print], 4))


def test_no_class_is_ever_looked_up():
    looked_up = []
    active = True

    def hook(event, arguments):
        if active and event == "pickle.find_class":
            looked_up.append(arguments)

    sys.addaudithook(hook)
    try:
        read_arrays(dumped(arrays_of([(2,)])))
        assert looked_up == []
        joblib.load(io.BytesIO(dumped(arrays_of([(2,)]))))
        assert looked_up != []  # the control: joblib does look classes up
    finally:
        active = False


def test_the_instructions_named_here_are_those_of_the_standard_library():
    names = {code.name for code in pickletools.opcodes}
    assert {"MEMOIZE", "STACK_GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "LONG_BINGET"} <= names
