"""MTCNN's weight files: read as joblib reads them, converted layer by layer."""

import importlib.util
import io
from pathlib import Path

import joblib
import lz4.frame
import numpy as np
import pytest

from recollect.vision.packs import mtcnn
from recollect.vision.packs.mtcnn import WeightsError
from recollect.vision.session import Session

WEIGHTS = Path(importlib.util.find_spec("mtcnn").origin).parent / "assets" / "weights"
NETS = {"pnet": mtcnn.pnet_onnx, "rnet": mtcnn.rnet_onnx, "onet": mtcnn.onet_onnx}


def packed(name):
    return (WEIGHTS / f"{name}.lz4").read_bytes()


@pytest.mark.parametrize("name", NETS)
def test_the_weights_are_those_that_joblib_reads(name):
    theirs = joblib.load(io.BytesIO(lz4.frame.decompress(packed(name))))

    ours = mtcnn.weights(packed(name))

    assert len(ours) == len(theirs)
    for mine, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, expected)


def relu(x, slope):
    return np.where(x > 0, x, x * slope)


def conv(x, kernel, bias):
    """A convolution as its definition says, rows, columns, channels."""
    size = kernel.shape[0]
    rows, columns = x.shape[0] - size + 1, x.shape[1] - size + 1
    out = np.empty((rows, columns, kernel.shape[3]))
    for row in range(rows):
        for column in range(columns):
            part = x[row : row + size, column : column + size]
            out[row, column] = np.tensordot(part, kernel, 3) + bias
    return out


def pool(x, size):
    """Max-pool with stride 2 that keeps what hangs over."""
    rows, columns = (max(0, -(-(side - size) // 2)) + 1 for side in x.shape[:2])
    windows = [
        [x[2 * r : 2 * r + size, 2 * c : 2 * c + size].max(axis=(0, 1)) for c in range(columns)]
        for r in range(rows)
    ]
    return np.array(windows)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def test_the_proposal_net_is_what_the_paper_draws():
    image = np.random.default_rng(2).integers(0, 256, (17, 15, 3)).astype(np.float32)
    w = mtcnn.weights(packed("pnet"))
    x = pool(relu(conv((image - 127.5) / 128, w[0], w[1]), w[2]), 2)
    x = relu(conv(x, w[3], w[4]), w[5])
    x = relu(conv(x, w[6], w[7]), w[8])
    box, face = conv(x, w[9], w[10]), softmax(conv(x, w[11], w[12]))

    session = Session(mtcnn.pnet_onnx(w))
    found = session.run({"image": image.transpose(2, 0, 1)[None]}, ["box", "face"])

    np.testing.assert_allclose(found[0][0], box.transpose(2, 0, 1), atol=1e-4)
    np.testing.assert_allclose(found[1][0], face.transpose(2, 0, 1), atol=1e-4)


def test_the_output_net_is_what_the_paper_draws():
    image = np.random.default_rng(3).integers(0, 256, (48, 48, 3)).astype(np.float32)
    w = mtcnn.weights(packed("onet"))
    x = (image - 127.5) / 128
    for layer, size in ((0, 3), (3, 3), (6, 2)):
        x = pool_valid(relu(conv(x, w[layer], w[layer + 1]), w[layer + 2]), size, layer == 3)
    x = relu(conv(x, w[9], w[10]), w[11])
    x = relu(x.transpose(1, 0, 2).ravel() @ w[12] + w[13], w[14])
    expected = {
        "box": x @ w[15] + w[16],
        "points": x @ w[17] + w[18],
        "face": softmax(x @ w[19] + w[20]),
    }

    session = Session(mtcnn.onet_onnx(w))
    found = session.run({"image": image.transpose(2, 0, 1)[None]}, list(expected))

    for mine, theirs in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(mine[0], theirs, atol=1e-4)


def pool_valid(x, size, valid):
    """A pool that drops what hangs over where it is valid."""
    if valid:
        rows, columns = ((side - size) // 2 * 2 + size for side in x.shape[:2])
        x = x[:rows, :columns]
    return pool(x, size)


@pytest.mark.parametrize("name", NETS)
def test_weights_of_another_net_are_refused(name):
    other = {"pnet": "rnet", "rnet": "onet", "onet": "pnet"}[name]

    with pytest.raises(WeightsError):
        NETS[name](mtcnn.weights(packed(other)))
    with pytest.raises(WeightsError):
        NETS[name](mtcnn.weights(packed(name))[:-1])
    with pytest.raises(WeightsError, match="behind"):
        NETS[name]([*mtcnn.weights(packed(name)), np.ones(1, np.float32)])


def test_a_frame_that_is_cut_padded_or_too_large_is_refused(monkeypatch):
    whole = packed("pnet")
    for damaged in (b"", whole[:-1], whole + b"\0", b"no frame at all", whole[:100]):
        with pytest.raises(WeightsError):
            mtcnn.weights(damaged)
    monkeypatch.setattr(mtcnn, "INFLATED_BYTES_MAX", 1000)
    with pytest.raises(WeightsError, match="above 1000 bytes"):
        mtcnn.weights(whole)
