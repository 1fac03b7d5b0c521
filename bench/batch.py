"""Whether calls that share a batch of a net are faster than calls that run it side by side.

    python bench/batch.py --models FOLDER                 # both packs' nets, 2 processors

Two ways to get the same work done with two processors:

* side by side: as many threads as processors, each running the net on its own call's rows with one
  thread of ONNX Runtime; what the server does
* shared: one run for the rows of all waiting calls, with as many ONNX Runtime threads as processors

A call brings two chips to the embedding net (a face and its mirror image) and about thirty and
eight candidates to RNet and ONet. Rows a second, the median of turns taken in alternation; below 1
in the last column sharing loses, and it would also make each call wait for others.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

from recollect.settings import load as load_settings
from recollect.settings import models_folder
from recollect.vision.onnx_model import checked, free_batch
from recollect.vision.session import Session

CALLS = (1, 2, 4, 8)
"""Calls that wait at once."""
NETS = {
    "ResNet": ("default", "resnet.onnx", 2),
    "MobileFaceNet": ("mobilefacenet", "MobileFaceNet.onnx", 2),
    "RNet": ("default", "rnet.onnx", 30),
    "ONet": ("default", "onet.onnx", 8),
}
"""Pack, file, and the rows that one call brings."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, default=models_folder(load_settings({})))
    parser.add_argument("--seconds", type=float, default=1.5, help="of each way and shape")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    processors = os.cpu_count() or 1
    print(
        f"onnxruntime {version('onnxruntime')}, numpy {np.__version__}, Python "
        f"{platform.python_version()}, {processors} processors, seed {asked.seed}"
    )
    for name, (pack, file, rows) in NETS.items():
        path = asked.models / pack / file
        if not path.exists():
            print(f"{name}: the pack {pack} is not installed")
            continue
        model = free_batch(checked(path.read_bytes(), file), file)
        measure(name, model, rows, processors, asked)


def measure(name: str, model: bytes, rows: int, processors: int, asked: argparse.Namespace) -> None:
    """Both ways with one net, for every number of waiting calls."""
    alone, shared = Session(model), on_threads(model, processors)
    ((entry, shape),) = alone.inputs.items()
    names = list(alone.outputs)
    side = [n for n in shape if isinstance(n, int)][1:]
    source = np.random.default_rng(asked.seed)
    one = source.uniform(-1, 1, (rows, 3, *side)).astype(np.float32)

    def side_by_side(pool: ThreadPoolExecutor, calls: int) -> None:
        runs = [pool.submit(alone.run, {entry: one}, names) for _ in range(calls)]
        for run in runs:
            run.result()

    with ThreadPoolExecutor(processors) as pool:
        for calls in CALLS:
            together = {entry: np.concatenate([one] * calls)}
            ways = [partial(side_by_side, pool, calls), partial(shared.run, names, together)]
            side_s, shared_s = in_turns(ways, asked.seconds)
            count = calls * rows
            print(
                f"{name:>13}, {calls} calls of {rows:>2} rows: side by side "
                f"{count / side_s:6.0f}/s ({1000 * side_s:5.1f} ms), shared "
                f"{count / shared_s:6.0f}/s ({1000 * shared_s:5.1f} ms), x{side_s / shared_s:.2f}"
            )


def on_threads(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """The net on several threads, which otherwise is as a server runs it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def in_turns(ways: list, seconds: float) -> list[float]:
    """Median seconds of each way, the ways taking turns."""
    times: list[list[float]] = [[] for _ in ways]
    for way in ways:
        way()
    until = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < until:
        for way, taken in zip(ways, times, strict=True):
            began = time.perf_counter()
            way()
            taken.append(time.perf_counter() - began)
    return [float(np.median(taken)) for taken in times]


main()
