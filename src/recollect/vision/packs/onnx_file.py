"""ONNX files as the converters write them: opset 13, IR version 8, the same bytes always."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto, checker, helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import NodeProto

Shape = list[str | int]


def onnx_bytes(
    name: str,
    nodes: Sequence[NodeProto],
    weights: Sequence[TensorProto],
    *,
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape],
) -> bytes:
    """Write a checked model. A string in a shape names a side that is free."""
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
        list(weights),
    )
    model = helper.make_model(
        graph,
        producer_name="recollect",
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    checker.check_model(model)
    written: bytes = model.SerializeToString(deterministic=True)
    return written
