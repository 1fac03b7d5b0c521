"""What a threshold means: against the table read with NumPy."""

import numpy as np
import pytest

ANCHORS = [(10, 0.5), (25, 0.1), (50, 1e-2), (67, 1e-3), (80, 1e-4), (92, 1e-5), (99, 1e-6)]
TABLE = [{"similarity": similarity, "fmr": fmr} for similarity, fmr in ANCHORS]
SCRIPT = """async ([anchors, similarities, rates]) => {
    const { Calibration } = await import("./calibration.js");
    const calibration = new Calibration(anchors);
    return [
        similarities.map((similarity) => calibration.at(similarity)),
        rates.map((rate) => calibration.similarity(rate)),
    ];
}"""
MEANING = """async ([about, version, threshold, count]) => {
    const { Calibration, meaning } = await import("./calibration.js");
    return meaning(Calibration.of(about, version), threshold, count, "faces");
}"""


def test_between_anchors_the_rate_is_read_by_its_logarithm(page, stub):
    page.goto(stub.url)
    similarities = [x / 4 for x in range(401)]

    found, _ = page.evaluate(SCRIPT, [TABLE[::-1], similarities, []])

    known, rates = np.array(ANCHORS).T
    expected = np.exp(np.interp(similarities, known, np.log(rates)))
    assert [point["fmr"] for point in found] == pytest.approx(expected)
    for similarity, point in zip(similarities, found, strict=True):
        side = "more than" if similarity < 10 else "less than" if similarity > 99 else "about"
        assert point["bound"] == side


def test_a_suggested_threshold_is_the_lowest_that_keeps_the_rate(page, stub):
    page.goto(stub.url)
    rates = [0.9, 0.5, 0.03, 1e-2, 1e-4, 3e-6, 1e-6, 1e-9]

    _, found = page.evaluate(SCRIPT, [TABLE, [], rates])

    known, logs = np.array(ANCHORS).T[0], np.log(np.array(ANCHORS).T[1])
    tenths = np.arange(100, 991) / 10
    reached = np.exp(np.interp(tenths, known, logs))
    for rate, threshold in zip(rates, found, strict=True):
        good = tenths[reached <= rate * (1 + 1e-9)]
        assert threshold == (good[0] if len(good) else None)


def test_the_meaning_says_the_rate_and_the_false_matches_of_the_gallery(page, stub):
    page.goto(stub.url)

    said = page.evaluate(MEANING, [stub.about, "4.0", 80, 20_000])

    assert "About 1 in 10,000 comparisons of two different people reach 80." in said["text"]
    assert "Over 20,000 faces that is about 2 false matches" in said["text"]
    assert said["level"] == "poor"
    assert said["suggestion"] is None
    assert "No threshold that was measured is strict enough" in said["text"]
    fewer = page.evaluate(MEANING, [stub.about, "4.0", 80, 2_000])
    assert (fewer["level"], fewer["suggestion"]) == ("fair", 94.2)
    strict = page.evaluate(MEANING, [stub.about, "4.0", 99, 10])
    assert (strict["level"], strict["suggestion"]) == ("good", None)
    empty = page.evaluate(MEANING, [stub.about, "4.0", 80, 0])
    assert empty["text"] == "About 1 in 10,000 comparisons of two different people reach 80."


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"packs": {}},
        {"packs": {"4.0": {"name": "x"}}},
        {"packs": {"4.0": {"anchors": "none"}}},
        {"packs": {"4.0": {"anchors": [{"similarity": 80, "fmr": 0}]}}},
    ],
)
def test_without_a_table_the_meaning_says_that_it_does_not_know(page, stub, about):
    page.goto(stub.url)

    said = page.evaluate(MEANING, [about, "4.0", 80, 100])

    assert said["level"] == "unknown"
    assert "no error rates" in said["text"]
