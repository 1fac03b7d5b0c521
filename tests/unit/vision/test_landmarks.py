"""Regression trees in NumPy, against the trees walked one by one."""

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.vision.landmarks import RegressionTrees, TreesError

LEVELS, TREES, SPLITS, FEATURES = 3, 5, 7, 6


def small(seed=0):
    random = np.random.default_rng(seed)
    return {
        "initial": random.uniform(0, 1, (5, 2)).astype(np.float32),
        "pixels": random.integers(0, FEATURES, (LEVELS, TREES, SPLITS, 2)).astype(np.int16),
        "thresholds": random.uniform(-60, 60, (LEVELS, TREES, SPLITS)).astype(np.float32),
        "leaves": random.normal(0, 0.02, (LEVELS, TREES, SPLITS + 1, 10)).astype(np.float32),
        "anchors": random.integers(0, 5, (LEVELS, FEATURES)).astype(np.uint8),
        "deltas": random.normal(0, 0.2, (LEVELS, FEATURES, 2)).astype(np.float32),
    }


def npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def walked(arrays, patch, box):
    """The same by the book: every feature, every tree, every split on its own."""
    left, top, right, bottom = box
    grey = [[int(sum(int(v) for v in pixel)) // 3 for pixel in row] for row in patch]
    initial = arrays["initial"].astype(float)
    shape = initial.copy()
    for level in range(LEVELS):
        s, d = initial - initial.mean(0), shape - shape.mean(0)
        a = (s * d).sum() / (s * s).sum()
        b = (s[:, 0] * d[:, 1] - s[:, 1] * d[:, 0]).sum() / (s * s).sum()
        values = []
        for anchor, (dx, dy) in zip(arrays["anchors"][level], arrays["deltas"][level], strict=True):
            x = a * dx - b * dy + shape[anchor, 0]
            y = b * dx + a * dy + shape[anchor, 1]
            column = math.floor(x * (right - left) + left + 0.5)
            row = math.floor(y * (bottom - top) + top + 0.5)
            inside = 0 <= row < len(grey) and 0 <= column < len(grey[0])
            values.append(grey[row][column] if inside else 0)
        for tree in range(TREES):
            node = 0
            while node < SPLITS:
                first, second = arrays["pixels"][level, tree, node]
                above = values[first] - values[second] > arrays["thresholds"][level, tree, node]
                node = 2 * node + (1 if above else 2)
            shape = shape + arrays["leaves"][level, tree, node - SPLITS].reshape(5, 2)
    return shape * [right - left, bottom - top] + [left, top]


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_all_trees_at_once_find_what_each_finds_alone(seed):
    arrays = small(seed)
    # Smooth, so that a feature on the edge of two pixels cannot tip a tree.
    patch = np.full((40, 50, 3), 90, np.uint8)
    patch[10:30, 10:40] = np.random.default_rng(seed).integers(0, 256, 3)
    box = (5, 4, 45, 36)

    found = RegressionTrees.from_npz(npz(arrays)).points(patch, box)

    expected = walked(arrays, patch, box)
    assert np.abs(found - np.floor(expected + 0.5)).max() <= 1
    assert (found == np.floor(found)).all()


@pytest.mark.parametrize("name", small())
def test_an_array_that_is_missing_is_noticed(name):
    arrays = small()
    del arrays[name]

    with pytest.raises(TreesError):
        RegressionTrees.from_npz(npz(arrays))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pixels", lambda a: a + FEATURES),
        ("pixels", lambda a: a - FEATURES),
        ("anchors", lambda a: a + 5),
        ("thresholds", lambda a: a[:, :, :6]),
        ("leaves", lambda a: a[..., :8]),
        ("leaves", lambda a: a.astype(np.int64)),
        ("deltas", lambda a: a[:2]),
        ("initial", lambda a: a[:4]),
        ("initial", lambda a: a.ravel()),
        ("pixels", lambda a: a.astype(np.float32)),
        ("thresholds", lambda a: np.float32(1)),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(name, change):
    arrays = small()
    arrays[name] = change(arrays[name])

    with pytest.raises(TreesError):
        RegressionTrees.from_npz(npz(arrays))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a zip", npz({"x": np.ones(3)})])
def test_a_file_that_holds_no_trees_is_refused(data):
    with pytest.raises(TreesError):
        RegressionTrees.from_npz(data)


def test_a_pickle_inside_is_refused():
    arrays = small() | {"initial": np.array([[print]], dtype=object)}

    with pytest.raises(TreesError):
        RegressionTrees.from_npz(npz(arrays))


def test_more_than_the_file_may_hold_is_refused(monkeypatch):
    monkeypatch.setattr("recollect.vision.landmarks.ARRAY_BYTES_MAX", 1000)

    with pytest.raises(TreesError, match="1000 bytes"):
        RegressionTrees.from_npz(npz(small()))
