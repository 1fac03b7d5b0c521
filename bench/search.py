"""How fast the index searches, how complete it is, and how it compares with others.

    python bench/search.py                     # every kind of template, 10,000 to 1,000,000 faces
    python bench/search.py --kind arcface-512 --faces 10000000 --codes-only
    python bench/search.py --peers             # beside whatever of the peers is installed

Galleries are synthetic, with the statistics of real templates: see `synthetic.py`. Every answer is
checked against exhaustive comparison. Times are for one search at a time, seen from Python. The
memory limit is a compiled read of as many bytes as the scan reads, taken in turns with the
searches, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import csv
import platform
import resource
import sys
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from recollect import __version__
from recollect.gallery import exact
from recollect.gallery.arena import Arena
from recollect.gallery.native import NativeKernel
from recollect.gallery.scan import Scanner
from synthetic import KINDS, Synthetic, identifiers, numbers

SPACE = (1, "faces")
BLOCK = 16_384
COUNT_MAX = 4096
LIMIT_BYTES_MAX = 1 << 30


@dataclass
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
    """Reading the bytes that are scanned; 0 where nothing of the kind was measured."""
    of_limit: float
    """The median search as a multiple of it."""
    recall: float
    answers: int
    load_per_s: float
    bytes_per_face: float


class Limit:
    """Reads as much memory as a scan does, with as many threads."""

    def __init__(self, kernel, scanned_bytes, threads):
        read_bytes = min(scanned_bytes, LIMIT_BYTES_MAX)
        self._scale = scanned_bytes / read_bytes
        self._parts = [huge(read_bytes // threads) for _ in range(threads)]
        self._read = kernel.stream if isinstance(kernel, NativeKernel) else np.sum

    def take_ms(self):
        """Milliseconds of one read."""
        start = time.perf_counter()
        others = [threading.Thread(target=self._read, args=(part,)) for part in self._parts[1:]]
        for other in others:
            other.start()
        self._read(self._parts[0])
        for other in others:
            other.join()
        return (time.perf_counter() - start) * 1e3 * self._scale


def main():
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--faces", type=int, action="append")
    parser.add_argument("--score-min", type=float, action="append")
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--kernel", action="append", help="auto, native, numkong or numpy")
    parser.add_argument("--probes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--codes-only", action="store_true", help="templates are not in memory")
    parser.add_argument("--peers", action="store_true", help="other engines, on the same vectors")
    parser.add_argument("--only", action="append", default=[], help="a peer, by its name")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()

    describe_machine(args.seed)
    lines = []
    for kind in args.kind or list(KINDS):
        for faces in args.faces or [10_000, 100_000, 1_000_000]:
            for line in measure(Synthetic(kind, faces, args.seed), args):
                show(line, first=not lines)
                lines.append(line)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Line)])
            writer.writeheader()
            writer.writerows(asdict(line) for line in lines)
    if args.plot:
        plot(lines, args.plot)
    if any(line.recall < 1 for line in lines if line.engine.startswith("recollect")):
        sys.exit("recollect gave an answer that exhaustive comparison does not give")


def measure(gallery, args):
    """Yield a line for each engine, number of threads and threshold."""
    thresholds = args.score_min or KINDS[gallery.kind].thresholds
    oracle = Oracle(gallery.probes(args.probes), thresholds)
    for name in args.kernel or ["auto"]:
        arena, load_per_s, bytes_per_face = filled(gallery, name, args.codes_only, oracle)
        for threads in args.threads or [1]:
            arena._scanner = Scanner(arena._kernel, threads)
            scanned_bytes = arena._kernel.bytes_scanned(gallery.dimension) * gallery.faces
            limit = Limit(arena._kernel, scanned_bytes, threads)
            for score_min in thresholds:

                def search(probe, score_min, arena=arena):
                    return arena.search(SPACE, probe, count_max=COUNT_MAX, score_min=score_min)

                yield report(
                    f"recollect {arena.kernel}{', codes only' if args.codes_only else ''}",
                    (gallery, score_min, threads, oracle.answers(score_min)),
                    (
                        *alternate(search, oracle.probes, score_min, limit),
                        load_per_s,
                        bytes_per_face,
                    ),
                )
        arena.close()
    if args.peers:
        yield from measure_peers(gallery, thresholds, oracle, args.only)


def filled(gallery, kernel, codes_only, oracle):
    """Load a gallery into an arena: the arena, faces a second, bytes of memory a face."""
    before = resident_bytes()
    templates = gallery.templates_of if codes_only else None
    arena = Arena(kernel=kernel, templates=templates)
    arena.open(SPACE, gallery.dimension, gallery.centre)
    seconds = 0.0
    for rows in blocks(gallery.faces):
        block, ids = gallery.templates(rows), identifiers(rows)
        oracle.see(rows, block)
        start = time.perf_counter()
        arena.load(SPACE, ids, block)
        seconds += time.perf_counter() - start
    oracle.finish()
    return arena, gallery.faces / seconds, (resident_bytes() - before) / gallery.faces


class Oracle:
    """Exhaustive comparison of all probes with a gallery that comes block by block.

    A float32 product finds what is near the lowest threshold, `exact.scores` decides.
    """

    def __init__(self, probes, thresholds):
        self.probes = probes
        self._least = min(thresholds) - 1e-5
        self._found = [[] for _ in probes]
        self._finished = False

    def see(self, rows, block):
        """Compare a block of templates, unless the whole gallery has been seen."""
        if self._finished:
            return
        near = self.probes @ block.T >= self._least
        for which in np.flatnonzero(near.any(axis=1)):
            here = np.flatnonzero(near[which])
            scores = exact.scores(block[here], self.probes[which])
            self._found[which] += zip(rows[here].tolist(), scores.tolist(), strict=True)

    def finish(self):
        """The gallery ends."""
        self._finished = True
        for answers in self._found:
            answers.sort(key=lambda answer: (-answer[1], answer[0]))

    def answers(self, score_min):
        """For each probe the rows that reach a score, with their scores, best first."""
        return [[a for a in found if a[1] >= score_min][:COUNT_MAX] for found in self._found]


def alternate(search, probes, score_min, limit=None):
    """Search, and read the limit's memory, ten of each in turns: times in ms, and what was found.

    Ten, because a read leaves the caches full of something else.
    """
    for probe in probes[:10]:
        search(probe, score_min)
    times, reads, found = [], [], []
    for first in range(0, len(probes), 10):
        for probe in probes[first : first + 10]:
            start = time.perf_counter()
            answers = search(probe, score_min)
            times.append((time.perf_counter() - start) * 1e3)
            found.append(answers)
        reads += [limit.take_ms() if limit else 0.0 for _ in range(10)]
    return times, reads, found


def report(engine, case, measured):
    """Put a case together.

    Recall is the share of right answers. Ours must also have every score to the bit, the order
    and nothing besides: a search that differs in anything counts as one that found nothing.
    """
    gallery, score_min, threads, truth = case
    times, reads, found, load_per_s, bytes_per_face = measured
    right = 0
    for got, wanted in zip(found, truth, strict=True):
        if engine.startswith("recollect"):
            answers = zip(numbers(c.id for c in got), (c.score for c in got), strict=True)
            right += len(wanted) if list(answers) == wanted else 0
        else:
            right += len({row for row, _ in wanted} & set(got))
    answers_count = sum(map(len, truth))
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    limit = float(np.median(reads))
    return Line(
        engine=engine,
        kind=gallery.kind,
        dimension=gallery.dimension,
        faces=gallery.faces,
        score_min=score_min,
        threads=threads,
        best_ms=float(min(times)),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        faces_per_s=gallery.faces / float(p50) * 1e3,
        limit_ms=limit,
        of_limit=float(p50) / limit if limit else 0.0,
        recall=right / answers_count if answers_count else 1.0,
        answers=answers_count,
        load_per_s=load_per_s,
        bytes_per_face=bytes_per_face,
    )


def measure_peers(gallery, thresholds, oracle, only):
    """Every peer that is installed, on the same vectors, searching with one thread."""
    from peers import PEERS

    vectors = np.concatenate([gallery.templates(rows) for rows in blocks(gallery.faces)])
    for name, build in PEERS.items():
        if only and name not in only:
            continue
        start = time.perf_counter()
        try:
            search = build(vectors)
        except ImportError as error:
            print(f"{name}: not installed ({error.name})")
            continue
        load_per_s = gallery.faces / (time.perf_counter() - start)
        for score_min in thresholds:
            yield report(
                name,
                (gallery, score_min, 1, oracle.answers(score_min)),
                (*alternate(search, oracle.probes, score_min), load_per_s, 0.0),
            )


def describe_machine(seed):
    """Say what the figures are measured on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    print(f"recollect {__version__}, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"{platform.platform()}, {model}, seed {seed}: {' '.join(sys.argv)}")


def show(line, first):
    """Print a line of the table."""
    if first:
        print(
            f"{'engine':34} {'templates':12} {'faces':>9} {'from':>6} {'thr':>3} {'best ms':>9} "
            f"{'p50':>9} {'p90':>9} {'p99':>9} {'Mfaces/s':>8} {'x limit':>7} {'recall':>8} "
            f"{'answers':>8} {'load/s':>9} {'B/face':>6}"
        )
    print(
        f"{line.engine:34} {line.kind:12} {line.faces:9} {line.score_min:6.4g} {line.threads:3} "
        f"{line.best_ms:9.3f} {line.p50_ms:9.3f} {line.p90_ms:9.3f} {line.p99_ms:9.3f} "
        f"{line.faces_per_s / 1e6:8.1f} {line.of_limit:7.2f} {line.recall:8.5f} {line.answers:8} "
        f"{line.load_per_s:9.0f} {line.bytes_per_face:6.0f}",
        flush=True,
    )


def plot(lines, path):
    """Median time over the number of faces, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    curves = defaultdict(list)
    for line in lines:
        name = f"{line.engine}, {line.kind}, from {line.score_min:g}, {line.threads} thr"
        curves[name].append((line.faces, line.p50_ms))
    for name, points in curves.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="faces", ylabel="median search, ms")
    axes.legend(fontsize=6)
    axes.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(path, dpi=150)


def blocks(faces):
    """Row numbers of a gallery, block by block."""
    for first in range(0, faces, BLOCK):
        yield np.arange(first, min(first + BLOCK, faces))


def huge(length_bytes):
    """Words in huge pages, as the arena's are, and written, so that they are really there."""
    from recollect.gallery.columns import mapped

    words = mapped(length_bytes).view(np.uint64)
    words[:] = 1
    return words


def resident_bytes():
    """Memory of this process that is really there."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
