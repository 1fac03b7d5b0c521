"""The plain dialect keeps what /openapi.json promises, by schemathesis' judgement."""

import subprocess
import sys
from pathlib import Path

import pytest

from recollect.wire.bearer import token

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"

# Not "negative_data_rejection": unknown members are ignored, as Rekognition ignores them.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)

pytestmark = [
    pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="schemathesis is not installed"),
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize(
    "examples", [8, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_every_answer_is_the_one_described(server, tmp_path, examples, capsys):
    key = server.key({"Effect": "Allow", "Action": "*", "Resource": "*"}, bearer_key=True)

    done = subprocess.run(
        [
            *(sys.executable, str(SCHEMATHESIS), "run", f"{server.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token(key.key_id, key.secret)}"),
            *("--max-examples", str(examples), "--seed", "7", "--phases", "examples,fuzzing"),
            *("--checks", CHECKS),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=3000,
    )

    if examples > 100:
        with capsys.disabled():
            print(done.stdout[done.stdout.rfind("SUMMARY") :])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
