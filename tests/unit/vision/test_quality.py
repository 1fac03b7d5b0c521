"""Brightness, sharpness, pose and the decision of the quality filter."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recollect.vision import quality
from recollect.vision.face import Face, Pose
from recollect.vision.quality import Bar

BAR = Bar(
    confidence_min=90,
    size_px_min=20,
    brightness_min=10,
    brightness_max=90,
    sharpness_min=12,
    yaw_max=50,
    pitch_max=45,
    views_score_min=0.95,
)
GOOD = Face(
    box=(0.1, 0.1, 0.5, 0.5),
    confidence=99.0,
    landmarks={},
    pose=Pose(80.0, 5.0, -5.0),
    brightness=50.0,
    sharpness=60.0,
    size_px=100.0,
    points=np.zeros((5, 2)),
)


def noise(spread):
    random = np.random.default_rng(5)
    return random.normal(128, spread, (150, 150, 3)).clip(0, 255).astype(np.uint8)


def test_brightness_goes_from_black_to_white():
    for value in (0, 51, 255):
        chip = np.full((150, 150, 3), value, np.uint8)
        assert quality.brightness(chip) == pytest.approx(value / 2.55)


def test_blur_takes_sharpness_away():
    chip = noise(40)
    blurred = [cv2.GaussianBlur(chip, (0, 0), sigma) for sigma in (1, 2, 4, 8)]

    found = [quality.sharpness(each) for each in (chip, *blurred)]

    assert found == sorted(found, reverse=True)
    assert found[0] > 90
    assert found[-1] < 10


def test_sharpness_keeps_its_bounds():
    assert quality.sharpness(np.full((150, 150, 3), 7, np.uint8)) == 0
    assert quality.sharpness(noise(200)) == 100


def face_points(yaw, pitch, roll):
    """Project the mean face, turned in space, onto a picture."""
    model = np.array([
        [-0.5, 0, 0],
        [0.5, 0, 0],
        [0, quality.NOSE_Y, quality.NOSE_Z],
        [-0.4, quality.MOUTH_Y, 0],
        [0.4, quality.MOUTH_Y, 0],
    ])  # fmt: skip
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    around_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    around_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    around_z = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    turned = model @ np.array(around_y).T @ np.array(around_x).T
    return turned[:, :2] @ np.array(around_z).T * 80 + 200


@given(st.floats(-60, 60), st.floats(-170, 170))
def test_a_face_turned_aside_is_measured_as_turned(yaw, roll):
    pose = quality.pose(face_points(yaw, 0, roll))

    assert pose.yaw == pytest.approx(yaw, abs=0.01)
    assert pose.roll == pytest.approx(roll, abs=0.01)
    assert pose.pitch == pytest.approx(0, abs=0.01)


@given(st.floats(-45, 45), st.floats(-170, 170))
def test_a_face_turned_up_is_measured_as_turned(pitch, roll):
    pose = quality.pose(face_points(0, pitch, roll))

    assert pose.pitch == pytest.approx(pitch, abs=0.01)
    assert pose.yaw == pytest.approx(0, abs=0.01)


@given(st.lists(st.sampled_from([0.0, 1.0, 50.0]), min_size=10, max_size=10))
def test_any_points_have_a_pose(values):
    pose = quality.pose(np.array(values).reshape(5, 2))

    assert all(-180 <= angle <= 180 for angle in (pose.roll, pose.yaw, pose.pitch))


@pytest.mark.models
@pytest.mark.parametrize("angle", [-20, 10, 30])
def test_a_photograph_turned_by_a_known_angle_rolls_by_it(pack, hopper, angle):
    height, width = hopper.shape[:2]
    # OpenCV turns counter-clockwise, roll counts clockwise.
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1)
    turned = cv2.warpAffine(hopper, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)

    plain, found = (pack.faces(pixels)[0].pose for pixels in (hopper, turned))

    assert found.roll - plain.roll == pytest.approx(angle, abs=3)
    assert found.yaw == pytest.approx(plain.yaw, abs=12)
    assert found.pitch == pytest.approx(plain.pitch, abs=12)


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "side"), [("Catherine_Zeta-Jones_0002", -1), ("Terry_Semel_0001", 1)]
)
def test_a_head_turned_aside_in_a_photograph_has_its_sign_and_its_mirror(pack, data, name, side):
    pixels = cv2.imread(str(data / "lfw" / name[:-5] / f"{name}.jpg"))[..., ::-1]

    plain, mirrored = (
        pack.faces(np.ascontiguousarray(seen))[0].pose for seen in (pixels, pixels[:, ::-1])
    )

    assert 15 < plain.yaw * side < 45
    assert mirrored.yaw == pytest.approx(-plain.yaw, abs=8)
    assert mirrored.roll == pytest.approx(-plain.roll, abs=3)
    assert mirrored.pitch == pytest.approx(plain.pitch, abs=8)


@pytest.mark.models
def test_people_who_look_into_the_camera_have_no_turn_on_average(pack, data):
    pictures = sorted((data / "london").glob("*/*.jpg"))[::4]
    poses = [pack.faces(cv2.imread(str(path))[..., ::-1].copy())[0].pose for path in pictures]

    for angle in ("yaw", "pitch", "roll"):
        assert np.mean([getattr(pose, angle) for pose in poses]) == pytest.approx(0, abs=4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pose": Pose(0, 50.1, 0)}, "EXTREME_POSE"),
        ({"pose": Pose(0, 0, -45.1)}, "EXTREME_POSE"),
        ({"brightness": 9.9}, "LOW_BRIGHTNESS"),
        ({"sharpness": 11.9}, "LOW_SHARPNESS"),
        ({"confidence": 89.9}, "LOW_CONFIDENCE"),
        ({"size_px": 19.9}, "SMALL_BOUNDING_BOX"),
        ({"brightness": 90.1}, "LOW_FACE_QUALITY"),
        ({"mirror_score": 0.949}, "LOW_FACE_QUALITY"),
    ],
)
def test_each_shortcoming_has_its_reason(change, reason):
    assert quality.reasons(replace(GOOD, **change), BAR) == (reason,)


def test_a_face_at_every_bar_passes():
    at = replace(
        GOOD,
        pose=Pose(180, 50, -45),
        brightness=10.0,
        sharpness=12.0,
        confidence=90.0,
        size_px=20.0,
        mirror_score=0.95,
    )

    assert quality.reasons(at, BAR) == ()
    assert quality.reasons(replace(at, brightness=90.0, mirror_score=None), BAR) == ()


def test_several_shortcomings_are_all_told():
    bad = replace(GOOD, size_px=1.0, brightness=0.0)

    assert quality.reasons(bad, BAR) == ("LOW_BRIGHTNESS", "SMALL_BOUNDING_BOX")


def test_weight_grows_with_what_is_weakest():
    bars = {"LOW": replace(BAR, size_px_min=10, sharpness_min=4, views_score_min=0.93), "HIGH": BAR}

    assert quality.weight(GOOD, bars) == 1
    assert quality.weight(replace(GOOD, size_px=10.0), bars) == quality.WEIGHT_MIN
    assert quality.weight(replace(GOOD, size_px=0.0, sharpness=0.0), bars) == quality.WEIGHT_MIN
    assert quality.weight(replace(GOOD, size_px=15.0), bars) == pytest.approx(0.625)
    assert quality.weight(replace(GOOD, mirror_score=0.94), bars) == pytest.approx(0.625)
