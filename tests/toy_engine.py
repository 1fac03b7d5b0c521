"""The real operations over a real data folder, in a process that can be killed.

Spoken to in lines of JSON over a Unix socket: an operation's name and parameters, then its answer
or its error. Without HTTP, signatures and pictures a call costs little, so a million are soon made.
"""

import queue
import socket
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np

from enrolments import ACCOUNT, MASTER_KEY
from recollect.app import OPERATIONS
from recollect.errors import AnswerError
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries
from recollect.gallery.sqlite import SQLiteStore
from recollect.operations.service import Parts, Service
from recollect.vision.face import Face, Pose
from recollect.vision.image import Picture
from toys import ToyPack, template

CONNECTIONS_MAX = 128
STALE_S = 0.1

TEMPLATES = [template(person) for person in range(250)]


class NumberPack(ToyPack):
    """A picture is two bytes: the number of the one person on it."""

    def faces(self, image):
        found = template_of(image)
        return [
            Face(
                box=(0.1, 0.2, 0.3, 0.4),
                confidence=99.5,
                landmarks={},
                pose=Pose(0.0, 0.0, 0.0),
                brightness=50.0,
                sharpness=90.0,
                size_px=100.0,
                points=np.zeros((5, 2)),
                template=found,
            )
        ]

    def embed(self, image, faces):
        return faces


def template_of(image):
    return TEMPLATES[int.from_bytes(image.tobytes(), "little")]


def decode(data, _):
    return Picture(np.frombuffer(data, np.uint8), 1, 1, 1.0)


def make_stale():
    """What must not be: an index that follows a while after the answer."""
    apply, level, late = Galleries._apply, Galleries._level, queue.SimpleQueue()

    def follow():
        while True:
            at, galleries, change = late.get()
            time.sleep(max(0.0, at - time.monotonic()))
            apply(galleries, change)

    threading.Thread(target=follow, daemon=True).start()
    Galleries._apply = lambda *change: late.put((time.monotonic() + STALE_S, *change))
    Galleries._level = lambda self, collection, *wanted: (
        self._open.get(collection.key) or level(self, collection, *wanted)
    )


def answer(service, connection):
    """Answer one client until it leaves."""
    with connection, connection.makefile("rb") as requests:
        for request in requests:
            operation, params = msgspec.json.decode(request)
            if "Image" in params:
                params["Image"] = {"Bytes": params["Image"].to_bytes(2, "little")}
            try:
                reply = OPERATIONS[operation](service, params)
            except AnswerError as error:
                reply = {"error": error.code}
            connection.sendall(msgspec.json.encode(reply) + b"\n")


def main(folder, path, *manner):
    """Serve until killed; "stale" is for an engine that must be caught."""
    if manner == ("stale",):
        make_stale()
    # A hundred threads: whoever waits for the disk must not wait for the others as well.
    sys.setswitchinterval(0.0005)
    store = SQLiteStore(
        Path(folder), MASTER_KEY, clock=time.time, ids=lambda: "", reserve_bytes=4096
    )
    galleries = Galleries(store, Arena(), lambda _: None)
    galleries.load()
    pack = NumberPack()
    parts = Parts(store, galleries, {"toy": pack}, "toy", decode, None, bytes(32))
    service = Service(parts, ACCOUNT, "eu-west-1")
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(CONNECTIONS_MAX)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(service, connection), daemon=True).start()
