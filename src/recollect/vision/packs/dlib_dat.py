"""dlib's serialised files: the face recognition ResNet to ONNX, the regression trees to arrays.

Both readers consume their file to its last byte and refuse it otherwise, so a file that is not
what we think it is cannot turn into a network that merely looks right.

Source of the formats: dlib 20.0, `dlib/serialize.h`, `dlib/dnn/layers.h`,
`dlib/image_processing/shape_predictor.h`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from recollect.vision.packs.onnx_file import onnx_bytes

if TYPE_CHECKING:
    from onnx import NodeProto

Floats = npt.NDArray[np.float32]

TEXT_BYTES_MAX = 64
LAYERS_MAX = 256

BLOCKS = (
    [(32, False)] * 3
    + [(64, True)]
    + [(64, False)] * 3
    + [(128, True)]
    + [(128, False)] * 2
    + [(256, True)]
    + [(256, False)] * 2
    + [(256, True)]
)
"""Residual blocks in forward order: filters, and whether the block halves the picture."""

SIDES_PX = (150, 72, 35)
"""Side of the chip, after the first convolution and after the first pool."""


class DlibFormatError(ValueError):
    """The file is not the dlib file it should be."""


class Reader:
    """A cursor over dlib's serialised values."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def raw(self, count: int) -> bytes:
        """Take `count` bytes."""
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise DlibFormatError(f"dlib file ends at byte {len(self.data)}, {end} needed")
        part = self.data[self.at : end]
        self.at = end
        return part

    def integer(self) -> int:
        """One byte (low nibble = count of value bytes, 0x80 = negative), then the value."""
        head = self.raw(1)[0]
        if head & 0x70 or not 1 <= head & 0x0F <= 8:
            raise DlibFormatError(f"no integer at byte {self.at - 1}: {head:#04x}")
        value = int.from_bytes(self.raw(head & 0x0F), "little")
        return -value if head & 0x80 else value

    def real(self) -> float:
        """A float or double: mantissa and exponent as two integers."""
        mantissa, exponent = self.integer(), self.integer()
        if exponent in (32000, 32001, 32002):
            raise DlibFormatError(f"a number that is not finite at byte {self.at}")
        return math.ldexp(mantissa, exponent)

    def boolean(self) -> bool:
        """ASCII 0 or 1."""
        value = self.raw(1)
        if value not in (b"0", b"1"):
            raise DlibFormatError(f"no boolean at byte {self.at - 1}")
        return value == b"1"

    def text(self) -> str:
        """A string with its length in front."""
        length = self.integer()
        if not 0 <= length <= TEXT_BYTES_MAX:
            raise DlibFormatError(f"a string of {length} bytes at byte {self.at}")
        return self.raw(length).decode("ascii", "replace")

    def expect(self, value: int, what: str) -> None:
        """Read an integer that can only be `value`."""
        found = self.integer()
        if found != value:
            raise DlibFormatError(f"{what} is {found} instead of {value} at byte {self.at}")

    def tensor(self) -> Floats:
        """A tensor's float32 values, flat."""
        self.expect(2, "tensor version")
        count = math.prod(self.integer() for _ in range(4))
        return np.frombuffer(self.raw(4 * count), "<f4")

    def alias(self) -> None:
        """A view of a tensor: nothing that the parameters do not say already."""
        self.expect(1, "alias tensor version")
        for _ in range(4):
            self.integer()

    def matrix(self, count: int) -> list[float]:
        """A column of `count` floats; rows and columns are stored negative."""
        self.expect(-count, "matrix rows")
        self.expect(-1, "matrix columns")
        return [self.real() for _ in range(count)]

    def finish(self) -> None:
        """Refuse what is left over."""
        if self.at != len(self.data):
            raise DlibFormatError(f"{len(self.data) - self.at} bytes behind the last value")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a net: its kind in dlib's words, its parameters and its integers."""

    kind: str
    values: Floats
    numbers: tuple[int, ...] = ()


def read_resnet(data: bytes) -> tuple[list[float], list[Layer]]:
    """Read `dlib_face_recognition_resnet_model_v1.dat`.

    Returns:
        The mean of R, G and B that the input layer subtracts, and the layers in forward order.

    Raises:
        DlibFormatError: the file is damaged or another net.
    """
    reader = Reader(data)
    reader.expect(1, "loss version")
    if (loss := reader.text()) != "loss_metric_2":
        raise DlibFormatError(f"the loss is {loss!r} instead of 'loss_metric_2'")
    reader.real()
    reader.real()
    # Version numbers of nested wrappers, none above 3; what is larger is the length of the input
    # layer's name.
    before = reader.at
    while reader.integer() <= 3:
        before = reader.at
    reader.at = before
    if (name := reader.text()) != "input_rgb_image_sized":
        raise DlibFormatError(f"the input layer is {name!r} instead of 'input_rgb_image_sized'")
    mean = [reader.real() for _ in range(3)]
    reader.expect(SIDES_PX[0], "input rows")
    reader.expect(SIDES_PX[0], "input columns")

    layers: list[Layer] = []
    while reader.at < len(data):
        if len(layers) == LAYERS_MAX:
            raise DlibFormatError(f"more than {LAYERS_MAX} layers")
        layers.append(_layer(reader))
        for _ in range(3):
            reader.boolean()
        for _ in range(3):
            if len(reader.tensor()):
                raise DlibFormatError(f"stored activations at byte {reader.at}")
        if len(layers) == 1:
            reader.expect(1, "sample expansion factor")
    return mean, layers


def _layer(reader: Reader) -> Layer:
    """Read one layer's name and fields."""
    kind = reader.text()
    if kind == "con_4":
        values = reader.tensor()
        numbers = tuple(reader.integer() for _ in range(7))
        reader.alias()
        reader.alias()
        for _ in range(4):
            reader.real()
        return Layer(kind, values, numbers)
    if kind == "affine_":
        values = reader.tensor()
        reader.alias()
        reader.alias()
        return Layer(kind, values, (reader.integer(),))
    if kind == "fc_2":
        nout, nin = reader.integer(), reader.integer()
        values = reader.tensor()
        reader.alias()
        reader.alias()
        reader.expect(1, "bias mode of fc")
        for _ in range(4):
            reader.real()
        return Layer(kind, values, (nin, nout))
    if kind in ("max_pool_2", "avg_pool_2"):
        return Layer(kind, np.empty(0, np.float32), tuple(reader.integer() for _ in range(6)))
    if kind in ("relu_", "add_prev_"):
        return Layer(kind, np.empty(0, np.float32))
    raise DlibFormatError(f"a layer of unknown kind {kind!r} at byte {reader.at}")


class _Graph:
    """ONNX nodes written in forward order from a queue of dlib layers."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = iter(layers)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def take(self, kind: str, numbers: tuple[int, ...] | None = None) -> Layer:
        """The next layer, which has to be of this kind and shape."""
        layer = next(self.layers, None)
        if layer is None or layer.kind != kind or (numbers and layer.numbers != numbers):
            raise DlibFormatError(f"{layer and (layer.kind, layer.numbers)} where {kind} belongs")
        return layer

    def weight(self, values: npt.NDArray[np.generic]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(
        self, source: str, channels: int, filters: int, size: int, stride: int, pad: int
    ) -> str:
        """A convolution with the affine layer behind it folded in."""
        layer = self.take("con_4", (filters, size, size, stride, stride, pad, pad))
        kernel, bias = _kernel(layer, channels)
        affine = self.take("affine_").values
        gamma, beta = affine[:filters], affine[filters:]
        return self._conv(source, kernel * gamma[:, None, None, None], bias * gamma + beta,
                          stride, pad)  # fmt: skip

    def _conv(self, source: str, kernel: Floats, bias: Floats, stride: int, pad: int) -> str:
        return self.node(
            "Conv", source, self.weight(kernel), self.weight(bias),
            kernel_shape=kernel.shape[2:], strides=[stride] * 2, pads=[pad] * 4,
        )  # fmt: skip

    def grow(self, source: str, channels: int, pixels: int) -> str:
        """Append zero channels, and zero rows and columns at the bottom and the right."""
        if not channels and not pixels:
            return source
        ends = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)
        return self.node("Pad", source, self.weight(ends), mode="constant")


def _kernel(layer: Layer, channels: int) -> tuple[Floats, Floats]:
    """Split a convolution's parameters into kernel (out, in, rows, columns) and bias."""
    filters, rows, columns = layer.numbers[:3]
    count = filters * channels * rows * columns
    if len(layer.values) != count + filters:
        raise DlibFormatError(f"{len(layer.values)} parameters instead of {count + filters}")
    return layer.values[:count].reshape(filters, channels, rows, columns), layer.values[count:]


def resnet_onnx(data: bytes) -> bytes:
    """Convert the face recognition ResNet.

    The graph takes `image`, raw 0..255 float32 RGB of shape (batch, 3, 150, 150), and gives
    `embedding` of shape (batch, 128), not of unit length. The input layer's (x - mean) / 256 is
    folded into the first convolution, exactly, because that has no padding.

    Raises:
        DlibFormatError: the file is not this net.
    """
    mean, layers = read_resnet(data)
    first = layers[0]
    graph = _Graph([_folded(first, mean), *layers[1:]] if first.kind == "con_4" else layers)

    x = graph.node("Relu", _after(graph, "relu_", graph.conv("image", 3, 32, 7, 2, 0)))
    graph.take("max_pool_2", (3, 3, 2, 2, 0, 0))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    channels, side = 32, SIDES_PX[2]
    for filters, halved in BLOCKS:
        stride, pad = (2, 0) if halved else (1, 1)
        inner = graph.conv(x, channels, filters, 3, stride, pad)
        inner = graph.node("Relu", _after(graph, "relu_", inner))
        inner = graph.conv(inner, filters, filters, 3, 1, 1)
        inner_side = (side - 3) // 2 + 1 if halved else side
        if halved:
            graph.take("avg_pool_2", (2, 2, 2, 2, 0, 0))
            x = graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            side = (side - 2) // 2 + 1
        graph.take("add_prev_")
        # dlib adds tensors of different size by treating what is missing as zero.
        x = graph.grow(x, filters - channels, max(0, inner_side - side))
        inner = graph.grow(inner, 0, max(0, side - inner_side))
        x = graph.node("Relu", _after(graph, "relu_", graph.node("Add", x, inner)))
        channels, side = filters, max(side, inner_side)
    graph.take("avg_pool_2", (0, 0, 1, 1, 0, 0))
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x), axis=1)
    matrix = graph.take("fc_2", (256, 128)).values
    graph.nodes.append(
        helper.make_node("MatMul", [x, graph.weight(matrix.reshape(256, 128))], ["embedding"])
    )
    if next(graph.layers, None) is not None:
        raise DlibFormatError("layers behind the last one of the ResNet")
    return onnx_bytes(
        "dlib_face_recognition_resnet",
        graph.nodes,
        graph.weights,
        inputs={"image": ["batch", 3, SIDES_PX[0], SIDES_PX[0]]},
        outputs={"embedding": ["batch", 128]},
    )


def _after(graph: _Graph, kind: str, source: str) -> str:
    """Consume a layer without fields that stands behind `source`."""
    graph.take(kind)
    return source


def _folded(layer: Layer, mean: list[float]) -> Layer:
    """The first convolution with (x - mean) / 256 folded in."""
    kernel, bias = _kernel(layer, 3)
    kernel64 = kernel.astype(np.float64) / 256
    bias64 = bias - (kernel64 * np.array(mean)[None, :, None, None]).sum(axis=(1, 2, 3))
    values = np.concatenate([kernel64.ravel(), bias64]).astype(np.float32)
    return Layer(layer.kind, values, layer.numbers)


LEVELS, TREES, SPLITS, LEAVES, FEATURES = 15, 500, 15, 16, 800


def read_trees(data: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """Read `shape_predictor_5_face_landmarks.dat`.

    Returns:
        Arrays by name: `initial` (5, 2), the starting shape in a unit square; for each of 15
        levels `pixels` (15, 500, 15, 2), the two features that a split compares; `thresholds`
        (15, 500, 15); `leaves` (15, 500, 16, 10), what a leaf adds to the shape; `anchors`
        (15, 800) and `deltas` (15, 800, 2), where the features lie.

    Raises:
        DlibFormatError: the file is damaged or another predictor.
    """
    reader = Reader(data)
    reader.expect(1, "shape predictor version")
    initial = np.array(reader.matrix(10), np.float32).reshape(5, 2)
    reader.expect(LEVELS, "levels")
    pixels = np.empty((LEVELS, TREES, SPLITS, 2), np.int16)
    thresholds = np.empty((LEVELS, TREES, SPLITS), np.float32)
    leaves = np.empty((LEVELS, TREES, LEAVES, 10), np.float32)
    for level in range(LEVELS):
        reader.expect(TREES, "trees")
        for tree in range(TREES):
            reader.expect(SPLITS, "splits")
            for split in range(SPLITS):
                pixels[level, tree, split] = reader.integer(), reader.integer()
                thresholds[level, tree, split] = reader.real()
            reader.expect(LEAVES, "leaves")
            leaves[level, tree] = [reader.matrix(10) for _ in range(LEAVES)]
    anchors = np.empty((LEVELS, FEATURES), np.uint8)
    reader.expect(LEVELS, "anchor lists")
    for level in range(LEVELS):
        reader.expect(FEATURES, "anchors")
        anchors[level] = [reader.integer() for _ in range(FEATURES)]
    deltas = np.empty((LEVELS, FEATURES, 2), np.float32)
    reader.expect(LEVELS, "delta lists")
    for level in range(LEVELS):
        reader.expect(FEATURES, "deltas")
        deltas[level] = [(reader.real(), reader.real()) for _ in range(FEATURES)]
    reader.finish()
    if pixels.min() < 0 or pixels.max() >= FEATURES or anchors.max() >= len(initial):
        raise DlibFormatError("a split or an anchor points outside the predictor")
    return {
        "initial": initial,
        "pixels": pixels,
        "thresholds": thresholds,
        "leaves": leaves,
        "anchors": anchors,
        "deltas": deltas,
    }
