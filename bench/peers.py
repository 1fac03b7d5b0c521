"""Other engines on the same vectors: how each is built, and how it finds all above a score.

None is a dependency. Each function takes float32 unit vectors and returns a search that takes a
probe and the lowest score and gives the rows it found, at most 4,096 where the engine must be told
a number. What finds candidates with coarse codes is followed by exact scores, as a user would.
"""

from __future__ import annotations

import tempfile

import numpy as np

COUNT_MAX = 4096


def numpy_float32(vectors):
    """One matrix-vector product."""

    def search(probe, score_min):
        return np.flatnonzero(vectors @ probe >= score_min).tolist()

    return search


def faiss_flat(vectors):
    """faiss, exhaustive, float32."""
    return _faiss_range(vectors, "Flat", slack=0.0)


def faiss_sq8(vectors):
    """faiss, exhaustive, 8 bits: the 4,096 best, then exact scores."""
    index = _faiss(vectors, "SQ8")
    count = min(COUNT_MAX, len(vectors))

    def search(probe, score_min):
        _, rows = index.search(probe[None], count)
        return _rescored(vectors, rows[0], probe, score_min)

    return search


def faiss_rabitq(vectors):
    """faiss, exhaustive, 1 bit with six standard deviations of slack, then exact scores."""
    return _faiss_range(vectors, "RaBitQ", 6 * 0.756 / np.sqrt(vectors.shape[1] - 1))


def faiss_ivf_rabitq(vectors):
    """faiss, inverted lists of 1-bit codes, 64 of 1,024 looked at; incomplete."""
    lists = min(1024, len(vectors) // 40)
    slack = 6 * 0.756 / np.sqrt(vectors.shape[1] - 1)
    return _faiss_range(vectors, f"IVF{lists},RaBitQ", slack, probed=64)


def faiss_hnsw(vectors):
    """faiss, graph; incomplete, capped at 4,096."""
    import faiss

    index = _faiss(vectors, "HNSW16")
    count = min(COUNT_MAX, len(vectors))
    faiss.ParameterSpace().set_index_parameter(index, "efSearch", count)

    def search(probe, score_min):
        scores, rows = index.search(probe[None], count)
        return rows[0][scores[0] >= score_min].tolist()

    return search


def usearch_exact(vectors):
    """usearch, exhaustive, 8 bits: the 4,096 best, then exact scores."""
    from usearch.index import MetricKind
    from usearch.index import search as exhaustive

    codes = _int8(vectors)
    count = min(COUNT_MAX, len(vectors))

    def search(probe, score_min):
        found = exhaustive(codes, _int8(probe), count, MetricKind.IP, exact=True, threads=1)
        return _rescored(vectors, np.asarray(found.keys).ravel(), probe, score_min)

    return search


def usearch_hnsw(vectors):
    """usearch, graph, 8 bits; incomplete, capped at 4,096."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="i8", expansion_search=COUNT_MAX)
    index.add(np.arange(len(vectors)), _int8(vectors), threads=2)
    count = min(COUNT_MAX, len(vectors))

    def search(probe, score_min):
        rows = np.asarray(index.search(_int8(probe), count, threads=1).keys).astype(np.int64)
        return _rescored(vectors, rows, probe, score_min)

    return search


def hnswlib_graph(vectors):
    """hnswlib, graph; incomplete, capped at 4,096."""
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=200)
    index.add_items(vectors, num_threads=2)
    count = min(COUNT_MAX, len(vectors))
    index.set_ef(count)
    index.set_num_threads(1)

    def search(probe, score_min):
        rows, distances = index.knn_query(probe, count)
        return rows[0][1 - distances[0] >= score_min].tolist()

    return search


def qdrant_edge(vectors):
    """Qdrant as a library, exact mode."""
    import qdrant_edge as q

    size = q.EdgeVectorParams(size=vectors.shape[1], distance=q.Distance.Dot)
    shard = q.EdgeShard.create(tempfile.mkdtemp(), q.EdgeConfig(vectors=size))
    for first in range(0, len(vectors), 1000):
        points = [
            q.Point(id=first + offset, vector=vector.tolist())
            for offset, vector in enumerate(vectors[first : first + 1000])
        ]
        shard.update(q.UpdateOperation.upsert_points(points))

    def search(probe, score_min):
        request = q.QueryRequest(
            query=q.Query.Nearest(probe.tolist()),
            limit=COUNT_MAX,
            score_threshold=score_min,
            params=q.SearchParams(exact=True),
        )
        return [point.id for point in shard.query(request)]

    return search


def sqlite_vec(vectors):
    """sqlite-vec, exhaustive, capped at 4,096."""
    import apsw
    import sqlite_vec as extension

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

    def search(probe, score_min):
        found = database.execute(
            "select rowid, distance from face where template match ? and k = ?",
            (probe.tobytes(), COUNT_MAX),
        )
        return [row for row, distance in found if 1 - distance >= score_min]

    return search


def _faiss(vectors, description):
    import faiss

    faiss.omp_set_num_threads(2)
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:100_000])
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    return index


def _faiss_range(vectors, description, slack, probed=None):
    index = _faiss(vectors, description)
    if probed:
        index.nprobe = probed

    def search(probe, score_min):
        _, _, rows = index.range_search(probe[None], score_min - slack - 1e-6)
        return _rescored(vectors, rows, probe, score_min)

    return search


def _rescored(vectors, rows, probe, score_min):
    rows = rows[rows >= 0]
    return rows[vectors[rows] @ probe >= score_min].tolist()


def _int8(vectors):
    scaled = vectors * 127 / np.abs(vectors).max(axis=-1, keepdims=True)
    return np.clip(np.rint(scaled), -127, 127).astype(np.int8)


PEERS = {
    "numpy float32": numpy_float32,
    "faiss Flat": faiss_flat,
    "faiss SQ8": faiss_sq8,
    "faiss RaBitQ + exact": faiss_rabitq,
    "faiss IVF,RaBitQ + exact": faiss_ivf_rabitq,
    "faiss HNSW": faiss_hnsw,
    "usearch int8 exact": usearch_exact,
    "usearch HNSW int8": usearch_hnsw,
    "hnswlib": hnswlib_graph,
    "qdrant-edge exact": qdrant_edge,
    "sqlite-vec": sqlite_vec,
}
