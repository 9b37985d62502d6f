"""Encodes ``application/vnd.amazon.eventstream``, of which botocore ships the decoder alone.

Framing (smithy.io/2.0/aws/amazon-eventstream.html): total length, headers length and their CRC-32, headers, payload,
and a CRC-32 of everything before it; integers are big-endian. A header is its name's length, its name, the type 7
(text) and a 16-bit length with the value.
"""

import struct
from binascii import crc32
from collections.abc import Mapping

_TEXT = 7
_FRAME_BYTES = 16


def encode_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Encodes one message."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack("!II", _FRAME_BYTES + len(encoded) + len(payload), len(encoded))
    message = lengths + struct.pack("!I", crc32(lengths)) + encoded + payload
    return message + struct.pack("!I", crc32(message))


def payload_part(payload: bytes) -> bytes:
    """Encodes a ``PayloadPart`` event of InvokeEndpointWithResponseStream."""
    headers = {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
    return encode_message(headers, payload)


def stream_exception(kind: str, document: bytes) -> bytes:
    """Encodes an exception event, such as ``ModelStreamError``; the document is its JSON."""
    headers = {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}
    return encode_message(headers, document)


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _TEXT, len(text)) + text
