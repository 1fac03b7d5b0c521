"""Every rate against counting, on few and often equal scores."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.measure import metrics
from recollect.measure.metrics import MISSING

SCORES = st.lists(st.sampled_from([MISSING, 0.0, 1.0, 2.0, 3.0, 99.5]), max_size=12)
FOUND = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 99.5]), min_size=1, max_size=12)
RATES = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0])
THRESHOLDS = st.sampled_from([MISSING, -1.0, 0.0, 0.5, 1.0, 3.0, 99.5, 100.0])
TIMES = st.integers(0, 3)


def count_reaching(scores, threshold):
    return sum(1 for score in scores if score != MISSING and score >= threshold)


def thresholds_to_try(scores):
    return sorted({MISSING, *(math.nextafter(score, math.inf) for score in scores)})


@given(SCORES, THRESHOLDS)
def test_a_share_is_a_count(scores, threshold):
    share = metrics.share_reaching(np.array(scores), threshold)
    if not scores:
        assert math.isnan(share)
    else:
        assert share == count_reaching(scores, threshold) / len(scores)


@given(FOUND, RATES)
def test_the_threshold_of_a_rate_is_the_lowest_that_keeps_it(scores, rate):
    (found,) = metrics.thresholds_at(np.array(scores), [rate])
    keeping = [
        threshold
        for threshold in thresholds_to_try(scores)
        if count_reaching(scores, threshold) / len(scores) <= rate
    ]
    assert found == min(keeping)


@given(FOUND, SCORES.filter(len), RATES)
def test_the_errors_of_a_curve_are_counted_at_the_threshold_of_its_rates(nonmated, mated, rate):
    (reached,), (failed,) = metrics.curve(np.array(mated), np.array(nonmated), [rate])
    threshold = min(
        t
        for t in thresholds_to_try(nonmated)
        if count_reaching(nonmated, t) / len(nonmated) <= rate
    )
    assert reached == count_reaching(nonmated, threshold) / len(nonmated) <= rate
    assert failed == 1 - count_reaching(mated, threshold) / len(mated)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0]), TIMES), max_size=8), RATES, THRESHOLDS)
def test_a_weight_counts_a_score_that_often(weighted, rate, threshold):
    scores = np.array([score for score, _ in weighted])
    weights = np.array([float(times) for _, times in weighted])
    repeated = np.array([score for score, times in weighted for _ in range(times)])

    share = metrics.share_reaching(scores, threshold, weights)
    (cut,) = metrics.thresholds_at(scores, [rate], weights)

    expected = metrics.share_reaching(repeated, threshold)
    assert share == pytest.approx(expected, nan_ok=True)
    accepted = metrics.share_reaching(repeated, cut)
    (of_repeated,) = metrics.thresholds_at(repeated, [rate])
    if len(repeated):
        assert accepted == metrics.share_reaching(repeated, of_repeated)
    else:
        assert math.isnan(cut)
        assert math.isnan(of_repeated)


def test_a_missing_face_is_accepted_by_no_threshold():
    scores = np.array([MISSING, 5.0])
    assert metrics.share_reaching(scores, MISSING) == 0.5
    assert metrics.share_reaching(scores, -1e308) == 0.5
    assert metrics.error_against_discard(scores, np.zeros(2), MISSING, [0.0]) == [0.5]


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, np.inf]), min_size=1, max_size=9))
def test_a_match_characteristic_counts_the_mates_within_each_rank(ranks):
    shares = metrics.match_characteristic(np.array(ranks), 3)
    assert shares == [sum(r <= k for r in ranks) / len(ranks) for k in (1, 2, 3)]


def test_a_mate_beyond_the_rank_is_missed_however_high_its_score():
    scores = metrics.within_rank(np.array([99.0, 50.0]), np.array([2.0, 1.0]), 1)
    assert scores.tolist() == [MISSING, 50.0]


@given(
    st.lists(
        st.tuples(st.sampled_from([MISSING, 1.0, 2.0, 3.0]), st.integers(0, 99)),
        min_size=1,
        max_size=9,
        unique_by=lambda pair: pair[1],
    ),
    st.sampled_from([0.0, 0.2, 0.5, 0.9]),
)
def test_discarding_drops_the_worst_share_first(trials, share):
    mated = np.array([score for score, _ in trials])
    quality = np.array([float(value) for _, value in trials])
    kept = sorted(trials, key=lambda trial: trial[1])[int(share * len(trials)) :]
    failed = [score for score, _ in kept if score < 2.0]
    (error,) = metrics.error_against_discard(mated, quality, 2.0, [share])
    assert error == len(failed) / len(kept)


def test_a_rate_is_carried_by_five_expected_errors():
    assert metrics.carries(5000, 1e-3)
    assert not metrics.carries(4999, 1e-3)
    assert metrics.carries(188, 0.05)
    assert not metrics.carries(188, 0.01)
