"""Model files cannot reach other files: the libraries refuse it, and we do before them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from recollect.vision.manifest import PackError
from recollect.vision.onnx_model import checked

SECRET = np.array([1, 2, 3, 4], np.float32)


def with_weights_at(location):
    """A net whose only weight lies in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "escape",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [tensor],
    )
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.fixture
def outside(tmp_path):
    """A folder for models, and a secret beside it that they try to read."""
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    folder = tmp_path / "models"
    (folder / "m").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    return folder


ESCAPES = ["../secret.bin", "{secret}", "link.bin", "m/../../secret.bin"]


@pytest.mark.parametrize("location", ESCAPES)
@pytest.mark.parametrize("by", ["path", "bytes"])
def test_a_net_cannot_read_a_file_outside(outside, monkeypatch, location, by):
    model = with_weights_at(location.format(secret=outside.parent / "secret.bin"))
    data = model.SerializeToString()
    (outside / "net.onnx").write_bytes(data)
    monkeypatch.chdir(outside)

    with pytest.raises(PackError, match="another file"):
        checked(data, "net.onnx")
    # Even past our own check the library gives nothing away.
    with pytest.raises(Exception, match=r"(?i)external|escape|path|directory"):
        onnxruntime.InferenceSession(
            str(outside / "net.onnx") if by == "path" else data,
            providers=["CPUExecutionProvider"],
        )
    if by == "path":
        with pytest.raises(Exception, match=r"(?i)external|escape|path|directory|link"):
            onnx.load(str(outside / "net.onnx"))


def test_the_control_reads_weights_that_lie_beside_the_net(outside):
    (outside / "beside.bin").write_bytes(SECRET.tobytes())
    (outside / "net.onnx").write_bytes(with_weights_at("beside.bin").SerializeToString())

    session = onnxruntime.InferenceSession(
        str(outside / "net.onnx"), providers=["CPUExecutionProvider"]
    )

    (found,) = session.run(None, {"x": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(found, SECRET)
