"""YuNet's decoding on a made-up net."""

import numpy as np
import pytest

from recollect.vision.yunet import STRIDES_PX, YuNet


class OneFace:
    """A net that answers one face at a cell of stride 16."""

    def __init__(self):
        self.inputs = {"input": [1, 3, "h", "w"]}
        self.planes = None

    def run(self, inputs, outputs):
        planes = self.planes = inputs["input"]
        rows = {}
        for stride in STRIDES_PX:
            cells = planes.shape[2] // stride * (planes.shape[3] // stride)
            for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
                rows[f"{kind}_{stride}"] = np.zeros((1, cells, width), np.float32)
        cell = 3 * (planes.shape[3] // 16) + 5
        rows["cls_16"][0, cell] = 0.9
        rows["obj_16"][0, cell] = 1.6  # clipped to 1
        rows["bbox_16"][0, cell] = [0.5, 0.25, np.log(4), np.log(2)]
        rows["kps_16"][0, cell] = np.arange(10) / 10
        return [rows[name] for name in outputs]


def test_a_cell_is_decoded_as_its_authors_decode_it():
    net = OneFace()
    image = np.random.default_rng(9).integers(0, 256, (200, 300, 3)).astype(np.uint8)

    found = YuNet(net, 0.6).find(image, 10)

    assert net.planes.shape == (1, 3, 224, 320)
    np.testing.assert_array_equal(net.planes[0, :, :200, :300], image[..., ::-1].transpose(2, 0, 1))
    assert net.planes[0, :, 200:].max() == 0
    centre_x, centre_y = (5 + 0.5) * 16, (3 + 0.25) * 16
    np.testing.assert_allclose(
        found.boxes, [[centre_x - 32, centre_y - 16, centre_x + 32, centre_y + 16]], rtol=1e-6
    )
    assert found.scores == pytest.approx([np.sqrt(0.9)])
    offsets = np.arange(10).reshape(5, 2) / 10
    np.testing.assert_allclose(found.points[0], (offsets + np.array([5, 3])) * 16, rtol=1e-6)


def test_a_large_picture_is_reduced_and_the_face_brought_back():
    net = OneFace()

    found = YuNet(net, 0.6).find(np.zeros((2000, 2560, 3), np.uint8), 64)

    assert net.planes.shape == (1, 3, 512, 640)
    assert found.boxes[0, 0] == pytest.approx(((5.5 * 16) - 32) * 4 + 1.5, abs=0.01)


def test_a_score_below_the_threshold_is_no_face():
    assert len(YuNet(OneFace(), 0.96).find(np.zeros((200, 300, 3), np.uint8), 10)) == 0
