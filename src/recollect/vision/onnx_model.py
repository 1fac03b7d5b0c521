"""Foreign ONNX files: what is refused before anything runs them, and sides that they fix."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from recollect.vision.manifest import PackError
from recollect.vision.session import Session

NODES_MAX = 20_000
BATCH_TRIED = 3
SIDES_TRIED_PX = (320, 448)
DIFFERENCE_MAX = 1e-4


def checked(data: bytes, name: str) -> onnx.ModelProto:
    """Parse an ONNX file and refuse what a pack may not bring.

    Refused: what does not parse, operators outside ONNX's own set, functions, training parts,
    tensors kept in other files, subgraphs (none of our models has one), huge graphs.

    Raises:
        PackError: with the reason.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf has its own, outside of what onnx exports
        raise PackError(f"{name} is not an ONNX file") from error
    graph = model.graph
    if not graph.node or len(graph.node) > NODES_MAX:
        raise PackError(f"{name} has {len(graph.node)} nodes; 1 to {NODES_MAX} are allowed")
    domains = {opset.domain for opset in model.opset_import} | {n.domain for n in graph.node}
    if custom := sorted(domains - {"", "ai.onnx"}):
        raise PackError(f"{name} uses custom operators of {', '.join(custom)}")
    if model.functions or model.training_info or graph.sparse_initializer:
        raise PackError(f"{name} has functions, training parts or sparse tensors")
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise PackError(f"{name} has a subgraph in {node.op_type}")
            tensors += [attribute.t, *attribute.tensors]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise PackError(f"{name} keeps a tensor in another file")
    return model


def free_batch(model: onnx.ModelProto, name: str) -> bytes:
    """The model's bytes with a batch of any size, proved to give the same numbers.

    A batch fixed to 1 stands in the shapes of input and output, and in the constant of a Reshape
    that flattens.

    Raises:
        PackError: the batch cannot be freed without changing the outputs.
    """
    before = model.SerializeToString()
    shapes = [value.type.tensor_type.shape for value in (*model.graph.input, *model.graph.output)]
    if not any(shape.dim and shape.dim[0].dim_value == 1 for shape in shapes):
        return bytes(before)
    for shape in shapes:
        if shape.dim:
            shape.dim[0].dim_param = "batch"
    # What shape inference once wrote down about the inside holds for a batch of 1 only.
    del model.graph.value_info[:]
    shapes_of_reshape = {n.input[1] for n in model.graph.node if n.op_type == "Reshape"}
    tensors = [t for t in model.graph.initializer if t.name in shapes_of_reshape]
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes_of_reshape:
            tensors += [a.t for a in node.attribute if a.name == "value"]
    for tensor in tensors:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 1 and len(values) and values[0] == 1:
            free = values.copy()
            # 0 keeps the batch of the input.
            free[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(free, tensor.name))
    after = model.SerializeToString()
    sessions = Session(bytes(before)), Session(bytes(after))
    _prove_equal(*sessions, name, batch=BATCH_TRIED, what="a batch of 1")
    return bytes(after)


def free_sides(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with a picture of any height and width, proved to give the same numbers.

    For nets that keep to convolutions, as detectors do, whose exporter wrote one size down.

    Raises:
        PackError: the sides cannot be freed without changing the outputs.
    """
    shape = model.graph.input[0].type.tensor_type.shape
    if len(shape.dim) != 4 or not all(side.dim_value for side in shape.dim[2:]):
        return model
    free = onnx.ModelProto()
    free.CopyFrom(model)
    sides = free.graph.input[0].type.tensor_type.shape.dim[2:]
    sides[0].dim_param, sides[1].dim_param = "height", "width"
    for output in free.graph.output:
        # How many rows and columns come out follows from the picture.
        output.type.tensor_type.ClearField("shape")
    del free.graph.value_info[:]
    before, after = Session(model.SerializeToString()), Session(free.SerializeToString())
    _prove_equal(before, after, name, batch=1, what="a picture of one size")
    other = np.zeros((1, shape.dim[1].dim_value, *SIDES_TRIED_PX), np.float32)
    try:
        after.run({free.graph.input[0].name: other}, list(after.outputs))
    except Exception as error:
        raise PackError(f"{name} has a picture of one size that cannot be freed") from error
    return free


def _prove_equal(fixed: Session, free: Session, name: str, *, batch: int, what: str) -> None:
    """Refuse a freed model that differs from the fixed one, on noise."""
    ((source, shape),) = fixed.inputs.items()
    sides = [side if isinstance(side, int) else 32 for side in shape[1:]]
    noise = np.random.default_rng(0).uniform(-1, 1, (batch, *sides)).astype(np.float32)
    outputs = list(fixed.outputs)
    try:
        together = free.run({source: noise}, outputs)
    except Exception as error:
        raise PackError(f"{name} has {what} that cannot be freed") from error
    one_by_one = [fixed.run({source: noise[row : row + 1]}, outputs) for row in range(batch)]
    for position in range(len(outputs)):
        alone = np.concatenate([rows[position] for rows in one_by_one])
        scale = max(1.0, float(np.abs(alone).max()))
        if (
            alone.shape != together[position].shape
            or float(np.abs(alone - together[position]).max()) > DIFFERENCE_MAX * scale
        ):
            raise PackError(f"{name} gives other numbers once {what} is freed")
