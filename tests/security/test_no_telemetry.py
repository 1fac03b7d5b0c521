"""The libraries call nobody: a server tells no one that it is there, and what nets it loads."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
LOADS_A_NET = """
import sys, time
from onnx import TensorProto, helper
a = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])
b = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])
graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "g", [a], [b])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
if sys.argv[1] == "ours":
    from recollect.vision.session import Session
    Session(model.SerializeToString())
else:
    import onnxruntime
    onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
time.sleep(20)
"""


def test_onnx_runtime_is_imported_in_one_place_and_muted_there():
    importing = re.compile(r"^\s*(import|from) onnxruntime", re.M)
    files = [p for p in SOURCE.rglob("*.py") if importing.search(p.read_text(encoding="utf-8"))]
    assert [path.name for path in files] == ["session.py"]

    muted = "import recollect.vision.session, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    said = subprocess.run([sys.executable, "-c", muted], capture_output=True, check=True)
    assert said.stdout.strip() == b"1"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("how", "calls_home"), [("ours", False), ("bare", True)])
def test_a_net_that_is_loaded_reaches_nobody(tmp_path, how, calls_home):
    """With the bare library as a control, which asks for its makers' address within 20 s."""
    log = tmp_path / "strace"
    environ = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run(
        ["strace", "-f", "-o", log, "-e", "trace=connect", sys.executable, "-c", LOADS_A_NET, how],
        check=True,
        env=environ,
    )
    reached = re.findall(r"connect\(\d+, \{sa_family=AF_INET6?, .*", log.read_text())
    print(f"{how}: {len(reached)} connections: {reached[:1]}")
    assert bool(reached) == calls_home
