"""Decides which execution providers and thread counts an ONNX Runtime session gets.

Providers are taken from what the installed onnxruntime offers, best first, CPU always last. The GPU order has been
exercised with the CPU wheel only (where it reduces to CPU); nothing here assumes a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
_LOG_FATAL_ONLY = 4  # ONNX Runtime's own error lines quote input values (a token id, an index): the log must not


def choose_providers(available: list[str]) -> list[str]:
    """Order the available providers: TensorRT, CUDA, CPU.

    Args:
        available: `onnxruntime.get_available_providers()`.
    """
    return [name for name in PROVIDERS if name in available]


def open_session(path: Path, *, threads: int, providers: list[str] | None = None) -> Any:
    """Open a session.

    Args:
        path: The ONNX file.
        threads: Threads within one run. 1 computes on the calling thread, so many threads may share the session.
        providers: Providers, best first; None chooses from those available.

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
    chosen = providers if providers is not None else choose_providers(onnxruntime.get_available_providers())
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=chosen)
