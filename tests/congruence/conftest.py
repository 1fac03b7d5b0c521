"""Every Store there is; the dictionary is the oracle and has to pass too."""

import pytest

from enrolments import Clock, Ids, opened

STORES = ("dict", "sqlite", "postgres")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=STORES)
def store(request, tmp_path, clock):
    with opened(request.param, tmp_path / "data", clock, Ids()) as store:
        yield store
