"""Runs in a fresh interpreter: imports one handler and says what that took; with an event, what its first answer took.

`python -m benchmarks.import_probe MODULE OUTPUT [EVENT]`. Nothing is imported before the clock starts that is not
part of the interpreter or of this file.
"""

import sys
import time


def _peak_kib() -> int:
    """Peak resident memory of this program; `ru_maxrss` would count the parent's, from before exec."""
    with open("/proc/self/status", encoding="ascii") as stream:  # noqa: PTH123 - pathlib would be imported by the measurement
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM:"))


class _Context:
    function_name = "bench"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:bench"
    aws_request_id = "5f0c3b52-6d4f-4c0e-9f5a-0f6a5b1c2d3e"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


def main(module: str, output: str, event: str | None) -> None:
    """Import, perhaps answer, and write the figures as JSON."""
    modules, cpu, wall = len(sys.modules), time.process_time(), time.perf_counter()
    __import__(module)
    found: dict[str, float] = {
        "cpu_ms": (time.process_time() - cpu) * 1000,
        "wall_ms": (time.perf_counter() - wall) * 1000,
        "modules": len(sys.modules) - modules,
        "peak_mb": _peak_kib() * 1.024e-3,
    }
    if event is not None:
        import json  # noqa: PLC0415 - not before the clock has been read

        with open(event, encoding="utf-8") as stream:  # noqa: PTH123 - as above
            document = json.load(stream)
        answer = sys.modules[module].handler(document, _Context())
        found["first_cpu_ms"] = (time.process_time() - cpu) * 1000
        found["first_wall_ms"] = (time.perf_counter() - wall) * 1000
        found["first_peak_mb"] = _peak_kib() * 1.024e-3
        found["status"] = answer["statusCode"]
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in found.items()) + "}"
    with open(output, "w", encoding="utf-8") as stream:  # noqa: PTH123 - as above
        stream.write(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
