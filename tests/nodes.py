"""A node of a cluster as a server has it: a store, and an index that follows it."""

import contextlib

from enrolments import postgres_store, template
from recollect.gallery.arena import Arena
from recollect.gallery.gallery import Galleries
from recollect.gallery.rows import no_collection


class Node:
    """Writes to the common store and searches its own index."""

    def __init__(self, url, bytes_max=0, **more):
        self.store = postgres_store(url, **more)
        self.arena = Arena()
        self.galleries = Galleries(
            self.store, self.arena, lambda _: None, first=(), bytes_max=bytes_max
        )
        self.galleries.load()
        self.seen = []
        self.store.subscribe(self.seen.append)

    def found(self, collection, number, *, kind="faces"):
        """The ids that a call that searches for a numbered face finds."""
        read = self.store.collection(collection.account, collection.collection_id)
        if read is None:
            raise no_collection(collection)
        best = self.galleries.search(
            read, template(number), count_max=9, score_min=0.999, kind=kind
        )
        return [candidate.id for candidate in best]

    def close(self):
        self.store.close()
        self.arena.close()


@contextlib.contextmanager
def nodes(url, count=2, **more):
    """Some nodes over one database."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(Node(url, **more))
            stack.callback(made[-1].close)
        yield made
