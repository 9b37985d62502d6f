"""What a person sees once everything runs: a key, one command per endpoint ready to paste, and where things are."""

import json
import shlex
import struct
import zlib
from pathlib import Path

from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION
from infra_local.plan import EndpointPlan
from infra_local.stack import Stack

_SIDE = 128
_BODY_CHARS_MAX = 2_000
"""A longer body is not to be pasted: a golden request that lies in a file stands in for it."""


def sample_image() -> bytes:
    """Makes a small PNG (a bright disc on a dark ground), for those who have no photo at hand."""
    rows = bytearray()
    for y in range(_SIDE):
        rows.append(0)
        for x in range(_SIDE):
            inside = (x - _SIDE // 2) ** 2 + (y - _SIDE // 2) ** 2 < (_SIDE // 3) ** 2
            rows += bytes((240, 180, 60)) if inside else bytes((30, 40, 60))

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack("!I", len(content)) + body + struct.pack("!I", zlib.crc32(body))

    header = struct.pack("!IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    compressed = zlib.compress(bytes(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def curl_command(endpoint: EndpointPlan, *, url: str, image: Path) -> str:
    """Returns a command that calls one endpoint, with the key taken from ``$HEADRACE_KEY``.

    Args:
        endpoint: The endpoint.
        url: The API's base URL.
        image: A picture for object detection.
    """
    start = 'curl -s -H "x-api-key: $HEADRACE_KEY" -H'
    match endpoint.declaration.task:
        case task if task == TEXT_CLASSIFICATION:
            body = json.dumps({"model": endpoint.name, "input": "I love how quickly this runs."})
            return f"{start} 'content-type: application/json' {url}/v1/classifications -d '{body}'"
        case task if task == OBJECT_DETECTION:
            kind = "image/png" if image.suffix == ".png" else "image/jpeg"
            file = shlex.quote(f"@{image}")
            return f"{start} 'content-type: {kind}' '{url}/v1/detections?model={endpoint.name}' --data-binary {file}"
    tensors = [
        {
            "name": t.name,
            "datatype": t.datatype,
            "shape": [max(1, d) for d in t.shape],
            "data": _zeros(t.datatype, t.shape),
        }
        for t in endpoint.declaration.inputs or ()
    ]
    body = json.dumps({"inputs": tensors})
    files = [golden.request for golden in endpoint.declaration.golden if golden.request is not None]
    if files:
        body = f"@endpoints/{endpoint.name}/{files[0]}"
    elif len(body) > _BODY_CHARS_MAX:
        body = "@request.json"
    return f"{start} 'content-type: application/json' {url}/v2/models/{endpoint.name}/infer -d '{body}'"


def welcome(stack: Stack, *, image: Path, key_file: Path) -> str:
    """Returns the text printed when everything runs."""
    commands = "\n\n".join(
        f"# {e.name}: {e.declaration.description}\n{curl_command(e, url=stack.url, image=image)}"
        for e in stack.plan.endpoints
    )
    first = stack.plan.endpoints[0].name
    return (
        f"\nexport HEADRACE_KEY={stack.api_key}\n\n{commands}\n\n"
        f"API             {stack.url}\n"
        f"documentation   {stack.url}/docs   (OpenAPI: {stack.url}/openapi.json)\n"
        f"key             {key_file}\n"
        f"logs            {stack.logs}\n"
        f"faults          make fault ENDPOINT={first} KIND=hang      (KIND=clear ends it)\n"
        f"stop            Ctrl-C\n"
    )


def _zeros(datatype: str, shape: list[int]) -> list[object]:
    count = 1
    for size in shape:
        count *= max(1, size)
    return [("" if datatype == "BYTES" else False if datatype == "BOOL" else 0)] * count
