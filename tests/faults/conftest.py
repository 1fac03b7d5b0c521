"""What fault tests share: processes to be killed."""

import pytest

from nursery import Nursery


@pytest.fixture(scope="session")
def writers():
    """A nursery of processes that write to a store until they are killed."""
    nursery = Nursery("busy_store")
    yield nursery
    nursery.close()
