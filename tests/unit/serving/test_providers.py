"""Which device a session is given, decided without one."""

from __future__ import annotations

import pytest

from endpoints.serving.sessions import CPU, CUDA, TENSORRT, choose_providers
from endpoints.serving.settings import read_settings


@pytest.mark.parametrize(
    ("available", "tensorrt", "found"),
    [
        ([TENSORRT, CUDA, CPU], False, [CUDA, CPU]),
        ([CPU, CUDA, TENSORRT], True, [TENSORRT, CUDA, CPU]),
        (["AzureExecutionProvider", CPU], True, [CPU]),
    ],
)
def test_the_cpu_comes_last(available: list[str], *, tensorrt: bool, found: list[str]) -> None:
    """CUDA is preferred, TensorRT only where asked for, and the CPU is always there to fall back on."""
    assert [name for name, _ in choose_providers(available, tensorrt=tensorrt)] == found


def test_tensorrt_keeps_its_engines() -> None:
    """Compiled engines are cached, so that a restart does not compile them again."""
    ((_, options),) = choose_providers([TENSORRT], tensorrt=True)
    assert options["trt_engine_cache_enable"]
    assert options["trt_engine_cache_path"]


def test_the_device_is_read_from_the_environment() -> None:
    """TensorRT is off unless switched on; a declared GPU is remembered."""
    assert not read_settings({}).tensorrt
    assert not read_settings({}).gpu_declared
    settings = read_settings({"HEADRACE_TENSORRT": "1", "HEADRACE_ACCELERATOR": "gpu"})
    assert settings.tensorrt
    assert settings.gpu_declared
