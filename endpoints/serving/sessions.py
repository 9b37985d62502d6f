"""Decides which execution providers and thread counts an ONNX Runtime session gets.

Providers are taken from what the installed onnxruntime offers: CUDA, then CPU, always last. TensorRT comes first only
when asked for: it compiles an engine, for minutes, for each new input shape, and batches bring new shapes all the time.
The GPU order has been exercised with the CPU wheel only (where it reduces to CPU); nothing here assumes a GPU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
ENGINE_CACHE = "headrace-tensorrt"  # folder of compiled engines, in the temporary directory
_LOG_FATAL_ONLY = 4  # ONNX Runtime's own error lines quote input values (a token id, an index): the log must not


def choose_providers(available: list[str], *, tensorrt: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Order the available providers, each with its options: TensorRT where asked for, CUDA, CPU.

    Args:
        available: `onnxruntime.get_available_providers()`.
        tensorrt: Whether TensorRT may be used.
    """
    cache = str(Path(tempfile.gettempdir(), ENGINE_CACHE))
    # https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html: engines outlive the process.
    options = {"trt_engine_cache_enable": True, "trt_engine_cache_path": cache, "trt_timing_cache_enable": True}
    wanted: list[tuple[str, dict[str, Any]]] = [(TENSORRT, options)] if tensorrt else []
    return [choice for choice in [*wanted, (CUDA, {}), (CPU, {})] if choice[0] in available]


def open_session(path: Path, *, threads: int, tensorrt: bool = False) -> Any:
    """Open a session.

    Args:
        path: The ONNX file.
        threads: Threads within one run. 1 computes on the calling thread, so many threads may share the session.
        tensorrt: Whether TensorRT may be used.

    Returns:
        An `onnxruntime.InferenceSession`.
    """
    import onnxruntime  # noqa: PLC0415 - half a second and 50 MB, only where a model is really loaded

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_FATAL_ONLY
    # A spinning pool burns the core that the event loop or another worker needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = choose_providers(onnxruntime.get_available_providers(), tensorrt=tensorrt)
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=chosen)
