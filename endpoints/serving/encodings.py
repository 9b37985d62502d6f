"""Content encodings: unpacking bodies within bounds, packing answers that are worth it."""

from __future__ import annotations

import gzip
import zlib

from endpoints.serving.errors import BadInput, TooLarge, UnsupportedMedia

PACK_BYTES_MIN = 1_400  # less fits one packet anyway
PACK_BYTES_MAX = 262_144  # more would hold up the event loop
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32


def unpack(body: bytes, *, encoding: bytes, bytes_max: int) -> bytes:
    """Decompress a request body.

    Args:
        body: As sent.
        encoding: The Content-Encoding header.
        bytes_max: What it may unpack to; a bomb is stopped there, having cost no more than that.

    Raises:
        UnsupportedMedia: Neither gzip nor deflate.
        TooLarge: It unpacks to more.
        BadInput: It does not unpack, or holds more than one stream.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"deflate"):
        raise UnsupportedMedia("Content-Encoding must be gzip, deflate or identity.", code="unsupported_encoding")
    stream = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        plain = stream.decompress(body, bytes_max + 1)
    except zlib.error:
        raise BadInput("The body is not what its Content-Encoding says.", code="invalid_encoding") from None
    if len(plain) > bytes_max:
        raise TooLarge(f"The body unpacks to more than {bytes_max} bytes.")
    if not stream.eof or stream.unused_data:
        raise BadInput("The body is not one whole compressed stream.", code="invalid_encoding")
    return plain


def pack(body: bytes, *, accepted: bytes) -> tuple[bytes, bytes]:
    """Compress an answer when the caller accepts it and it pays.

    Args:
        body: The answer.
        accepted: The Accept-Encoding header.

    Returns:
        The body, and header lines to add.
    """
    if not PACK_BYTES_MIN <= len(body) <= PACK_BYTES_MAX:
        return body, b""
    names = [part.strip().lower() for part in accepted.split(b",")]
    if b"gzip" in names:
        return gzip.compress(body, compresslevel=1, mtime=0), b"content-encoding: gzip\r\nvary: accept-encoding\r\n"
    if b"deflate" in names:
        return zlib.compress(body, level=1), b"content-encoding: deflate\r\nvary: accept-encoding\r\n"
    return body, b""
