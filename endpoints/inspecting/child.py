"""``python -m endpoints.inspecting.child read|trial PATH MEMORY_BYTES``: what an untrusted file may make happen, here.

The answer is one JSON document on standard output: ``{"facts": …}``, ``{"trial": …}`` or ``{"refused": "why"}``.
"""

import contextlib
import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

from endpoints.inspecting.bounds import FILE_WRITTEN_BYTES_MAX, REPORT_BYTES_MAX, TRIAL_CPU_S
from endpoints.inspecting.errors import RefusedError


def main(arguments: list[str]) -> int:
    """Answers and returns 0; whatever else happens is the parent's to notice."""
    act, path, memory_bytes = arguments[0], Path(arguments[1]), int(arguments[2])
    bounds = (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, TRIAL_CPU_S),
        (resource.RLIMIT_FSIZE, FILE_WRITTEN_BYTES_MAX),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, bound in bounds:
        with contextlib.suppress(OSError, ValueError):  # not every system has every one
            resource.setrlimit(kind, (bound, bound))
    try:
        report = json.dumps(_act(act, path), allow_nan=False)
        if len(report) > REPORT_BYTES_MAX:
            report = json.dumps({"refused": f"what there is to say of it has more than {REPORT_BYTES_MAX} bytes"})
        print(report)  # noqa: T201 - this is the answer
    except RefusedError as error:
        print(json.dumps({"refused": str(error)}))  # noqa: T201
    except MemoryError:
        print(json.dumps({"refused": "it needs more memory than an inspection may take"}))  # noqa: T201
    return 0


def _act(act: str, path: Path) -> dict[str, object]:
    from endpoints.inspecting.reading import read  # noqa: PLC0415 - after the bounds are set

    model = path / "model.onnx" if act == "trial" else path
    facts = read(model)
    if act == "read":
        return {"facts": asdict(facts)}
    from endpoints.inspecting.trial import try_out  # noqa: PLC0415

    return {"trial": asdict(try_out(path, facts))}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
