"""`recollect import` killed at random moments, the server too: the collection is as without."""

import json
import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from recollect.cli.client import from_data
from toy_node import serving
from toys import picture

SEED = 11
PEOPLE, PICTURES_EACH = 25, 8


def importing(source, collection, data, journal):
    """The command, as somebody runs it."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "recollect", "import", source, "--collection", collection),
            *("--user-from", "folder", "--data", data, "--journal", journal, "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(journal):
    """Pictures that an import has noted as done."""
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def faces(data, collection):
    """What a collection holds, but for the ids that chance made."""
    with from_data(data) as client:
        found, token = [], None
        while found == [] or token:
            page = client.call("ListFaces", CollectionId=collection, NextToken=token)
            found += page["Faces"]
            token = page.get("NextToken")
    kept = ("ExternalImageId", "UserId", "BoundingBox", "Confidence")
    return Counter(json.dumps([face.get(name) for name in kept]) for face in found)


@pytest.fixture
def photos(tmp_path):
    """A folder for each person; each picture has a few bystanders too."""
    chance = random.Random(SEED)
    for person in range(PEOPLE):
        folder = tmp_path / "photos" / f"person-{person}"
        folder.mkdir(parents=True)
        for number in range(PICTURES_EACH):
            others = chance.sample(range(250), number % 3)
            (folder / f"{number}.png").write_bytes(
                picture(person, *others, side=chance.randrange(30, 60))
            )
    return tmp_path / "photos"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_an_import_killed_at_random_moments_ends_as_one_that_was_not(
    tmp_path, photos, figure, kills
):
    chance, data, journal = random.Random(SEED), tmp_path / "data", tmp_path / "killed.jsonl"
    total = PEOPLE * PICTURES_EACH
    # Where it is killed: after so many pictures, in the middle of what it does then.
    stops = sorted(chance.sample(range(1, total - 10), kills))
    killed_at = []
    for number, stop in enumerate(stops):
        with serving(data) as server, importing(photos, "killed", data, journal) as command:
            while lines(journal) < stop:
                assert command.poll() is None, command.stderr.read()
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02))
            if number % 2:  # The server too, and first.
                server.kill()
            command.kill()
        killed_at.append(lines(journal))

    with serving(data):
        for collection, notes in (("killed", journal), ("whole", tmp_path / "whole.jsonl")):
            with importing(photos, collection, data, notes) as command:
                printed, said = command.communicate()
            assert command.returncode == 0, said
            assert json.loads(printed)["pictures"] == total
        left = faces(data, "killed")
        assert left == faces(data, "whole")
    assert killed_at[-1] < total, "the last one was over before it was killed"
    figure(
        "recollect import killed, each second time with its server",
        kills,
        f"{left.total()} faces of {total} pictures with their users, as without (after "
        f"{killed_at} pictures, seed {SEED})",
    )
