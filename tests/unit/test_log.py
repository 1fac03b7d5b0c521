"""What a server writes to its log: lines for programs, and the same to be read at a terminal."""

import json
import os
import subprocess
import sys

PROGRAM = """
import logging, structlog
from recollect import telemetry
telemetry.configure_log("info")
structlog.get_logger("recollect").info("call", operation="SearchFaces", ms=1.5)
logging.getLogger("recollect.gallery").warning("no memory for collection %s", "staff")
logging.getLogger("libpng").info("chatter")
try:
    picture = b"secret pixels"
    raise ValueError("two\\nlines")
except ValueError:
    structlog.get_logger("recollect").exception("fault")
    logging.getLogger("libpng").exception("fault too")
"""


def test_every_line_is_json_whoever_wrote_it():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert [(line["event"], line["level"]) for line in lines] == [
        ("call", "info"),
        ("no memory for collection staff", "warning"),
        ("fault", "error"),
        ("fault too", "error"),
    ]
    assert (lines[0]["operation"], lines[0]["ms"]) == ("SearchFaces", 1.5)
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert all("ValueError: two\nlines" in line["exception"] for line in lines[2:])
    assert "secret pixels'" not in done.stdout.replace('picture = b"secret pixels"', "")
    assert done.stderr == ""


def test_at_a_terminal_the_same_is_written_to_be_read():
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"NO_COLOR": "1"},
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # Linux says EIO where the other end of a terminal is closed.
        pass
    os.close(ours)
    assert process.stderr is not None
    warned = process.stderr.read()
    process.stderr.close()

    assert (process.wait(), warned) == (0, b"")
    assert b"operation=SearchFaces" in said
    assert b"no memory for collection staff" in said
    assert b"ValueError: two" in said
    assert b'{"' not in said
    assert b"\x1b" not in said
