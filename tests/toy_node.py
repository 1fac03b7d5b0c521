"""A server with the toy pack as a process of its own: python tests/toy_node.py NAME=VALUE ...

With `stale` as its last argument it follows nobody and answers searches from whatever its index
holds, which is what the tests of clusters have to notice.
"""

import sys

from recollect import app
from recollect.gallery.gallery import Galleries
from recollect.gallery.postgres.feed import Feed
from recollect.settings import load
from toys import ToyPack

if __name__ == "__main__":
    settings = sys.argv[1:]
    if settings[-1] == "stale":
        settings.pop()
        Feed._listen_until_closed = lambda feed: None
        level = Galleries._level
        Galleries._level = lambda galleries, collection, wanted, deadline: (
            galleries._open.get(collection.key) or level(galleries, collection, wanted, deadline)
        )
    app.run(load(dict(pair.split("=", 1) for pair in settings), environ={}), {"toy": ToyPack()})
