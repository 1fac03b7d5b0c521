"""Scales read off pairs: on scores whose true rates are known."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

import toys
from drawn_packs import draw_pack
from drawn_people import draw
from recollect.cli import models
from recollect.measure import calibration
from recollect.measure.calibration import TooLittleData
from recollect.measure.data import Picture
from recollect.vision.similarity import SimilarityScale, rate_at
from toys import ToyPack

DIMENSION = 32


def crowd(people, shots, noise, seed=1):
    """Unit vectors of people who differ at random, each with several noisy shots."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.standard_normal((people, DIMENSION)), shots, axis=0)
    rows = centres + noise * rng.standard_normal(centres.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat(np.arange(people), shots)


def test_every_pair_is_counted_once_and_knows_whether_it_is_one_person():
    templates, people = crowd(5, 3, 0.1)

    seen = calibration.pairs(templates, people)

    assert (len(seen.same), len(seen.strangers)) == (5 * 3, 15 * 14 // 2 - 15)
    assert seen.same.min() > seen.strangers.max()
    assert (np.diff(seen.strangers) <= 0).all()


def test_a_rate_that_the_data_carries_is_read_off_it():
    strangers = np.arange(100_000, 0, -1) / 100_000

    assert calibration.score_at(strangers, 0.1) == pytest.approx(0.9, abs=1e-4)
    assert (strangers >= calibration.score_at(strangers, 1e-3)).mean() == pytest.approx(1e-3)


def test_beyond_the_data_the_score_goes_on_along_the_logarithm_of_the_rate():
    # Scores that rise by .1 with each decade of the rate, exactly.
    rates = np.arange(1, 100_001) / 100_000
    strangers = 0.3 - 0.1 * np.log10(rates)

    for rate in (1e-3, 1e-5, 1e-6):
        assert calibration.score_at(strangers, rate) == pytest.approx(
            0.3 - 0.1 * math.log10(rate), abs=1e-3
        )


@pytest.mark.parametrize(("noise", "stands_for"), [(0.2, 1e-5), (0.8, 1e-4)])
def test_80_is_stricter_for_a_pack_that_can_afford_it(noise, stands_for):
    scale = calibration.fitted(calibration.pairs(*crowd(150, 4, noise)))

    assert dict(scale.rates)[80.0] == stands_for
    through = SimilarityScale.through(scale.anchors)
    assert through.similarity(through.scores[-2]) < 100


def test_on_people_it_was_not_read_off_a_scale_says_the_truth():
    templates, people = crowd(300, 2, 0.8)

    found = calibration.held_out(templates, people, splits=5, seed=3)

    at = {w.similarity: w for w in found}
    assert 0.5 < at[80.0].factor < 2
    assert at[80.0].nominal == pytest.approx(1e-4)
    assert at[99.0].factor < 4


def test_the_interval_holds_the_rate_it_is_of():
    templates, people = crowd(200, 2, 0.5)
    seen = calibration.pairs(templates, people)
    score = calibration.score_at(seen.strangers, 1e-2)

    low, high = calibration.interval(templates, people, score, resamples=100, seed=4)

    assert low < 1e-2 < high
    assert high < 2e-2


def test_too_little_data_is_said_and_not_guessed():
    with pytest.raises(TooLittleData, match="at least two people"):
        calibration.pairs(*crowd(1, 3, 0.1))
    with pytest.raises(TooLittleData, match="pairs of strangers"):
        calibration.fitted(calibration.pairs(*crowd(10, 2, 0.1)))
    alike = np.ones((60, 2), np.float32) / math.sqrt(2)
    with pytest.raises(TooLittleData, match="no scale"):
        calibration.fitted(calibration.pairs(alike, np.arange(60)))


def test_between_two_measured_rates_the_logarithm_decides():
    rates = ((50, 1e-2), (80, 1e-4), (99, 1e-6))

    assert rate_at(rates, 65) == pytest.approx(1e-3)
    assert rate_at(rates, 80) == pytest.approx(1e-4)
    assert (rate_at(rates, 10), rate_at(rates, 100)) == pytest.approx((1e-2, 1e-6))


def test_the_command_prints_a_scale_that_a_manifest_takes(tmp_path, monkeypatch):
    templates, people = crowd(150, 3, 0.3)
    monkeypatch.setenv("RECOLLECT_MODELS", str(tmp_path / "models"))
    draw_pack(tmp_path / "models", "own", dimension=DIMENSION)
    draw(tmp_path / "data")

    def looked_at(pack, pictures):
        return templates, [type("P", (), {"identity": str(number)})() for number in people]

    monkeypatch.setattr(models, "_templates", looked_at)
    command = ["calibrate", "own", str(tmp_path / "data"), "--splits", "2", "--resamples", "20"]

    printed = CliRunner().invoke(models.app, [*command, "--json"])

    facts = json.loads(printed.stdout.splitlines()[-1])
    assert (facts["people"], facts["strangers"]) == (150, 450 * 449 // 2 - 450)
    scale = SimilarityScale.through([tuple(pair) for pair in facts["anchors"]])
    assert scale.similarity(1) == 100
    assert [w["similarity"] for w in facts["held_out"]] == [80, 90, 99]
    assert "[similarity]" in CliRunner().invoke(models.app, command).stdout
    refused = CliRunner().invoke(models.app, [*command, "--set", "absent"])
    assert "absent" in str(refused.exception)


def test_a_face_beside_the_middle_is_not_taken_for_the_person_of_the_label(tmp_path):
    pictures = []
    for side in (40, 250):  # In a corner, and over the middle.
        path = tmp_path / f"{side}.png"
        path.write_bytes(toys.picture(7, side=side, size=(400, 300)))
        pictures.append(Picture(path, path.name, "somebody"))

    templates, kept = models._templates(ToyPack(), pictures)

    assert (len(templates), kept) == (1, pictures[1:])
