"""JSONTestSuite through the endpoint: as a whole body and as the value of a member."""

import os
from pathlib import Path

import pytest

from wire_stub import ask, endpoint

SHARED = Path(__file__).parents[2].parent / "shared"
SUITE = Path(os.environ.get("RECOLLECT_EVAL_DATA", SHARED / "data")).parent / "suites" / "json"
FILES = sorted(SUITE.glob("*.json"))


@pytest.fixture(scope="module")
def app():
    made = endpoint()
    yield made
    made.close()


@pytest.mark.skipif(not FILES, reason="no suites beside the repository")
def test_all_318_files_get_a_typed_answer(app):
    counts = {"y": 0, "n": 0, "i": 0}
    for file in FILES:
        data, kind = file.read_bytes(), file.name[0]
        counts[kind] += 1
        whole = ask(app, data, operation="ListCollections")
        inside = ask(app, b'{"x":' + data + b"}", operation="ListCollections")

        assert {whole.status, inside.status} <= {200, 400}, file.name
        assert {whole.code, inside.code} <= {None, "SerializationException"}, file.name
        silent = b'{"__type":"SerializationException"}'
        if kind == "n":
            assert whole.body == silent or b"values" in whole.body, file.name
            assert inside.status == 400, file.name
        if kind == "y":
            # Parsed: refused, if at all, because a list or a scalar is no structure.
            is_object = data.lstrip().startswith(b"{")
            is_list = data.lstrip().startswith(b"[")
            assert (whole.status == 200) is is_object, file.name
            assert (b"Start of list" in whole.body) is is_list, file.name
            assert inside.status == 200, file.name
    print(counts)
    assert counts == {"y": 95, "n": 188, "i": 35}
