"""reindex: another pack under the same name; nothing lost, nothing half done, even when killed."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from contract.test_two_packs import WiderPack
from toys import ToyPack, picture

STORES = ("sqlite",)


def recollect(*arguments, code=0):
    """Run the command: what it printed, or what it refused with."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RECOLLECT_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "recollect", *map(str, arguments)],
        env=kept | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


class SlowPack(WiderPack):
    """Takes its time, so that a kill comes in the middle."""

    pause_s = 0.0

    def faces(self, image):
        time.sleep(self.pause_s)
        return super().faces(image)


@pytest.fixture(scope="module")
def pack():
    return SlowPack("5.0", "wide")


@pytest.fixture(scope="module")
def both(serve, pack):
    server = serve({"toy": ToyPack(), "wide": pack}, pack="toy")
    (server.server.settings.data / "address").write_text(server.url)
    return server


def write_people(folder, count, seed):
    """One file a picture: a person alone, or two of them; drawn over a photograph's noise."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        shown = [number % 200, (number * 7 + 3) % 200][: 1 + number % 2]
        pixels = cv2.imdecode(np.frombuffer(picture(*shown, side=60), np.uint8), cv2.IMREAD_COLOR)
        # No two files alike: noise where nobody stands.
        pixels[200:] = rng.integers(0, 200, pixels[200:].shape)
        path = folder / f"team{number % 5}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)


def contents(client, name):
    """What has to stay: each face as picture, ExternalImageId and user; users; tags."""
    faces = [
        face
        for page in client.get_paginator("list_faces").paginate(CollectionId=name)
        for face in page["Faces"]
    ]
    arn = client.describe_collection(CollectionId=name)["CollectionARN"]
    users = client.get_paginator("list_users").paginate(CollectionId=name)
    return {
        "faces": sorted(
            (face["ImageId"], face["ExternalImageId"], face.get("UserId", "")) for face in faces
        ),
        "users": sorted(user["UserId"] for page in users for user in page["Users"]),
        "tags": client.list_tags_for_resource(ResourceArn=arn)["Tags"],
    }


def enrolled(server, folder, name, count, seed=1):
    """A collection as owners have them: users, tags, an empty user, a face that was deleted."""
    write_people(folder, count, seed)
    client = server.client()
    client.create_collection(CollectionId=name, Tags={"team": "all", "recollect:note": "x"})
    data = server.server.settings.data
    recollect(
        "import", folder, "--collection", name, "--user-from", "folder", "--data", data,
        "--external-id", "{stem}", "--threads", 2, "--journal", folder.parent / "import.jsonl",
        "--json",
    )  # fmt: skip
    client.create_user(CollectionId=name, UserId="nobody-yet")
    gone = client.list_faces(CollectionId=name, MaxResults=3)["Faces"][-1]
    if "UserId" in gone:
        client.disassociate_faces(
            CollectionId=name, UserId=gone["UserId"], FaceIds=[gone["FaceId"]]
        )
    client.delete_faces(CollectionId=name, FaceIds=[gone["FaceId"]])
    return client


def reindex(server, folder, name, *more, code=0):
    return recollect(
        "reindex", name, "--pack", "wide", "--from", folder, "--json", *more,
        "--data", server.server.settings.data, "--journal", folder.parent / "reindex.jsonl",
        code=code,
    )  # fmt: skip


def test_everything_is_kept_and_callers_find_the_new_pack_under_the_old_name(both, tmp_path):
    folder = tmp_path / "pictures"
    client = enrolled(both, folder, "club", 30)
    before = contents(client, "club")

    told = json.loads(reindex(both, folder, "club", "--report", tmp_path / "report.json"))

    assert contents(client, "club") == before
    assert client.describe_collection(CollectionId="club")["FaceModelVersion"] == "5.0"
    assert (told["switched"], told["missing"], told["failed"]) == (True, 0, 0)
    assert told["faces"] == len(before["faces"]) == 44
    # The old one stands beside, untouched, and its FaceIds lead to the new ones.
    assert contents(client, "club.wide") == before
    ids = json.loads((tmp_path / "report.json").read_text())["face_ids"]
    old = {f["FaceId"] for f in client.list_faces(CollectionId="club.wide", MaxResults=99)["Faces"]}
    new = {f["FaceId"] for f in client.list_faces(CollectionId="club", MaxResults=99)["Faces"]}
    assert (set(ids), set(ids.values())) == (old, new)
    # A person is found, by the new pack's scale, as the same user.
    answer = client.search_users_by_image(
        CollectionId="club", Image={"Bytes": picture(4)}, UserMatchThreshold=0, MaxUsers=1
    )
    assert answer["FaceModelVersion"] == "5.0"

    refusal = reindex(both, folder, "club", "--delete-old")
    assert json.loads(refusal)["switched"]
    assert "club.wide" not in client.list_collections()["CollectionIds"]
    assert "has the pack wide already" in reindex(both, folder, "club", code=2)


def test_the_pictures_may_lie_in_a_bucket(both, tmp_path):
    folder, config = tmp_path / "pictures", tmp_path / "recollect.toml"
    client = enrolled(both, folder, "away", 30)
    before = contents(client, "away")
    config.write_text(f'[s3.buckets."photos"]\npath = "{folder}"\n')
    with (folder / "team0" / "endless.png").open("wb") as file:
        file.truncate(16 << 20)

    told = json.loads(
        recollect(
            "reindex", "away", "--pack", "wide", "--from", "s3://photos", "--config", config,
            "--threads", 4, "--data", both.server.settings.data,
            "--journal", tmp_path / "bucket.jsonl", "--json",
        )
    )  # fmt: skip

    assert contents(client, "away") == before
    # The longest is named, and stops nobody.
    assert (told["switched"], told["missing"], told["failed"]) == (True, 0, 1)


def test_faces_whose_pictures_are_gone_stop_the_switch(both, tmp_path):
    folder = tmp_path / "pictures"
    client = enrolled(both, folder, "thin", 8)
    before = contents(client, "thin")
    (folder / "team1" / "0001.png").unlink()
    # Of two; the one that `enrolled` deleted may be among them.
    lost = sum(external_image_id == "0001" for _, external_image_id, _ in before["faces"])

    refusal = reindex(both, folder, "thin", code=2)

    assert f"{lost} faces of thin were not found again" in refusal
    assert contents(client, "thin") == before
    assert client.describe_collection(CollectionId="thin")["FaceModelVersion"] == "4.0"

    told = json.loads(reindex(both, folder, "thin", "--drop-missing"))
    assert (told["switched"], told["missing"]) == (True, lost)
    assert len(contents(client, "thin")["faces"]) == len(before["faces"]) - lost


def test_what_happens_to_the_old_one_meanwhile_happens_to_the_new_one(both, tmp_path):
    folder = tmp_path / "pictures"
    client = enrolled(both, folder, "busy", 8)
    told = json.loads(reindex(both, folder, "busy", "--no-switch"))
    assert not told["switched"]
    assert client.describe_collection(CollectionId="busy")["FaceModelVersion"] == "4.0"

    # Somebody is deleted, somebody comes, a user changes, a tag goes.
    faces = client.list_faces(CollectionId="busy", MaxResults=99)["Faces"]
    lonely, moving = (face for face in faces if "UserId" in face) and faces[:2]
    for face in (lonely, moving):
        if "UserId" in face:
            client.disassociate_faces(
                CollectionId="busy", UserId=face["UserId"], FaceIds=[face["FaceId"]]
            )
    client.delete_faces(CollectionId="busy", FaceIds=[lonely["FaceId"]])
    client.associate_faces(
        CollectionId="busy",
        UserId="nobody-yet",
        FaceIds=[moving["FaceId"]],
        UserMatchThreshold=0,
    )
    (folder / "late.png").write_bytes(picture(123, side=70))
    client.index_faces(
        CollectionId="busy",
        Image={"Bytes": (folder / "late.png").read_bytes()},
        ExternalImageId="late",
    )
    arn = client.describe_collection(CollectionId="busy")["CollectionARN"]
    client.untag_resource(ResourceArn=arn, TagKeys=["team"])
    client.tag_resource(ResourceArn=arn, Tags={"new": "1"})
    before = contents(client, "busy")

    reindex(both, folder, "busy")

    assert contents(client, "busy") == before


def test_a_pack_that_the_server_does_not_have_makes_nothing(both, tmp_path):
    folder = tmp_path / "pictures"
    client = enrolled(both, folder, "plain", 2)
    refusal = recollect(
        "reindex",
        "plain",
        "--pack",
        "absent",
        "--from",
        folder,
        "--data",
        both.server.settings.data,
        "--journal",
        tmp_path / "j",
        code=1,
    )
    assert "there are: toy, wide" in refusal
    assert "plain.absent" not in client.list_collections()["CollectionIds"]


def killed_and_resumed(server, pack, folder, name, kills, seed):
    """Reindex under kill -9 until it is done; how often it was killed in the middle."""
    client = server.client()
    before = contents(client, name)
    pack.pause_s = 0.01
    rng = random.Random(seed)
    command = [
        sys.executable, "-m", "recollect", "reindex", name, "--pack", "wide", "--json",
        "--from", str(folder), "--data", str(server.server.settings.data),
    ]  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RECOLLECT_", "AWS_"))}
    torn = wrong = looks = 0
    watching = threading.Event()

    def watch():
        # A caller sees the old collection whole or the new one whole, at every moment.
        nonlocal wrong, looks
        watcher = server.client()
        while not watching.is_set():
            page = watcher.describe_collection(CollectionId=name)
            looks += 1
            wrong += page["FaceCount"] != len(before["faces"])
            wrong += page["UserCount"] != len(before["users"])
            watching.wait(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        while True:
            process = subprocess.Popen(
                command, cwd=folder.parent, env=kept, stdout=subprocess.PIPE, text=True
            )
            journal = folder.parent / f".recollect-reindex-{name}.wide.jsonl"
            had = journal.stat().st_size if journal.exists() else 0
            if torn < kills:
                pace = rng.uniform(0.1, 1.5) / kills * len(before["faces"])
                while process.poll() is None:
                    size = journal.stat().st_size if journal.exists() else 0
                    if size - had > 250 * pace:
                        break
                    time.sleep(0.005)
            else:
                process.wait()
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                torn += 1
                process.wait()
                process.stdout.close()
                continue
            output = process.stdout.read()
            process.stdout.close()
            assert process.returncode == 0, output
            break
    finally:
        watching.set()
        watcher.join()
        pack.pause_s = 0.0
    told = json.loads(output)
    assert told["missing"] == 0
    assert contents(client, name) == before
    assert client.describe_collection(CollectionId=name)["FaceModelVersion"] == "5.0"
    assert (wrong, looks > 0) == (0, True)
    return torn, told, looks


def test_a_kill_in_the_middle_loses_nothing(both, pack, tmp_path):
    folder = tmp_path / "pictures"
    enrolled(both, folder, "struck", 40)

    torn, _, _ = killed_and_resumed(both, pack, folder, "struck", 1, seed=5)

    assert torn == 1


@pytest.mark.slow
def test_a_thousand_pictures_survive_five_kills(both, pack, tmp_path, capsys):
    folder = tmp_path / "pictures"
    enrolled(both, folder, "thousand", 1000)

    started = time.monotonic()
    torn, told, looks = killed_and_resumed(both, pack, folder, "thousand", 5, seed=6)

    with capsys.disabled():
        print(
            f"\nreindex of {told['pictures']} pictures, {told['faces']} faces, {told['users']} "
            f"users: killed {torn} times, 0 lost, {looks} looks at the collection, 0 of them "
            f"half done, {time.monotonic() - started:.0f} s, seed 6"
        )
    assert torn == 5
    assert told["pictures"] == 1000
