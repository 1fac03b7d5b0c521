"""MTCNN's weights, as the PyPI package mtcnn carries them, to three ONNX nets.

The package's nets are K. Zhang, Z. Zhang, Z. Li, Y. Qiao, "Joint face detection and alignment
using multi-task cascaded convolutional networks", IEEE Signal Processing Letters 23(10), 2016.
Every net takes `image`, raw 0..255 float32 RGB of shape (batch, 3, height, width); the
normalisation (x - 127.5) / 128 is folded into the first convolution, exactly, because no
convolution here has padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lz4.frame
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from recollect.vision.packs.joblib_list import read_arrays
from recollect.vision.packs.onnx_file import onnx_bytes

if TYPE_CHECKING:
    from onnx import NodeProto

Floats = npt.NDArray[np.float32]

INFLATED_BYTES_MAX = 8 << 20


class WeightsError(ValueError):
    """The weights are not those of the net they should belong to."""


def weights(packed: bytes) -> list[Floats]:
    """Decode one `.lz4` file: float32 arrays in the order in which the net uses them.

    Raises:
        WeightsError: the file is no LZ4 frame, or inflates too far.
        PickleRefusedError: it holds something else than float32 arrays.
    """
    decoder = lz4.frame.LZ4FrameDecompressor()
    try:
        data = decoder.decompress(packed, max_length=INFLATED_BYTES_MAX)
    except RuntimeError as error:
        raise WeightsError(f"not an LZ4 frame: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise WeightsError(f"the LZ4 frame is cut, too long or above {INFLATED_BYTES_MAX} bytes")
    return read_arrays(data)


class _Net:
    """ONNX nodes written in forward order from a queue of Keras arrays."""

    def __init__(self, arrays: list[Floats]) -> None:
        self.arrays = iter(arrays)
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []

    def take(self, *shape: int) -> Floats:
        array = next(self.arrays, None)
        if array is None or array.size != np.prod(shape):
            raise WeightsError(f"{None if array is None else array.shape} where {shape} belongs")
        return array.reshape(shape)

    def tensor(self, values: npt.NDArray[np.generic]) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, source: str, channels: int, filters: int, size: int, output: str = "") -> str:
        """A convolution; Keras keeps rows, columns, in, out."""
        kernel = self.take(size, size, channels, filters).transpose(3, 2, 0, 1)
        bias = self.take(filters)
        if source == "image":
            kernel64 = kernel.astype(np.float64) / 128
            bias = (bias - 127.5 * kernel64.sum(axis=(1, 2, 3))).astype(np.float32)
            kernel = kernel64.astype(np.float32)
        return self.node(
            "Conv", source, self.tensor(kernel), self.tensor(bias),
            output=output, kernel_shape=[size, size],
        )  # fmt: skip

    def prelu(self, source: str, channels: int, *, flat: bool = False) -> str:
        slope = self.take(channels) if flat else self.take(channels, 1, 1)
        return self.node("PRelu", source, self.tensor(slope))

    def pool(self, source: str, size: int, *, same: bool) -> str:
        """Keras' "same" pads at the far side only, which is what a rounded-up size does."""
        return self.node(
            "MaxPool", source, kernel_shape=[size, size], strides=[2, 2], ceil_mode=int(same)
        )

    def dense(self, source: str, count_in: int, count_out: int, output: str = "") -> str:
        matrix, bias = self.take(count_in, count_out), self.take(count_out)
        return self.node("Gemm", source, self.tensor(matrix), self.tensor(bias), output=output)

    def flatten(self, source: str) -> str:
        """Keras flattens columns first: (batch, channels, rows, columns) → columns, rows, ch."""
        turned = self.node("Transpose", source, perm=[0, 3, 2, 1])
        return self.node("Flatten", turned, axis=1)

    def finish(self, name: str, side: int | None, outputs: dict[str, int]) -> bytes:
        if next(self.arrays, None) is not None:
            raise WeightsError(f"arrays behind the last layer of {name}")
        ends: list[str | int] = ["rows", "columns"] if side is None else []
        sides: list[str | int] = ["height", "width"] if side is None else [side, side]
        return onnx_bytes(
            name,
            self.nodes,
            self.tensors,
            inputs={"image": ["batch", 3, *sides]},
            outputs={output: ["batch", count, *ends] for output, count in outputs.items()},
        )


def pnet_onnx(arrays: list[Floats]) -> bytes:
    """The proposal net: a cell of 12 px at every 2nd pixel.

    Gives `face` (batch, 2, rows, columns), probabilities of no face and face, and `box`
    (batch, 4, rows, columns).
    """
    net = _Net(arrays)
    x = net.pool(net.prelu(net.conv("image", 3, 10, 3), 10), 2, same=True)
    x = net.prelu(net.conv(x, 10, 16, 3), 16)
    x = net.prelu(net.conv(x, 16, 32, 3), 32)
    net.conv(x, 32, 4, 1, "box")
    net.node("Softmax", net.conv(x, 32, 2, 1), output="face", axis=1)
    return net.finish("mtcnn_pnet", None, {"face": 2, "box": 4})


def rnet_onnx(arrays: list[Floats]) -> bytes:
    """The refining net on crops of 24 px: `face` (batch, 2) and `box` (batch, 4)."""
    net = _Net(arrays)
    x = net.pool(net.prelu(net.conv("image", 3, 28, 3), 28), 3, same=True)
    x = net.pool(net.prelu(net.conv(x, 28, 48, 3), 48), 3, same=False)
    x = net.prelu(net.conv(x, 48, 64, 2), 64)
    x = net.prelu(net.dense(net.flatten(x), 576, 128), 128, flat=True)
    net.dense(x, 128, 4, "box")
    net.node("Softmax", net.dense(x, 128, 2), output="face", axis=1)
    return net.finish("mtcnn_rnet", 24, {"face": 2, "box": 4})


def onet_onnx(arrays: list[Floats]) -> bytes:
    """The output net on crops of 48 px: `face`, `box` and `points` (batch, 10), x before y."""
    net = _Net(arrays)
    x = net.pool(net.prelu(net.conv("image", 3, 32, 3), 32), 3, same=True)
    x = net.pool(net.prelu(net.conv(x, 32, 64, 3), 64), 3, same=False)
    x = net.pool(net.prelu(net.conv(x, 64, 64, 3), 64), 2, same=True)
    x = net.prelu(net.conv(x, 64, 128, 2), 128)
    x = net.prelu(net.dense(net.flatten(x), 1152, 256), 256, flat=True)
    net.dense(x, 256, 4, "box")
    net.dense(x, 256, 10, "points")
    net.node("Softmax", net.dense(x, 256, 2), output="face", axis=1)
    return net.finish("mtcnn_onet", 48, {"face": 2, "box": 4, "points": 10})
