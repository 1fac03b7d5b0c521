"""The weighted mean of a user's templates."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from enrolments import template
from recollect.gallery.aggregate import aggregate

AXES = [sign * axis for axis in np.eye(3, dtype=np.float32) for sign in (1, -1)]
members = st.lists(
    st.tuples(st.sampled_from(AXES), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=6
)


@settings(deadline=None)
@given(members)
def test_it_has_unit_length_and_points_where_the_weighted_sum_does(members):
    templates = np.stack([row for row, _ in members])
    mean = aggregate(templates, [weight for _, weight in members])

    total = sum(weight * row.astype(np.float64) for row, weight in members)
    assert mean.dtype == np.float32
    assert abs(np.linalg.norm(mean) - 1) < 1e-6
    if np.linalg.norm(total) > 1e-6:
        assert np.allclose(mean, total / np.linalg.norm(total), atol=1e-6)
    else:
        assert np.array_equal(mean, templates[0])


def test_one_face_speaks_for_itself():
    assert np.allclose(aggregate(template(1)[np.newaxis], [0.01]), template(1), atol=1e-7)
