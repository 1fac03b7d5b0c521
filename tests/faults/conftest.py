"""What fault tests share: processes to be killed, and silence about what is broken on purpose."""

import logging

import pytest

from nursery import Nursery


@pytest.fixture(scope="session")
def writers():
    """A nursery of processes that write to a store until they are killed."""
    nursery = Nursery("busy_store")
    yield nursery
    nursery.close()


@pytest.fixture
def silent():
    """No lines in the log about the failures that a test makes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
