"""A real server whose processes that run the models are killed under its calls."""

import importlib.util
import io
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from PIL import Image

from recollect.measure import own

pytestmark = pytest.mark.models

CLIENTS, CALLS, KILLS = 3, 12, 6


def portrait():
    """Eileen Collins, NASA, public domain; a JPEG."""
    origin = importlib.util.find_spec("skimage").origin
    file = io.BytesIO()
    with Image.open(Path(origin).parent / "data/astronaut.png") as picture:
        picture.convert("RGB").save(file, "JPEG")
    return file.getvalue()


def model_processes(server):
    """The one that loads, first, and its forks."""
    processes = []
    for pid in own._family(server.process.pid):
        with suppress(OSError):
            if b"recollect.vision.model_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                processes.append(pid)
    return processes


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
def test_clients_with_boto3s_own_retries_do_not_notice_that_model_processes_die(
    tmp_path,
):
    data = tmp_path / "data"
    with own.running(data, {"pack": "default", "log_level": "error"}) as server:
        root = json.loads((data / "root-credentials.json").read_text())

        def client():
            return boto3.client(
                "rekognition",
                endpoint_url=server.url,
                region_name="eu-central-1",
                aws_access_key_id=root["AccessKeyId"],
                aws_secret_access_key=root["SecretAccessKey"],
                config=Config(retries={"mode": "legacy"}),
            )

        image = {"Bytes": portrait()}
        client().create_collection(CollectionId="c")
        (record,) = client().index_faces(CollectionId="c", Image=image)["FaceRecords"]

        def search(calls):
            mine = client()
            answers = []
            for _ in range(calls):
                answers += mine.search_faces_by_image(CollectionId="c", Image=image)["FaceMatches"]
            return [answer["Face"]["FaceId"] for answer in answers]

        stop = threading.Event()
        killed = []

        def kill():
            while len(killed) < KILLS and not stop.wait(0.1):
                loader, *forks = model_processes(server) or [0]
                # The one that loads too, once: all forks die with it, and others are made.
                pid = loader if len(killed) == KILLS // 2 else next(iter(forks), 0)
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(search, [CALLS] * CLIENTS))
        stop.set()
        killer.join()

        assert found == [[record["Face"]["FaceId"]] * CALLS] * CLIENTS
        assert len(killed) >= KILLS // 2
        assert search(1) == [record["Face"]["FaceId"]]
        deadline = time.monotonic() + 10
        while len(model_processes(server)) > 1 + os.cpu_count():
            assert time.monotonic() < deadline, "a process was left over"
            time.sleep(0.05)
