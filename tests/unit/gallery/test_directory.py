import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from recollect.gallery.directory import SLOTS_MIN, Directory

ROWS = 1000
IDS = np.zeros((ROWS, 16), np.uint8)
IDS[:, -2:] = np.arange(ROWS)[:, None] // [256, 1] % 256


class DirectoryIsADict(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        # Address `row` holds id `row`: a directory copies no ids, it reads them in place.
        self.directory = Directory(lambda addresses: IDS[addresses])
        self.truth = set()

    @rule(first=st.integers(0, ROWS - 1), count=st.integers(0, 400))
    def add(self, first, count):
        rows = np.array([r for r in range(first, min(first + count, ROWS)) if r not in self.truth])
        rows = rows.astype(np.int64)
        self.directory.add(IDS[rows], rows)
        self.truth.update(rows.tolist())

    @rule(first=st.integers(0, ROWS - 1), count=st.integers(0, 400))
    def remove(self, first, count):
        rows = np.array([r for r in range(first, min(first + count, ROWS)) if r in self.truth])
        rows = rows.astype(np.int64)
        self.directory.remove(IDS[rows])
        self.truth.difference_update(rows.tolist())

    @invariant()
    def finds_what_is_there(self):
        found = self.directory.find(IDS)
        assert found.tolist() == [row if row in self.truth else -1 for row in range(ROWS)]
        assert len(self.directory) == len(self.truth)


DirectoryIsADict.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None
)
TestDirectoryIsADict = DirectoryIsADict.TestCase


def test_ids_that_come_and_go_do_not_make_it_grow():
    directory = Directory(lambda addresses: IDS[addresses])
    rows = np.arange(50)
    for _ in range(500):
        directory.add(IDS[rows], rows)
        directory.remove(IDS[rows])

    assert len(directory._slots) == SLOTS_MIN
