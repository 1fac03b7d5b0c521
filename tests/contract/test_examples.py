"""The example programs as a person runs them, against a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recollect.settings import BucketSettings
from toys import picture

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(server, program, *arguments, code=0):
    """Run an example with the server's root key; what it printed, and what it said aside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RECOLLECT_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, EXAMPLES / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=kept
        | {
            "AWS_ACCESS_KEY_ID": server.root["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": server.root["SecretAccessKey"],
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_REKOGNITION": server.url,
        },
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def photos(tmp_path):
    """Ann (1) and Ben (2) together, Ann alone, Cyd (3) alone, nobody, and what is no picture."""
    folder = tmp_path / "photos"
    (folder / "day two").mkdir(parents=True)
    (folder / "both.png").write_bytes(picture(1, 2, side=60))
    (folder / "day two" / "ann.png").write_bytes(picture(1))
    (folder / "day_two-cyd.png").write_bytes(picture(3))
    (folder / "empty.png").write_bytes(picture())
    (folder / "broken.jpg").write_bytes(b"not a picture")
    return folder


def test_event_photos_says_who_is_on_which_photo(server, collection, photos):
    printed, aside = run(server, "event_photos.py", photos, "--collection", collection)

    groups = sorted(line.partition(": ")[2] for line in printed.splitlines())
    both, ann, cyd = photos / "both.png", photos / "day two" / "ann.png", photos / "day_two-cyd.png"
    assert groups == sorted([f"{both}, {ann}", f"{both}", f"{cyd}"])
    assert "broken.jpg: no JPEG or PNG" in aside


def test_event_photos_copies_the_photos_of_one_person_and_indexes_none_twice(
    server, rekognition, collection, photos, tmp_path
):
    me, mine = tmp_path / "me.png", tmp_path / "mine"
    me.write_bytes(picture(1, side=80))
    command = ("event_photos.py", photos, "--collection", collection, "--find", me)

    run(server, *command)
    run(server, *command, "--copy-to", mine)

    copied = sorted(p.relative_to(mine).as_posix() for p in mine.rglob("*.png"))
    assert copied == ["both.png", "day two/ann.png"]
    assert rekognition.describe_collection(CollectionId=collection)["FaceCount"] == 4
    me.write_bytes(picture(9))
    _, aside = run(server, *command, code=1)
    assert "No photo shows this person" in aside


def test_attendance_logs_a_visit_once_and_warns_below_99(server, rekognition, collection, tmp_path):
    rekognition.index_faces(
        CollectionId=collection, Image={"Bytes": picture(1)}, ExternalImageId="ann"
    )
    frames, log = tmp_path / "frames", tmp_path / "seen.csv"
    frames.mkdir()
    for name, people in (
        ("20260301T080000", (1,)),
        ("20260301T080030", (1,)),
        ("20260301T080100", ()),
        ("20260301T080200", (7,)),
        ("20260301T173000", (1,)),
    ):
        (frames / f"{name}.png").write_bytes(picture(*people, side=50))
    command = ("attendance.py", frames, "--collection", collection)

    printed, aside = run(
        server, *command, "--time-format", "%Y%m%dT%H%M%S", "--log", log, "--threshold", 80
    )

    assert "stay at 99" in aside
    assert not printed
    assert log.read_text().splitlines() == [
        "time,person,similarity,frame",
        "2026-03-01T08:00:00+00:00,ann,100.00,20260301T080000.png",
        "2026-03-01T17:30:00+00:00,ann,100.00,20260301T173000.png",
    ]


def test_a_collection_is_moved_by_its_external_image_ids(server, rekognition, collection, tmp_path):
    folder, target = tmp_path / "pictures", f"{collection}-moved"[-200:]
    folder.mkdir()
    for name, people in (("ann", (1,)), ("both", (1, 2)), ("gone", (3,))):
        (folder / f"{name}.png").write_bytes(picture(*people, side=60))
        indexed = rekognition.index_faces(
            CollectionId=collection,
            Image={"Bytes": picture(*people, side=60)},
            ExternalImageId=name,
        )
        if name == "ann":
            rekognition.create_user(CollectionId=collection, UserId="u:ann")
            rekognition.associate_faces(
                CollectionId=collection,
                UserId="u:ann",
                FaceIds=[indexed["FaceRecords"][0]["Face"]["FaceId"]],
            )
    (folder / "gone.png").unlink()
    command = ("from_rekognition.py", collection, "--target-collection", target)
    command += ("--source-endpoint-url", server.url, "--pictures", folder)

    printed, aside = run(server, *command, code=1)
    again, _ = run(server, *command, code=1)

    assert "ann: 1 face of u:ann" in printed
    assert "both: 2 faces" in printed
    assert "gone does not exist" in aside
    assert "2 of 3 pictures are here" in aside
    assert again.count("is there already") == 2
    found = rekognition.list_faces(CollectionId=target, UserId="u:ann")["Faces"]
    assert [face["ExternalImageId"] for face in found] == ["ann"]
    assert rekognition.describe_collection(CollectionId=target)["FaceCount"] == 3
    rekognition.delete_collection(CollectionId=target)


def test_a_collection_is_moved_by_reference_where_the_server_knows_the_bucket(serve, tmp_path):
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "ann.png").write_bytes(picture(1))
    server = serve(buckets={"photos": BucketSettings(path=str(tmp_path))})
    rekognition = server.client()
    rekognition.create_collection(CollectionId="old")
    rekognition.index_faces(CollectionId="old", Image={"Bytes": picture(1)}, ExternalImageId="ann")

    run(
        server,
        *("from_rekognition.py", "old", "--target-collection", "new", "--by-reference"),
        *("--bucket", "photos", "--name", "people/{id}.png", "--source-endpoint-url", server.url),
    )

    faces = rekognition.list_faces(CollectionId="new")["Faces"]
    assert [face["ExternalImageId"] for face in faces] == ["ann"]


@pytest.mark.parametrize("program", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_an_example_explains_itself(server, program):
    printed, _ = run(server, program, "--help")

    assert "--endpoint-url" in printed or "--target-endpoint-url" in printed


def test_an_example_says_in_one_line_what_went_wrong(server, tmp_path):
    _, aside = run(server, "attendance.py", tmp_path, "--collection", "never-made")
    (tmp_path / "a.png").write_bytes(picture(1))
    _, aside = run(server, "attendance.py", tmp_path, "--collection", "never-made", code=1)

    assert "attendance: " in aside
    assert "never-made does not exist" in aside
    assert "Traceback" not in aside
