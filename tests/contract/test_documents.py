"""What README and docs tell people to type, typed: programs and commands beside a real server."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nursery import Nursery
from recollect.settings import BucketSettings
from recollect.wire.bearer import token
from toys import picture

pytestmark = pytest.mark.embedded

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BESIDE = Path(sys.executable).parent
KEY = "AKIA0123456789ABCDEF"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
SEARCH = {"Effect": "Allow", "Action": "rekognition:SearchFaces", "Resource": "*"}

ELSEWHERE = {
    r"^make ": "Makefile",
    r"^(sudo|docker|install) ": "tests/repo/test_deploy.py",
    r"^pip install ": "tests/repo/test_packages.py",
    r"^recollect serve ": "tests/contract/test_tending.py",
    r"^recollect import s3://": "tests/contract/test_command_line.py",
    r"^recollect bench ": "tests/unit/measure/test_bench_command.py",
    r"^recollect evaluate ": "tests/unit/measure/test_evaluate_command.py",
    r"^recollect models (?!list)": "tests/unit/cli/test_models.py",
    r"^recollect reindex ": "tests/contract/test_reindex.py",
    r"^recollect restore ": "tests/contract/test_tending.py",
    r"^recollect key master ": "tests/faults/test_master_key_rotation.py",
    r"^recollect check --data /var/lib/recollect": "tests/contract/test_tending.py",
    r"^recollect backup /backup/recollect --data /var/lib": "tests/contract/test_tending.py",
    r"^python examples/": "tests/contract/test_examples.py",
}
"""What cannot be typed here, and where it is run or looked at."""

COLLECTIONS = {"command-line.md": ["staff"], "recipes.md": ["door", "accounts", "library"]}
"""What a page takes for granted."""

USES = {
    "def enrol(": "enrol('ann', [Path('ann.jpg')]); print(who_is(Path('door.jpg').read_bytes()))",
    "def add(": (
        "name(add(Path('ann.jpg'))[0][0], 'ann'); print(add(Path('door.jpg'))[0][1]);"
        " print(photos_of('ann'))"
    ),
}
"""Calls of the functions that a block defines."""

ENDS = {"--action rekognition:DeleteFaces": 1, "recollect doctor": 1}
"""Exit codes of what does not end well here: a denied action; no pack lies in this folder."""

SAID = {
    "README.md": ["[('ann', 100.0)]", '"FaceCount":1'],
    "quickstart.md": ['"ready":true', "100.0 me.jpg"],
    "plain-json.md": ['"CollectionArn"', '"FaceRecords"', '"ExternalImageId":"ann"'],
    "recipes.md": ["me.jpg", "with-others.jpg", "ann\n", "ann.jpg"],
    "security.md": ["denied"],
    "command-line.md": ["searcher", "0.1.0", "FaceId"],
}
"""What has to stand in the output of a page's blocks."""


def lines():
    """Each page with what is typed there: programs whole, commands line by line."""
    for page in PAGES:
        typed = []
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language == "python":
                typed.append(("python", text))
            elif language in ("", "sh") and not re.search(r"[─→]", text):
                joined = text.replace("\\\n", " ")
                typed += [("sh", " ".join(line.split())) for line in joined.splitlines()]
        if typed:
            yield pytest.param(page.name, typed, id=page.name)


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery("typed")
    yield nursery
    nursery.close()


@pytest.fixture
def workplace(serve, tmp_path):
    """A server, and a folder with the pictures and policies that the documents speak of."""
    (tmp_path / "bucket").mkdir()
    bucket = BucketSettings(path=str(tmp_path / "bucket"))
    running = serve(account="000000000000", buckets={"photos": bucket})
    (tmp_path / "recollect.toml").write_text(f'[s3.buckets."photos"]\npath = "{bucket.path}"\n')
    data = running.server.settings.data
    (data / "address").write_text(running.url)
    (tmp_path / "data").symlink_to(data)
    for name in ("search.json", "app.json", "photos.json"):
        (tmp_path / name).write_text(json.dumps({"Version": "2012-10-17", "Statement": [SEARCH]}))
    for folder, names in {
        ".": ["ann.jpg", "door.jpg", "me.jpg"],
        "bucket/2026": ["ann.jpg"],
        "pictures": ["ann.jpg"],
        "people/u-1047": ["ann.jpg"],
        "photos": ["me.jpg"],
        "Pictures": ["me.jpg"],
        "Pictures/family": ["me.jpg"],
    }.items():
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        for name in names:
            (tmp_path / folder / name).write_bytes(picture(1))
    (tmp_path / "photos" / "with-others.jpg").write_bytes(picture(2, 1, 3))
    bearer = running.key(EVERYTHING, bearer_key=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RECOLLECT_"))}
    environ = kept | {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": running.root["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": running.root["SecretAccessKey"],
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_REKOGNITION": running.url,
        "TOKEN": token(bearer.key_id, bearer.secret),
    }
    return running, tmp_path, environ


def typed_here(running, folder, text):
    """What a line says, for this server and this folder."""
    if KEY in text:
        text = text.replace(KEY, running.key(SEARCH).key_id)
    for written, here in {
        "http://127.0.0.1:8080": running.url,
        ".venv/bin/recollect": "recollect",
        "~/": f"{folder}/",
        " /backup/": f" {folder}/backup/",
        " /backups": f" {folder}/backups",
    }.items():
        text = text.replace(written, here)
    return text


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("page", "typed"), list(lines()))
def test_what_a_page_says_to_type_can_be_typed(workplace, nursery, page, typed):
    running, folder, environ = workplace
    for name in COLLECTIONS.get(page, ()):
        running.client().create_collection(CollectionId=name)
    said = []

    def program(*arguments):
        done = subprocess.run(
            arguments,
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        said.append(done.stdout)
        assert done.returncode == 0, f"{arguments}: {done.stdout}"

    def recollect(*arguments):
        with nursery.child(folder, json.dumps(environ), *arguments) as child:
            said.append(child.stdout.read().decode())
            return child.wait()

    for kind, text in typed:
        if kind == "python":
            uses = [call for function, call in USES.items() if function in text]
            program(sys.executable, "-c", "\n".join([text, *uses]))
            continue
        line = typed_here(running, folder, text.partition(" # ")[0].strip())
        if not line or any(re.search(pattern, text) for pattern in ELSEWHERE):
            continue
        if not line.startswith("recollect "):
            # `$(recollect …)` finds the command beside this Python.
            program("env", f"PATH={BESIDE}{os.pathsep}{environ['PATH']}", "bash", "-c", line)
            continue
        code = next((code for part, code in ENDS.items() if part in line), 0)
        assert recollect(*shlex.split(line)[1:]) == code, f"{line}: {said[-1]}"

    output = "\n".join(said)
    for expected in SAID.get(page, ()):
        assert expected in output, output


def test_what_is_not_typed_here_is_looked_at_elsewhere():
    everything = [text for param in lines() for kind, text in param.values[1] if kind == "sh"]
    for pattern, place in ELSEWHERE.items():
        assert any(re.search(pattern, text) for text in everything), f"{pattern}: in no document"
        assert (ROOT / place).exists(), place
