"""The command line as a person runs it, beside a server that is running."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from contract.broken import refusal
from recollect.settings import BucketSettings
from toys import picture

SEARCH = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "rekognition:ListCollections",
            "Resource": "*",
        }
    ],
}


BESIDE = {}
"""What commands beside the common server find in their environment."""


def recollect(*arguments, code=0, cwd=None, **environ):
    """Run the command and give back its standard output."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RECOLLECT_", "AWS_"))}
    kept |= BESIDE
    done = subprocess.run(
        [sys.executable, "-m", "recollect", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=kept | environ,
        cwd=cwd,
    )
    assert code is None or done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture
def data(server, monkeypatch):
    """The data folder of the common server, its address written as `recollect serve` does."""
    for name, value in server.environ.items():
        monkeypatch.setitem(BESIDE, name, value)
    folder = server.server.settings.data
    (folder / "address").write_text(server.url)
    return folder


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(SEARCH))
    return path


def test_env_prints_what_a_shell_can_eval(server, data):
    printed = recollect("env", "--data", data)
    evaluated = subprocess.run(
        ["bash", "-c", f"{printed.strip()}; echo $AWS_ACCESS_KEY_ID $AWS_ENDPOINT_URL_REKOGNITION"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert evaluated == [server.root["AccessKeyId"], server.url]


def test_what_env_prints_is_all_that_boto3_and_the_aws_cli_need(data, tmp_path):
    printed = recollect("env", "--data", data).strip()
    aws = Path(sys.executable).parent / "aws"
    ask = "import boto3; print(boto3.client('rekognition').list_collections()['ResponseMetadata'])"
    for program in (
        f'{sys.executable} -c "{ask}"',
        f"{aws} rekognition list-collections",
    ):
        done = subprocess.run(
            ["bash", "-c", f"{printed}; {program}"],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )

        assert done.returncode == 0, done.stderr


def test_a_pack_that_cannot_be_loaded_is_named_with_the_way_out(tmp_path):
    (tmp_path / "models" / "odd").mkdir(parents=True)
    (tmp_path / "models" / "odd" / "manifest.toml").write_text("format = 1")

    said = recollect(
        *("serve", "--data", tmp_path / "data", "--port", "0"),
        code=2,
        RECOLLECT_MODELS=str(tmp_path / "models"),
    )

    assert f"{tmp_path / 'models' / 'odd'}: manifest: files is missing" in said
    assert "recollect models pull" in said


def test_env_says_what_is_missing(tmp_path):
    said = recollect("env", "--data", tmp_path, code=2)

    assert "root-credentials.json does not exist" in said


def test_a_new_key_is_known_to_the_running_server_at_once(server, data, policy):
    key = json.loads(
        recollect("key", "create", "--data", data, "--name", "ann", "--policy", policy, "--json")
    )
    client = server.client(key["AccessKeyId"], key["SecretAccessKey"])

    assert client.list_collections()["CollectionIds"] is not None
    error = refusal(client.create_collection, CollectionId="x")
    assert error["Code"] == "AccessDeniedException"
    assert "user/ann is not authorized" in error["Message"]


def test_a_disabled_key_is_refused_until_it_is_enabled_and_a_deleted_one_for_good(
    server, data, policy
):
    key = json.loads(
        recollect("key", "create", "--data", data, "--name", "bob", "--policy", policy, "--json")
    )
    client = server.client(key["AccessKeyId"], key["SecretAccessKey"])
    client.list_collections()

    recollect("key", "disable", key["AccessKeyId"], "--data", data)
    assert refusal(client.list_collections)["Code"] == "UnrecognizedClientException"
    recollect("key", "enable", key["AccessKeyId"], "--data", data)
    client.list_collections()
    recollect("key", "delete", key["AccessKeyId"], "--data", data)
    assert refusal(client.list_collections)["Code"] == "UnrecognizedClientException"


def test_a_policy_is_replaced_shown_and_simulated(server, data, policy, tmp_path):
    key = json.loads(
        recollect("key", "create", "--data", data, "--name", "eve", "--policy", policy, "--json")
    )
    key_id = key["AccessKeyId"]
    wide = tmp_path / "wide.json"
    wide.write_text(json.dumps(SEARCH).replace("rekognition:ListCollections", "*"))
    what = ("policy", "simulate", key_id, "--action", "rekognition:CreateCollection")

    assert "denied" in recollect(*what, "--data", data, code=None)
    recollect("policy", "attach", key_id, "--policy", wide, "--data", data)
    assert "allowed" in recollect(*what, "--data", data)
    assert json.loads(recollect("policy", "show", key_id, "--data", data))[0]["Statement"]
    client = server.client(key_id, key["SecretAccessKey"])
    client.create_collection(CollectionId="by-eve")
    client.delete_collection(CollectionId="by-eve")


def test_a_policy_that_cannot_be_evaluated_makes_no_key(data, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Alow"}]}))

    said = recollect("key", "create", "--data", data, "--name", "x", "--policy", wrong, code=2)

    assert "no policy that can be evaluated" in said


def test_keys_are_listed_without_secrets(server, data):
    printed = recollect("key", "list", "--data", data, "--json")

    assert server.root["AccessKeyId"] in printed
    assert server.root["SecretAccessKey"] not in printed


def test_a_temporary_key_needs_its_session_token(server, data, policy):
    key = json.loads(
        recollect(
            *("key", "create", "--data", data, "--name", "temp", "--policy", policy),
            *("--expires-s", 3600, "--json"),
        )
    )
    arguments = key["AccessKeyId"], key["SecretAccessKey"]

    server.client(*arguments, token=key["SessionToken"]).list_collections()
    with pytest.raises(ClientError, match="security token"):
        server.client(*arguments).list_collections()


@pytest.fixture
def photos(tmp_path):
    """Two people with two pictures each, one picture without a face, one that is none."""
    folder = tmp_path / "photos"
    for person, name in ((1, "ann"), (2, "bob")):
        (folder / name).mkdir(parents=True)
        for side in (40, 60):
            (folder / name / f"{side}.png").write_bytes(picture(person, side=side))
    (folder / "empty.png").write_bytes(picture())
    (folder / "broken.jpg").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_a_folder_is_imported_once_and_says_what_had_no_face(
    rekognition, collection, data, photos, tmp_path
):
    command = (
        *("import", photos, "--collection", collection, "--user-from", "folder"),
        *("--data", data, "--journal", tmp_path / "j", "--report", tmp_path / "r", "--json"),
    )
    first = json.loads(recollect(*command))
    again = json.loads(recollect(*command))

    assert (first["pictures"], first["faces"], first["without_face"]) == (6, 4, 1)
    assert first["failed"] == {"InvalidImageFormatException": 1}
    assert again["faces"] == 4
    faces = rekognition.list_faces(CollectionId=collection)["Faces"]
    assert sorted((f["UserId"], f["ExternalImageId"]) for f in faces) == [
        ("ann", "ann_40.png"),
        ("ann", "ann_60.png"),
        ("bob", "bob_40.png"),
        ("bob", "bob_60.png"),
    ]
    outcomes = {o["path"]: o for o in json.loads((tmp_path / "r").read_text())}
    assert outcomes["empty.png"]["faces"] == []
    assert outcomes["broken.jpg"]["error"] == "InvalidImageFormatException"


def test_an_import_that_was_killed_goes_on_where_it_stopped(
    rekognition, collection, data, photos, tmp_path
):
    journal = tmp_path / "journal"
    command = (
        *("import", photos, "--collection", collection, "--data", data),
        *("--journal", journal, "--json"),
    )
    recollect(*command)
    whole = {f["FaceId"] for f in rekognition.list_faces(CollectionId=collection)["Faces"]}
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:2]) + "\n" + lines[2][:10])

    recollect(*command)

    faces = rekognition.list_faces(CollectionId=collection)["Faces"]
    assert {face["FaceId"] for face in faces} == whole


def test_a_tar_file_and_a_list_are_imported_too(rekognition, collection, data, photos, tmp_path):
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(photos, "photos")
    listed = photos / "list.csv"
    listed.write_text("path,external_image_id,user_id\nann/40.png,first,ann\n")

    of_tar = json.loads(
        recollect(
            *("import", archive, "--collection", collection, "--data", data),
            *("--external-id", "{folder}-{stem}", "--journal", tmp_path / "t", "--json"),
        )
    )
    of_list = json.loads(
        recollect(
            *("import", listed, "--collection", collection, "--data", data),
            *("--journal", tmp_path / "l", "--json"),
        )
    )

    assert (of_tar["faces"], of_list["faces"]) == (4, 1)
    names = {f["ExternalImageId"] for f in rekognition.list_faces(CollectionId=collection)["Faces"]}
    assert names == {"ann-40", "ann-60", "bob-40", "bob-60", "first"}


def test_a_parquet_list_is_imported_and_one_without_paths_is_refused(
    rekognition, collection, data, photos, tmp_path
):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    listed, pathless, broken = (photos / f"{name}.parquet" for name in ("list", "none", "broken"))
    rows = {"path": ["ann/40.png", "bob/40.png"], "external_image_id": ["first", None], "n": [1, 2]}
    parquet.write_table(pyarrow.table(rows), listed)
    parquet.write_table(pyarrow.table({"file": ["ann/40.png"]}), pathless)
    broken.write_bytes(b"PAR1")
    command = ("--collection", collection, "--data", data, "--journal", tmp_path / "p")

    assert json.loads(recollect("import", listed, *command, "--json"))["faces"] == 2
    assert "needs a column path" in recollect("import", pathless, *command, code=2)
    assert "cannot be read" in recollect("import", broken, *command, code=2)
    names = {f["ExternalImageId"] for f in rekognition.list_faces(CollectionId=collection)["Faces"]}
    assert names == {"first", "bob_40.png"}


def test_a_bucket_is_imported_by_the_server_itself(serve, photos, tmp_path, monkeypatch):
    server = serve(buckets={"photos": BucketSettings(path=str(photos))})
    folder = server.server.settings.data
    (folder / "address").write_text(server.url)
    config = tmp_path / "recollect.toml"
    config.write_text(f'[s3.buckets."photos"]\npath = "{photos}"\n')
    command = ("--collection", "c", "--data", folder, "--journal", tmp_path / "s", "--json")

    some = json.loads(recollect("import", "s3://photos/ann/", "--config", config, *command))
    whole = json.loads(recollect("import", "s3://photos", "--config", config, *command))
    unknown = recollect("import", "s3://other/x", "--config", config, *command, code=2)

    assert (some["pictures"], some["faces"]) == (2, 2)
    assert (whole["pictures"], whole["faces"], whole["without_face"]) == (6, 4, 1)
    assert whole["failed"] == {"InvalidImageFormatException": 1}
    assert "no bucket other is configured" in unknown


def test_search_prints_matches_and_exits_1_where_there_are_none(
    rekognition, collection, data, tmp_path
):
    rekognition.index_faces(
        CollectionId=collection, Image={"Bytes": picture(1)}, ExternalImageId="ann"
    )
    known, unknown = tmp_path / "known.png", tmp_path / "unknown.png"
    known.write_bytes(picture(1, side=70))
    unknown.write_bytes(picture(9))

    found = json.loads(
        recollect("search", known, "--collection", collection, "--data", data, "--json")
    )
    assert found["FaceMatches"][0]["Face"]["ExternalImageId"] == "ann"
    recollect("search", unknown, "--collection", collection, "--data", data, code=1)


@pytest.mark.embedded
def test_a_second_server_on_a_data_folder_is_refused_in_one_line(data):
    said = recollect("serve", "--data", data, "--port", 0, code=2)

    assert len(said.strip().splitlines()) <= 2
    assert Path(data).name in said


def test_a_misspelt_setting_is_refused(tmp_path):
    said = recollect("serve", "--data", tmp_path, code=2, RECOLLECT_PROT="1")

    assert "RECOLLECT_PROT is no setting" in said
