"""An ONNX net at work: loaded by bytes, checked, deterministic, on the thread that runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

# Since 1.29 ONNX Runtime tells its makers of every net that is loaded, unless this stands in the
# environment before it is imported; its function disable_telemetry_events comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = npt.NDArray[np.float32]


class Session:
    """One net. `run` is safe from any thread.

    Args:
        model: the ONNX file's bytes, already checked by `onnx_model`.
        steady: every run has the same shape except for the batch, so memory may be planned.
    """

    def __init__(self, model: bytes, *, steady: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        # Calls run beside each other; and a process that has no further threads can be forked.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.enable_mem_pattern = steady
        options.log_severity_level = 3
        options.use_deterministic_compute = True
        self._session = onnxruntime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )
        # It keeps the file as well, to begin anew with other providers: as much again as the net.
        self._session._model_bytes = None

    @property
    def inputs(self) -> dict[str, list[int | str | None]]:
        """Names and shapes of the inputs; a free side is a string or None."""
        return {node.name: list(node.shape) for node in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, list[int | str | None]]:
        """Names and shapes of the outputs."""
        return {node.name: list(node.shape) for node in self._session.get_outputs()}

    def run(self, inputs: Mapping[str, Floats], outputs: Sequence[str]) -> list[Floats]:
        """Compute the named outputs."""
        results: list[Floats] = self._session.run(list(outputs), dict(inputs))
        return results
