"""Score to similarity and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision.similarity import SimilarityScale

ANCHORS = [(0.70, 0), (0.8393, 10), (0.9101, 50), (0.9426, 80), (0.9626, 99), (1, 100)]
SCALE = SimilarityScale.through(ANCHORS)
scores = st.floats(-1, 1)
similarities = st.floats(0, 100)


@pytest.mark.parametrize(("score", "similarity"), ANCHORS)
def test_the_anchors_lie_on_the_scale(score, similarity):
    assert SCALE.similarity(score) == similarity


@given(scores, scores)
def test_the_scale_never_falls(a, b):
    low, high = sorted((a, b))

    assert 0 <= SCALE.similarity(low) <= SCALE.similarity(high) <= 100


@given(similarities)
def test_the_inverse_is_the_inverse(similarity):
    if similarity > 0:
        assert SCALE.similarity(SCALE.score(similarity)) == pytest.approx(similarity, abs=1e-9)


@given(scores, similarities)
def test_a_score_passes_exactly_when_its_similarity_does(score, threshold):
    passes = score >= SCALE.score(threshold)

    assert passes == (SCALE.similarity(score) >= threshold)


@given(similarities)
def test_the_score_of_a_threshold_itself_passes(threshold):
    at = SCALE.score(threshold)

    assert SCALE.similarity(at) >= threshold or at == -1
    if threshold > 0:
        assert SCALE.similarity(np.nextafter(at, -2)) <= threshold


def test_a_threshold_of_nothing_accepts_everything():
    assert SCALE.score(0) == -1
    assert SCALE.score(100) == 1


@pytest.mark.parametrize(
    "anchors",
    [
        [],
        [(1, 100)],
        [(0.5, 0), (0.4, 50), (1, 100)],
        [(0.5, 0), (0.6, 50), (0.7, 50), (1, 100)],
        [(0.5, 1), (1, 100)],
        [(0.5, 0), (0.9, 100)],
        [(0.5, 0), (1, 99)],
        [(-1, 0), (1, 100)],
    ],
)
def test_a_scale_that_does_not_rise_from_0_to_100_is_refused(anchors):
    with pytest.raises(ValueError, match="similarity anchors"):
        SimilarityScale.through(anchors)
