"""How fast the index searches, how complete it is, and how it compares with other engines.

Every answer is checked against exhaustive comparison. Times are of one search at a time, seen from
Python. What a search is measured against, a compiled read of as many bytes as it reads, or our own
search beside another engine's, is taken in turns with it, so that a busy machine slows both.
"""

from __future__ import annotations

import platform
import resource
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from recollect import __version__
from recollect.gallery import exact
from recollect.gallery.arena import Arena
from recollect.gallery.columns import mapped
from recollect.gallery.ids import packed_all
from recollect.gallery.kernel import choose
from recollect.gallery.native import NativeKernel
from recollect.measure.synthetic import identifiers, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recollect.gallery.kernel import Kernel
    from recollect.gallery.store import Candidate, Template, Templates
    from recollect.measure.engines import Engine
    from recollect.measure.synthetic import Rows, Synthetic

SPACE: Final = (1, "faces")
COUNT_MAX: Final = 4096
LIMIT_BYTES_MAX: Final = 1 << 30
TURN: Final = 10
"""Searches in a row before what they are measured against has its turn: a read leaves the caches
full of something else."""

Found = TypeVar("Found")

Answers = list[list[tuple[int, float]]]
"""For each probe the rows that reach a score, with their scores, best first."""


@dataclass(frozen=True, slots=True)
class Line:
    """One measured case."""

    engine: str
    kind: str
    dimension: int
    faces: int
    score_min: float
    threads: int
    best_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    faces_per_s: float
    limit_ms: float
    """Reading the bytes that are scanned; 0 for other engines."""
    of_limit: float
    """The median search as a multiple of it."""
    recollect_ms: float
    """Our own median in turns with this engine; 0 in our own lines."""
    of_recollect: float
    recall: float
    """Share of right answers. Ours must also have every score to the bit, the order and nothing
    besides: a search that differs in anything counts as one that found nothing."""
    answers: int
    load_per_s: float
    bytes_per_face: float


class Ours:
    """The arena, filled with a gallery.

    Args:
        gallery: what is put into it.
        kernel: name of a kernel.
        codes_only: whether templates stand outside of it and are asked for.
        oracle: sees every block on its way.
    """

    def __init__(
        self, gallery: Synthetic, kernel: str, *, codes_only: bool, oracle: Oracle
    ) -> None:
        self.kernel: Kernel = choose(kernel)
        self._gallery = gallery
        self.arena = Arena(kernel=self.kernel)
        self.arena.open(SPACE, gallery.dimension, gallery.centre, keeps_templates=not codes_only)
        self.name = f"recollect {self.arena.kernel}{', codes only' if codes_only else ''}"
        before, seconds = _resident_bytes(), 0.0
        for rows, block in gallery.blocks():
            oracle.see(rows, block)
            ids = packed_all(identifiers(rows))
            start = time.perf_counter()
            self.arena.load([(SPACE, ids, block)])
            seconds += time.perf_counter() - start
        self.load_per_s = gallery.faces / seconds
        self.bytes_per_face = (_resident_bytes() - before) / gallery.faces
        self.scanned_bytes = self.kernel.bytes_scanned(gallery.dimension) * gallery.faces

    def search(self, probe: Template, score_min: float) -> list[Candidate]:
        """What reaches a score."""
        return self.arena.search(
            SPACE, probe, count_max=COUNT_MAX, score_min=score_min, outside=self._templates
        )

    def _templates(self, ids: Sequence[str]) -> Templates:
        return self._gallery.templates(np.array(numbers(ids), np.int64))


class Limit:
    """Reads as much memory as a scan does, with as many threads, huge pages as the arena's."""

    def __init__(self, kernel: Kernel, scanned_bytes: int, threads: int) -> None:
        read_bytes = min(scanned_bytes, LIMIT_BYTES_MAX)
        self._scale = scanned_bytes / read_bytes
        self._parts = [
            mapped(read_bytes // threads // 8 * 8).view(np.uint64) for _ in range(threads)
        ]
        for part in self._parts:
            part[:] = 1  # Memory that was never written is not there.
        self._read: Callable[..., object] = (
            kernel.stream if isinstance(kernel, NativeKernel) else np.sum
        )

    def take(self, _: Template) -> None:
        """Read it once, whatever is searched for."""
        others = [threading.Thread(target=self._read, args=(part,)) for part in self._parts[1:]]
        for other in others:
            other.start()
        self._read(self._parts[0])
        for other in others:
            other.join()

    def milliseconds(self, seconds: float) -> float:
        """What one reading of all bytes takes, where one of these takes so long."""
        return seconds * 1e3 * self._scale


class Oracle:
    """Exhaustive comparison of all probes with a gallery that comes block by block.

    A float32 product finds what is near the lowest threshold, `exact.scores` decides.
    """

    def __init__(self, probes: Templates, thresholds: Sequence[float]) -> None:
        self.probes = probes
        self._least = min(thresholds) - 1e-5
        self._found: Answers = [[] for _ in probes]
        self._seen = 0

    def see(self, rows: Rows, block: Templates) -> None:
        """Compare a block of templates, unless it has been seen before."""
        if rows[0] < self._seen:
            return
        self._seen = int(rows[-1]) + 1
        near = self.probes @ block.T >= self._least
        for which in np.flatnonzero(near.any(axis=1)):
            here = np.flatnonzero(near[which])
            scores = exact.scores(block[here], self.probes[which])
            self._found[which] += zip(rows[here].tolist(), scores.tolist(), strict=True)

    def answers(self, score_min: float) -> Answers:
        """The right answers."""
        ordered = (sorted(found, key=lambda a: (-a[1], a[0])) for found in self._found)
        return [[a for a in found if a[1] >= score_min][:COUNT_MAX] for found in ordered]


def measure(
    gallery: Synthetic,
    *,
    kernels: Sequence[str],
    threads: Sequence[int],
    thresholds: Sequence[float],
    probes: int,
    codes_only: bool,
    engines: Sequence[Engine] = (),
    missing: Callable[[str, str], None] = lambda _, __: None,
) -> Iterator[Line]:
    """Measure a gallery: a line for each kernel, number of threads and threshold, then engines.

    Args:
        gallery: what is searched.
        kernels: names of kernels, each of which searches.
        threads: most threads of one search, each in turn; other engines have one.
        thresholds: lowest scores, each in turn.
        probes: searches of each case.
        codes_only: whether templates stand outside of the arena.
        engines: others, on the same vectors, in turns with our first kernel on one thread.
        missing: told the name of an engine that cannot be had, and why.
    """
    oracle = Oracle(gallery.probes(probes), thresholds)
    for kernel in kernels:
        ours = Ours(gallery, kernel, codes_only=codes_only, oracle=oracle)
        for count in threads:
            ours.arena.use_threads(count)
            limit = Limit(ours.kernel, ours.scanned_bytes, count)
            for score_min in thresholds:
                times, reads, found = _in_turns(
                    oracle.probes, _from(ours.search, score_min), limit.take
                )
                yield _line(
                    ours.name,
                    gallery,
                    score_min,
                    count,
                    times,
                    limit_ms=limit.milliseconds(float(np.median(reads))),
                    recall=_exact_recall(found, oracle.answers(score_min)),
                    answers=sum(map(len, oracle.answers(score_min))),
                    load_per_s=ours.load_per_s,
                    bytes_per_face=ours.bytes_per_face,
                )
        ours.arena.close()
    if engines:
        ours = Ours(gallery, kernels[0], codes_only=codes_only, oracle=oracle)
        yield from _beside(ours, gallery, thresholds, oracle, engines, missing)
        ours.arena.close()


def machine(seed: int) -> str:
    """What the figures are measured on, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return (
        f"recollect {__version__}, {model}, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, numpy {np.__version__}, seed {seed}"
    )


def _beside(
    ours: Ours,
    gallery: Synthetic,
    thresholds: Sequence[float],
    oracle: Oracle,
    engines: Sequence[Engine],
    missing: Callable[[str, str], None],
) -> Iterator[Line]:
    """Other engines on the same vectors, each search in turns with ours."""
    vectors = np.empty((gallery.faces, gallery.dimension), np.float32)
    for rows, block in gallery.blocks():
        vectors[rows] = block
    for engine in engines:
        if gallery.faces > engine.faces_max:
            missing(engine.name, f"not built of more than {engine.faces_max:,} faces")
            continue
        start = time.perf_counter()
        try:
            search = engine.build(vectors)
        except ImportError as error:
            missing(engine.name, f"not installed: {error.name}")
            continue
        load_per_s = gallery.faces / (time.perf_counter() - start)
        for score_min in thresholds:
            times, own, found = _in_turns(
                oracle.probes, _from(search, score_min), _from(ours.search, score_min)
            )
            wanted = [{row for row, _ in answers} for answers in oracle.answers(score_min)]
            right = sum(len(rows & set(got)) for rows, got in zip(wanted, found, strict=True))
            total = sum(map(len, wanted))
            yield _line(
                engine.name,
                gallery,
                score_min,
                1,
                times,
                recollect_ms=float(np.median(own)) * 1e3,
                recall=right / total if total else 1.0,
                answers=total,
                load_per_s=load_per_s,
            )


def _from(
    search: Callable[[Template, float], Found], score_min: float
) -> Callable[[Template], Found]:
    return lambda probe: search(probe, score_min)


def _in_turns(
    probes: Templates, search: Callable[[Template], Found], other: Callable[[Template], object]
) -> tuple[list[float], list[float], list[Found]]:
    """Search, and do something else, ten of each in turns: seconds of both, and what was found."""
    for probe in probes[:TURN]:
        search(probe)
        other(probe)
    times: list[float] = []
    others: list[float] = []
    found: list[Found] = []
    for first in range(0, len(probes), TURN):
        for probe in probes[first : first + TURN]:
            start = time.perf_counter()
            answers = search(probe)
            times.append(time.perf_counter() - start)
            found.append(answers)
        for probe in probes[first : first + TURN]:
            start = time.perf_counter()
            other(probe)
            others.append(time.perf_counter() - start)
    return times, others, found


def _exact_recall(found: Sequence[Sequence[Candidate]], truth: Answers) -> float:
    """Share of the right answers that came in searches which were right to the bit."""
    right = sum(
        len(wanted)
        for got, wanted in zip(found, truth, strict=True)
        if list(zip(numbers([c.id for c in got]), (c.score for c in got), strict=True)) == wanted
    )
    wrong = sum(len(got) > 0 and not wanted for got, wanted in zip(found, truth, strict=True))
    total = sum(map(len, truth))
    return right / (total + wrong) if total + wrong else 1.0


def _line(
    engine: str,
    gallery: Synthetic,
    score_min: float,
    threads: int,
    times: Sequence[float],
    *,
    recall: float,
    answers: int,
    load_per_s: float,
    limit_ms: float = 0.0,
    recollect_ms: float = 0.0,
    bytes_per_face: float = 0.0,
) -> Line:
    milliseconds = np.array(times) * 1e3
    p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99]).tolist()
    return Line(
        engine=engine,
        kind=gallery.kind,
        dimension=gallery.dimension,
        faces=gallery.faces,
        score_min=score_min,
        threads=threads,
        best_ms=float(milliseconds.min()),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        faces_per_s=gallery.faces / p50 * 1e3,
        limit_ms=limit_ms,
        of_limit=p50 / limit_ms if limit_ms else 0.0,
        recollect_ms=recollect_ms,
        of_recollect=p50 / recollect_ms if recollect_ms else 0.0,
        recall=recall,
        answers=answers,
        load_per_s=load_per_s,
        bytes_per_face=bytes_per_face,
    )


def curves(lines: Sequence[Line]) -> dict[str, tuple[list[float], list[float]]]:
    """Name to faces and median milliseconds, rising; limits of ours have names of their own."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in lines:
        case = f"{line.kind} from {line.score_min:g}, {line.threads} thr"
        points[f"{line.engine}, {case}"].append((line.faces, line.p50_ms))
        if line.limit_ms:
            limit = f"limit of memory, {line.kind}, {line.threads} thr"
            points[limit].append((line.faces, line.limit_ms))
    return {
        name: ([x for x, _ in sorted(some)], [y for _, y in sorted(some)])
        for name, some in points.items()
    }


def _resident_bytes() -> int:
    """Memory of this process that is really there."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
