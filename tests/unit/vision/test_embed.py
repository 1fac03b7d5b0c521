"""Chips to raw outputs, and raw outputs to templates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from recollect.vision import embed
from recollect.vision.embed import Embedder, cosine, unit


class MeanNet:
    """A net whose output is the mean of each plane."""

    def __init__(self):
        self.inputs = {"image": ["batch", 3, 4, 4]}
        self.outputs = {"embedding": ["batch", 3]}
        self.batches = []
        self.broken = False

    def run(self, inputs, outputs):
        planes = inputs["image"]
        assert planes.dtype == np.float32
        assert planes.flags.c_contiguous
        assert outputs == ["embedding"]
        self.batches.append(len(planes))
        means = planes.mean(axis=(2, 3))
        return [means * np.nan if self.broken else means]


def embedder(net, colour="RGB"):
    return Embedder(net, colour=colour, mean=(1, 2, 3), std=(1, 2, 4), dimension=3)


def chips(count):
    values = np.arange(count * 3, dtype=np.uint8).reshape(count, 1, 1, 3)
    return np.broadcast_to(values, (count, 4, 4, 3))


@pytest.mark.parametrize("count", [0, 1, 16, 17, 40])
def test_every_chip_keeps_its_row_however_many_there_are(count):
    net = MeanNet()

    found = embedder(net).raw(chips(count))

    expected = (chips(count)[:, 0, 0].astype(float) - [1, 2, 3]) / [1, 2, 4]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert max(net.batches, default=0) <= embed.BATCH_CHIPS


def test_a_net_for_bgr_gets_its_planes_turned_round():
    found = embedder(MeanNet(), "BGR").raw(chips(1) + np.array([10, 20, 30], np.uint8))

    np.testing.assert_allclose(found[0], [(32 - 1) / 1, (21 - 2) / 2, (10 - 3) / 4])


def test_a_number_that_is_not_finite_is_an_error_and_no_template():
    net = MeanNet()
    net.broken = True

    with pytest.raises(ArithmeticError, match="not finite"):
        embedder(net).raw(chips(2))


vectors = nps.arrays(np.float32, 4, elements=st.sampled_from([-2, -0.5, 0, 1, 3]))


@given(vectors, vectors)
def test_unit_vectors_are_of_unit_length_and_their_cosine_is_bounded(a, b):
    if not a.any() or not b.any():
        with pytest.raises(ArithmeticError, match="direction"):
            cosine(a, b)
        return
    assert unit(a).dtype == np.float32
    assert np.linalg.norm(unit(a)) == pytest.approx(1, abs=1e-6)
    assert -1 <= cosine(a, b) <= 1
    assert cosine(a, 5 * a) == pytest.approx(1, abs=1e-6)
