"""The session that every peer uses: the same options as everyone else's in the benchmark, and nothing of Headrace's."""

import os
from pathlib import Path
from typing import Any

import onnxruntime

MODEL = "BENCH_MODEL"
"""Environment variable: path of the ONNX file."""


def open_session(onnx: Path | None = None) -> Any:
    """Open the model, `BENCH_MODEL`'s unless another is given, on the CPU, one thread per run, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(onnx or os.environ[MODEL]), options, providers=["CPUExecutionProvider"])
