"""A server with the toy pack as a process of its own: python tests/toy_node.py NAME=VALUE ...

Its last argument may make it one that a test has to notice. `stale`: it follows nobody and answers
searches from whatever its index holds. `hasty`: it answers before a call is on record.
"""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from recollect import app
from recollect.gallery.gallery import Galleries
from recollect.gallery.postgres.feed import Feed
from recollect.gallery.sqlite import SQLiteStore
from recollect.measure import own
from recollect.settings import load
from toys import ToyPack

ACCOUNT = "000000000000"


@contextmanager
def serving(data, *manner):
    """This server on a data folder and a free port; killed at the end."""
    data.mkdir(exist_ok=True)
    (data / "address").unlink(missing_ok=True)
    settings = [f"data={data}", f"account={ACCOUNT}", "port=0", "pack=toy", "log_level=error"]
    settings += ["store=", "master_key="]
    environ = {name: v for name, v in os.environ.items() if not name.startswith("RECOLLECT_")}
    log = data.with_suffix(".log")
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, __file__, *settings, *manner],
            env=environ | {"PYTHONPATH": str(Path(__file__).parent)},
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            own._ready(data / "address", process, log)
            yield process
        finally:
            process.kill()


def stale():
    """Follow nobody."""
    Feed._listen_until_closed = lambda feed: None
    level = Galleries._level
    Galleries._level = lambda galleries, collection, deadline: (
        galleries._open.get(collection.key) or level(galleries, collection, deadline)
    )


def hasty():
    """Put calls on record a moment after their answers."""
    record = SQLiteStore.record
    SQLiteStore.record = lambda *call: threading.Timer(0.05, record, call).start()


if __name__ == "__main__":
    *settings, manner = sys.argv[1:]
    if manner in ("stale", "hasty"):
        {"stale": stale, "hasty": hasty}[manner]()
    else:
        settings.append(manner)
    app.run(load(dict(pair.split("=", 1) for pair in settings), environ={}), {"toy": ToyPack()})
