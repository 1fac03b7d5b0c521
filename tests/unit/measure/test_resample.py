import math

import numpy as np
import pytest

from recollect.measure.resample import intervals


def test_the_same_seed_draws_the_same_people():
    def run(seed):
        return intervals(20, lambda drawn: [float(drawn[:5].sum())], resamples=50, seed=seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_each_draw_has_as_many_people_as_the_data():
    totals = []
    intervals(9, lambda drawn: totals.append(drawn.sum()) or [0.0], resamples=20, seed=3)
    assert totals == [9.0] * 20


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    # 400 people, each one trial that fails by a coin: the standard error is 0.025.
    failed = np.random.default_rng(5).integers(0, 2, 400)
    ((low, high),) = intervals(
        400, lambda drawn: [float(drawn @ failed / drawn.sum())], resamples=2000, seed=5
    )
    assert low == pytest.approx(failed.mean() - 1.96 * 0.025, abs=0.006)
    assert high == pytest.approx(failed.mean() + 1.96 * 0.025, abs=0.006)


def test_pictures_of_one_person_do_not_narrow_the_interval():
    # Two people with a hundred pictures each: one fails always, one never.
    person = np.repeat([0, 1], 100)
    failed = person == 0
    ((low, high),) = intervals(
        2, lambda drawn: [float(drawn[person] @ failed / 200)], resamples=200, seed=1
    )
    assert (low, high) == (0.0, 1.0)


def test_a_statistic_that_is_never_defined_has_no_interval():
    ((low, high),) = intervals(3, lambda drawn: [math.nan], resamples=5, seed=1)
    assert math.isnan(low)
    assert math.isnan(high)
