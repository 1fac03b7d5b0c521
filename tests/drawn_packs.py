"""Model packs drawn from a seed: real folders with real ONNX files that the loader takes whole.

The nets are random projections: they tell textures apart, and have the signatures of real ones.
"""

import hashlib
import io

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from recollect.vision.embed import Embedder
from recollect.vision.pack import known_vector
from recollect.vision.session import Session

STRIDES = (8, 16, 32)
FIVE = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]])
"""Where the five points lie in an upright face, as shares of the chip's side."""


def onnx_bytes(nodes, weights, inputs, outputs):
    def described(values):
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in values.items()
        ]

    graph = helper.make_graph(
        nodes,
        "drawn",
        described(inputs),
        described(outputs),
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def embedding_onnx(dimension, side_px, batch=1, seed=1):
    """A net like ArcFace's: `data` (batch, 3, side, side) to `fc1` (batch, dimension)."""
    rng = np.random.default_rng(seed)
    cells = (side_px // 8) ** 2 * 16
    weights = {
        "kernel": rng.standard_normal((16, 3, 8, 8)).astype(np.float32) / 14,
        "flat": np.array([1 if batch == 1 else 0, -1], np.int64),
        "matrix": rng.standard_normal((cells, dimension)).astype(np.float32) / cells**0.5,
    }
    nodes = [
        helper.make_node("Conv", ["data", "kernel"], ["c"], strides=[8, 8], kernel_shape=[8, 8]),
        helper.make_node("Tanh", ["c"], ["t"]),
        # As exporters write a flatten: the batch stands in a constant.
        helper.make_node("Reshape", ["t", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "matrix"], ["fc1"]),
    ]
    return onnx_bytes(
        nodes, weights, {"data": [batch, 3, side_px, side_px]}, {"fc1": [batch, dimension]}
    )


def detector_onnx(side_px=640, seed=2):
    """A net with YuNet's signature, its input fixed as opencv_zoo's file has it."""
    rng = np.random.default_rng(seed)
    nodes, weights, outputs = [], {}, {}
    for stride in STRIDES:
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = f"{kind}_{stride}"
            kernel = rng.standard_normal((width, 3, stride, stride)) / (200 * stride)
            weights[f"{name}_w"] = kernel.astype(np.float32)
            weights[f"{name}_rows"] = np.array([1, -1, width], np.int64)
            nodes += [
                helper.make_node(
                    "Conv", ["input", f"{name}_w"], [f"{name}_c"],
                    strides=[stride, stride], kernel_shape=[stride, stride],
                ),
                helper.make_node(
                    "Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]
                ),
            ]  # fmt: skip
            last = f"{name}_r" if kind in ("cls", "obj") else name
            nodes.append(helper.make_node("Reshape", [f"{name}_t", f"{name}_rows"], [last]))
            if last != name:
                nodes.append(helper.make_node("Sigmoid", [last], [name]))
            outputs[name] = [1, (side_px // stride) ** 2, width]
    return onnx_bytes(nodes, weights, {"input": [1, 3, side_px, side_px]}, outputs)


def trees_npz():
    """The smallest ensemble of regression trees: one split that moves nothing."""
    arrays = {
        "initial": np.array([[0.8, 0.3], [0.6, 0.3], [0.2, 0.3], [0.4, 0.3], [0.5, 0.7]]),
        "pixels": np.array([[[[0, 1]]]], np.int16),
        "thresholds": np.zeros((1, 1, 1)),
        "leaves": np.zeros((1, 1, 2, 10)),
        "anchors": np.array([[0, 4]], np.uint8),
        "deltas": np.zeros((1, 2, 2)),
    }
    file = io.BytesIO()
    np.savez(
        file, **{k: v.astype(np.float32) if v.dtype == float else v for k, v in arrays.items()}
    )
    return file.getvalue()


def listed(values):
    return "[" + ", ".join(f"{value:.6f}" for value in np.ravel(values)) + "]"


def points(values):
    return "[" + ", ".join(listed(row) for row in values) + "]"


def draw_pack(
    models_dir, name, *, rank=1, version="9.0", dimension=256, side_px=96, batch=1, colour="BGR"
):
    """Draw a pack folder below `models_dir`; its folder."""
    folder = models_dir / name
    folder.mkdir(parents=True)
    files = {
        "arcface.onnx": embedding_onnx(dimension, side_px, batch),
        "detector.onnx": detector_onnx(),
        "landmarks.npz": trees_npz(),
    }
    for file, data in files.items():
        (folder / file).write_bytes(data)
    mean, std = (127.5, 127.5, 127.5), (128.0, 128.0, 128.0)
    embedder = Embedder(
        Session(embedding_onnx(dimension, side_px, "batch")),
        colour=colour,
        mean=mean,
        std=std,
        dimension=dimension,
    )
    tables = "\n".join(
        f'[files."{file}"]\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
        'licence = "Apache-2.0"\norigin = "drawn from a seed"\n'
        for file, data in files.items()
    )
    bars = "\n".join(
        f"[quality.{name}]\nconfidence_min = 50\nsize_px_min = 10\nbrightness_min = 0\n"
        "brightness_max = 100\nsharpness_min = 0\nyaw_max = 90\npitch_max = 90\n"
        "views_score_min = -1\n"
        for name in ("LOW", "AUTO", "MEDIUM", "HIGH")
    )
    (folder / "manifest.toml").write_text(
        f"""format = 1
name = "{name}"
model_version = "{version}"
rank = {rank}
summary = "Random projections, for tests"
notice = "Tells textures apart, not people"
measured_on = "nothing"

{tables}
[detector]
kind = "yunet"
files = ["detector.onnx"]
thresholds = [0.9]
doubt_below = 0.0

[landmarks]
kind = "ert"
file = "landmarks.npz"
chip_px = 100
margin_px = 20
box_px = [20, 20, 120, 120]
points_px = [[80, 30], [60, 30], [20, 30], [40, 30], [50, 70]]
detector_points_px = {points(FIVE * 100)}

[embedding]
file = "arcface.onnx"
side_px = {side_px}
colour = "{colour}"
mean = {listed(mean)}
std = {listed(std)}
dimension = {dimension}
views = ["points", "mirror"]
points_px = {points(FIVE * side_px)}
doubt_below = -1
known = {listed(known_vector(embedder, side_px))}
centre = {listed(np.zeros(dimension))}

[similarity]
anchors = [[0, 0], [0.5, 50], [0.8, 80], [0.99, 99], [1, 100]]
false_match_rates = [[50, 1e-2], [80, 1e-4], [99, 1e-6]]

{bars}""",
        encoding="utf-8",
    )
    return folder
