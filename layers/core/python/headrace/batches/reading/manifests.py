"""A manifest of image objects as SageMaker has it becomes lines of JSON: one bare record per object.

`[{"prefix": "s3://bucket/tenants/<tenant>/…/"}, "a.jpg", "b.jpg"]`: the name in the list is the record's custom_id, and
prefix and name together are the object's address. Manifests in other forms (lines of JSON, or CSV, with an `s3` each)
are lines already. The prefix must be below the tenant's own; a name that leads out of it is its record's own error,
found when the object is read.

Source: SageMaker API reference, S3DataSource, "ManifestFile".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

from headrace import strict_json
from headrace.batches.bounds import CUSTOM_ID_MAX_CHARS, MANIFEST_BYTES_MAX, MANIFEST_OBJECTS_MAX
from headrace.batches.reading.formats import Unusable
from headrace.errors import InvalidRequest

Form = Literal["list", "jsonl", "csv"]
BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"


def form_of(chunks: Iterator[bytes]) -> tuple[Form, Iterator[bytes]]:
    """Which form a manifest has, told by its first character, and its bytes again."""
    looked_at: list[bytes] = []
    for chunk in chunks:
        looked_at.append(chunk)
        start = b"".join(looked_at).removeprefix(BOM).lstrip(_SPACE)
        if start not in {b"", BOM[:1], BOM[:2]} or sum(map(len, looked_at)) > MANIFEST_BYTES_MAX:
            break
    else:
        start = b""
    form: Form = "list" if start[:1] == b"[" else "jsonl" if start[:1] in {b"{", b""} else "csv"
    return form, chain(looked_at, chunks)


def lines_of_manifest(chunks: Iterable[bytes], *, tenant: str, bucket: str) -> Iterator[bytes]:
    """The objects of a manifest in SageMaker's form, as one block of lines.

    Raises:
        Unusable: it is too large, not such a list, or its prefix is not below `s3://<bucket>/tenants/<tenant>/`.
    """
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > MANIFEST_BYTES_MAX:
            raise Unusable(f"A manifest may have at most {MANIFEST_BYTES_MAX} bytes.", code="manifest_too_large")
    try:
        listed = strict_json.parse(bytes(data).removeprefix(BOM), bytes_max=MANIFEST_BYTES_MAX)
    except InvalidRequest as error:
        raise Unusable(f"The manifest cannot be read: {error.message}", code="manifest_invalid") from None
    head = listed[0] if isinstance(listed, list) and listed else None
    prefix = head.get("prefix") if isinstance(head, dict) and len(head) == 1 else None
    if not isinstance(prefix, str):
        raise Unusable('A manifest begins with {"prefix": "s3://…"}.', code="manifest_invalid")
    home = f"s3://{bucket}/tenants/{tenant}/"
    if not prefix.startswith(home) or ".." in prefix.split("/"):
        raise Unusable(f"The manifest's prefix must be {home} or below it.", code="manifest_forbidden")
    names = listed[1:]
    if len(names) > MANIFEST_OBJECTS_MAX:
        raise Unusable(f"A manifest may list at most {MANIFEST_OBJECTS_MAX} objects.", code="too_many_records")
    for number, name in enumerate(names, start=1):
        if not isinstance(name, str) or not name:
            raise Unusable(f"Entry {number} of the manifest must be an object's name.", code="manifest_invalid")
    yield from (_line(prefix, name) for name in names)


def _line(prefix: str, name: str) -> bytes:
    named = {"custom_id": name} if len(name) <= CUSTOM_ID_MAX_CHARS else {}
    return json.dumps({**named, "image": {"s3": prefix + name}}, separators=(",", ":")).encode() + b"\n"
