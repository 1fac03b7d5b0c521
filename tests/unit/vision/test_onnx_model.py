"""Foreign ONNX files: what is refused, and a fixed batch set free."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recollect.vision.manifest import PackError
from recollect.vision.onnx_model import checked, free_batch
from recollect.vision.session import Session

FLOAT = TensorProto.FLOAT


def flattening(batch=1, target=(1, -1), *, constant=False, mixes=False):
    """A net that multiplies, flattens by a Reshape and, where it mixes, sums over the batch."""
    shape = numpy_helper.from_array(np.array(target, np.int64), "shape")
    nodes = [helper.make_node("Mul", ["in", "two"], ["doubled"])]
    weights = [numpy_helper.from_array(np.array(2, np.float32), "two")]
    if constant:
        nodes.append(helper.make_node("Constant", [], ["shape"], value=shape))
    else:
        weights.append(shape)
    nodes.append(helper.make_node("Reshape", ["doubled", "shape"], ["flat"]))
    last = "flat"
    if mixes:
        weights.append(numpy_helper.from_array(np.array([0], np.int64), "axes"))
        nodes.append(helper.make_node("ReduceSum", ["flat", "axes"], ["sum"], keepdims=1))
        nodes.append(helper.make_node("Add", ["flat", "sum"], ["mixed"]))
        last = "mixed"
    nodes.append(helper.make_node("Identity", [last], ["out"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("in", FLOAT, [batch, 3, 2, 2])],
        [helper.make_tensor_value_info("out", FLOAT, [batch, 12])],
        weights,
        value_info=[helper.make_tensor_value_info("flat", FLOAT, [batch, 12])],
    )
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("target", [(1, -1), (1, 12), (-1, 12), (0, 12)])
def test_a_batch_of_one_is_set_free_and_gives_the_same_numbers(constant, target):
    images = np.random.default_rng(7).normal(size=(5, 3, 2, 2)).astype(np.float32)

    freed = free_batch(
        checked(flattening(1, target, constant=constant).SerializeToString(), "n"), "n"
    )

    (found,) = Session(freed).run({"in": images}, ["out"])
    np.testing.assert_array_equal(found, 2 * images.reshape(5, 12))


def test_a_batch_that_is_free_already_stays_as_it_is():
    model = flattening("batch", (0, 12))

    assert free_batch(model, "n") == model.SerializeToString()


def test_a_net_whose_rows_depend_on_each_other_is_refused():
    with pytest.raises(PackError, match="other numbers"):
        free_batch(flattening(mixes=True), "net.onnx")


def test_a_batch_that_cannot_be_set_free_is_refused():
    # The whole batch is folded into one row: a second picture does not fit.
    model = flattening(1, (12,))
    model.graph.node.insert(2, helper.make_node("Reshape", ["flat", "back"], ["row"]))
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([1, 1, 12], np.int64)[1:], "back")
    )
    model.graph.node[-1].input[0] = "row"
    model.graph.initializer[-2].CopyFrom(numpy_helper.from_array(np.array([12], np.int64), "shape"))

    with pytest.raises(PackError, match="cannot be freed"):
        free_batch(model, "net.onnx")


def external(model, location):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model


def with_subgraph(model):
    inner = helper.make_graph([helper.make_node("Identity", ["in"], ["x"])], "inner", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    return model


def with_attribute_outside(model):
    tensor = numpy_helper.from_array(np.ones(1, np.float32))
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    node.attribute[0].t.data_location = TensorProto.EXTERNAL
    model.graph.node.append(node)
    return model


def with_custom_operator(model):
    model.graph.node.append(helper.make_node("Evil", ["in"], ["x"], domain="com.evil"))
    return model


def with_custom_domain(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def with_function(model):
    model.functions.add().name = "f"
    return model


def with_training(model):
    model.training_info.add()
    return model


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: external(m, "/etc/passwd"), "another file"),
        (lambda m: external(m, "../../secret"), "another file"),
        (lambda m: external(m, "weights.bin"), "another file"),
        (with_attribute_outside, "another file"),
        (with_subgraph, "subgraph"),
        (with_custom_operator, "custom operators of com.evil"),
        (with_custom_domain, "custom operators of com.microsoft"),
        (with_function, "functions"),
        (with_training, "functions"),
    ],
)
def test_what_a_pack_may_not_bring_is_refused(change, told):
    assert checked(flattening().SerializeToString(), "net.onnx")

    with pytest.raises(PackError, match=told):
        checked(change(flattening()).SerializeToString(), "net.onnx")


@pytest.mark.parametrize("data", [b"", b"\x80\x04]q\x00.", b"not protobuf at all", b"\x08" * 99])
def test_what_is_no_onnx_is_refused(data):
    with pytest.raises(PackError):
        checked(data, "net.onnx")


def test_a_graph_too_large_is_refused(monkeypatch):
    monkeypatch.setattr("recollect.vision.onnx_model.NODES_MAX", 2)

    with pytest.raises(PackError, match="3 nodes"):
        checked(flattening().SerializeToString(), "net.onnx")


def test_the_onnx_library_is_new_enough_to_refuse_escapes_itself():
    assert tuple(int(n) for n in onnx.__version__.split(".")[:2]) >= (1, 23)


def test_a_net_at_work_does_not_keep_the_file_that_it_came_from():
    model = flattening().SerializeToString()
    before = sys.getrefcount(model)

    session = Session(model)

    assert sys.getrefcount(model) == before
    assert session.run({"in": np.ones((1, 3, 2, 2), np.float32)}, ["out"])[0].sum() == 24
