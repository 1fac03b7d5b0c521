import functools
import uuid

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import kernels
from recollect.gallery import exact
from recollect.gallery.arena import Arena
from recollect.gallery.codes import DEVIATIONS
from recollect.gallery.ids import packed_all
from recollect.gallery.native import NativeKernel

SPACE = (7, "faces")


@functools.cache
def ids(count, first=0):
    return [str(uuid.UUID(int=(number * 7919) % 100_003)) for number in range(first, first + count)]


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@functools.cache
def people(count, dimension, seed, common=0.0):
    """Templates of people with a few samples each, and what all of them have in common."""
    random = np.random.default_rng(seed)
    decay = np.linspace(1.5, 0.5, dimension)
    persons = random.standard_normal((count // 4 + 1, dimension)) * decay
    samples = persons[random.integers(0, len(persons), count)]
    samples = samples + 0.6 * random.standard_normal((count, dimension))
    return unit(unit(samples) + common * unit(np.ones(dimension)))


@pytest.fixture(params=kernels.NAMES)
def kernel(request):
    return kernels.kernel_named(request.param)


def both(face_ids, templates, probe, kernel="auto", centre=None, threads=1, **options):
    """Answers of the arena and of the oracle to the same question."""
    arena = Arena(kernel=kernel, threads=threads)
    arena.open(SPACE, templates.shape[1], centre)
    arena.load([(SPACE, packed_all(face_ids), templates)])
    found = arena.search(SPACE, probe, **options)
    arena.close()
    return found, exact.search(face_ids, templates, probe, **options)


# Plus and minus the axes: unit length and exact in float32, and few enough that ties are common.
AXES = [sign * axis for axis in np.eye(3, dtype=np.float32) for sign in (1, -1)]
vectors = st.sampled_from(AXES)


@settings(max_examples=50)
@given(
    st.lists(vectors, max_size=80),
    vectors,
    st.integers(1, 50),
    st.floats(-1, 1, width=32),
    st.sampled_from([None, *ids(3)]),
)
def test_ties_go_by_id(enrolled, probe, count_max, score_min, exclude):
    templates = np.array(enrolled, np.float32).reshape(-1, 3)

    found, expected = both(
        ids(len(enrolled)),
        templates,
        probe,
        count_max=count_max,
        score_min=score_min,
        exclude=exclude,
    )

    assert found == expected


@pytest.mark.parametrize(
    "dimension", [1, 3, 15, 16, 63, 64, 65, 128, 200, 256, 300, 512, 1024, 1100]
)
@pytest.mark.parametrize("common", [0.0, 2.2])
def test_every_score_is_the_oracles_to_the_bit(kernel, dimension, common):
    templates = people(700, dimension, seed=dimension, common=common)
    probe = people(4, dimension, seed=1, common=common)[0]
    arena = Arena(kernel=kernel)
    arena.open(SPACE, dimension, templates[:350].mean(axis=0) if common else None)
    arena.load([(SPACE, packed_all(ids(700)), templates)])

    for count_max, score_min in [(4096, -1.0), (5, -1.0), (4096, 0.3), (4096, 0.9), (100, 0.0)]:
        question = {"count_max": count_max, "score_min": score_min}
        assert arena.search(SPACE, probe, **question) == exact.search(
            ids(700), templates, probe, **question
        )


@pytest.mark.parametrize("dimension", [32, 256])
def test_the_best_are_found_however_the_rows_are_ordered(kernel, dimension):
    templates = people(10_000, dimension, seed=5)
    probe = people(1, dimension, seed=6)[0]
    order = np.argsort(exact.scores(templates, probe))
    expected = exact.search(ids(10_000), templates, probe, count_max=4096, score_min=-1.0)
    for rows in (order, order[::-1]):
        arena = Arena(kernel=kernel)
        arena.open(SPACE, dimension, None)
        arena.load([(SPACE, packed_all(ids(10_000))[rows], templates[rows])])
        for count_max in (1, 10, 4096):
            found = arena.search(SPACE, probe, count_max=count_max, score_min=-1.0)
            assert found == expected[:count_max]


@pytest.mark.parametrize("dimension", [24, 256])
def test_spaces_that_are_loaded_together_answer_each_for_itself(kernel, dimension):
    templates = people(9000, dimension, seed=4)
    arena, truth, first, references = Arena(kernel=kernel), {}, 0, []
    for number, count in enumerate([1, 50, 64, 65, 511, 513, 1, 700, *[130] * 50]):
        space = number, "faces" if number % 3 else "users"
        centre = templates[0] if number % 5 else None
        arena.open(space, dimension, centre, keeps_templates=space[1] == "users")
        # A space comes in two pieces, the second long after the first.
        for rows in (slice(first, first + count // 2), slice(first + count // 2, first + count)):
            if rows.stop > rows.start:
                references.append((space, packed_all(ids(9000)[rows]), templates[rows]))
        truth[space] = ids(9000)[first : first + count], templates[first : first + count]
        first += count

    arena.load(iter(references[::2] + references[1::2]))

    where = dict(zip(ids(9000), templates, strict=True))
    for space, (face_ids, rows) in truth.items():
        probe, question = rows[len(rows) // 2], {"count_max": 4096, "score_min": 0.3}
        found = arena.search(
            space, probe, outside=lambda some: np.stack([where[i] for i in some]), **question
        )
        assert found == exact.search(face_ids, rows, probe, **question)


def test_several_threads_find_what_one_finds():
    templates = people(80_000, 128, seed=3)
    probe = templates[77]
    for count_max, score_min in [(4096, 0.3), (7, -1.0)]:
        found, expected = both(
            ids(80_000),
            templates,
            probe,
            threads=3,
            count_max=count_max,
            score_min=score_min,
        )
        assert found == expected


@pytest.mark.parametrize("dimension", [64, 256])
def test_a_score_that_equals_the_threshold_is_found(kernel, dimension):
    templates = people(2000, dimension, seed=9)
    probe = templates[3]
    arena = Arena(kernel=kernel)
    arena.open(SPACE, dimension, None)
    arena.load([(SPACE, packed_all(ids(2000)), templates)])
    scores = dict(zip(ids(2000), exact.scores(templates, probe).tolist(), strict=True))

    for score in sorted(scores.values())[::-80]:
        for score_min in (score, float(np.nextafter(np.float32(score), np.float32(2)))):
            found = arena.search(SPACE, probe, count_max=4096, score_min=score_min)
            assert {c.id for c in found} == {i for i, s in scores.items() if s >= score_min}


class Stubborn(NativeKernel):
    """Asks the first stage about every row, whether it pays or not."""

    deviations = DEVIATIONS

    def query(self, probe, centre):
        query = super().query(probe, centre)
        query.compiled.crowd = 2
        query.compiled.deviations = self.deviations
        return query


def missed(dimension, score, *, probes_count, rows_count, deviations=DEVIATIONS):
    """Count pairs exactly at the threshold that a search does not return."""
    kernel = Stubborn(0, kernels.library())
    kernel.deviations = deviations
    count = 0
    for seed in range(probes_count):
        random = np.random.default_rng(seed)
        probe = unit(random.standard_normal(dimension))
        across = random.standard_normal((rows_count, dimension))
        across -= (across @ probe)[:, None] * probe
        rows = unit(score * probe + np.sqrt(1 - score**2) * unit(across).astype(np.float64))
        score_min = float(exact.scores(rows, probe).min())
        arena = Arena(kernel=kernel)
        arena.open(SPACE, dimension, None)
        arena.load([(SPACE, packed_all(ids(rows_count)), rows)])
        found = arena.search(SPACE, probe, count_max=rows_count, score_min=score_min)
        count += rows_count - len(found)
        arena.close()
    return count


@pytest.mark.parametrize(("dimension", "score"), [(128, 0.6), (512, 0.4), (300, 0.3)])
def test_pairs_at_the_threshold_are_found(dimension, score):
    assert missed(dimension, score, probes_count=3, rows_count=5000) == 0


def test_the_first_stage_would_miss_some_with_less_benefit_of_the_doubt():
    share = missed(512, 0.4, probes_count=2, rows_count=5000, deviations=2.0) / 10_000

    # A normal distribution has 2.3 % beyond two deviations.
    assert 0.01 < share < 0.03


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("dimension", "score"), [(128, 0.6), (512, 0.4), (512, 0.3)])
def test_a_million_pairs_at_the_threshold_are_found(dimension, score, figure):
    count = missed(dimension, score, probes_count=50, rows_count=20_000)

    figure(
        f"pairs exactly at the threshold {score}, {dimension} dimensions",
        1_000_000,
        f"{count} not found",
    )
    assert count == 0


class ArenaIsADict(RuleBasedStateMachine):
    """Any order of changes leaves what a dict of the same changes holds."""

    @initialize(
        name=st.sampled_from(["numpy", "native-0"]),
        seed=st.integers(0, 3),
        loaded=st.integers(0, 130),
    )
    def load(self, name, seed, loaded):
        self.pool = people(256, 8, seed)
        self.sequence = 0
        self.truth = dict(zip(ids(loaded), self.pool, strict=False))
        self.arena = Arena(kernel=kernels.kernel_named(name))
        self.arena.open(SPACE, 8, self.pool.mean(axis=0))
        if loaded:
            templates = np.stack(list(self.truth.values()))
            self.arena.load([(SPACE, packed_all(list(self.truth)), templates)])

    @rule(
        added=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=90),
        removed=st.lists(st.integers(0, 200), max_size=90),
    )
    def publish(self, added, removed):
        additions = [(ids(1, number)[0], self.pool[row]) for number, row in added]
        removals = [ids(1, number)[0] for number in removed]
        self.sequence += 1
        self.arena.publish(SPACE, self.sequence, additions, removals)
        for face_id in removals:
            self.truth.pop(face_id, None)
        self.truth.update(additions)

    @invariant()
    def answers_are_the_dicts(self):
        if not hasattr(self, "truth"):
            return
        templates = np.array(list(self.truth.values()), np.float32).reshape(-1, 8)
        for score_min in (-1.0, 0.8):
            question = {"count_max": 4096, "score_min": score_min}
            assert self.arena.search(SPACE, self.pool[0], **question) == exact.search(
                list(self.truth), templates, self.pool[0], **question
            )


ArenaIsADict.TestCase.settings = settings(max_examples=25, stateful_step_count=15)
TestArenaIsADict = ArenaIsADict.TestCase
