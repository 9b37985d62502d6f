"""What is not lines is written down as lines first: compressed text is inflated, within bounds.

Source: RFC 1952 (gzip): a file is a series of members, each with its own checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from headrace.batches.bounds import INFLATE_FREE_BYTES, INFLATE_RATIO_MAX, INPUT_BYTES_MAX
from headrace.batches.reading.formats import Unusable
from headrace.batches.storage import CHUNK_BYTES, Sink

GZIP_MEMBERS_MAX = 1_000_000
"""Blocked gzip (BGZF) has one member per 64 KiB of text: far more than that are there to keep us busy."""
SLICE_BYTES = 16_384
_GZIP = 16 + zlib.MAX_WBITS


def inflated(chunks: Iterable[bytes], *, members_max: int = GZIP_MEMBERS_MAX) -> Iterator[bytes]:
    """The text in a gzip file, about `CHUNK_BYTES` at a time.

    Raises:
        Unusable: `gzip_bomb` (more text than compression explains, or than a file may have), `gzip_truncated` or
            `gzip_invalid`.
    """
    member, members, begun = zlib.decompressobj(_GZIP), 1, False
    read = written = 0
    for data in _sliced(chunks):
        read += len(data)
        left = data
        while True:
            if member.eof:
                left = left.lstrip(b"\0")  # tapes are padded with zeros, and so are some files
                if not left:
                    break
                member, members = zlib.decompressobj(_GZIP), members + 1
                if members > members_max:
                    raise Unusable(f"The gzip file has more than {members_max} members.", code="gzip_bomb")
            begun = True
            try:
                text = member.decompress(left, CHUNK_BYTES)
            except zlib.error:
                raise Unusable("The file is not gzip, or it is damaged.", code="gzip_invalid") from None
            left = member.unused_data if member.eof else member.unconsumed_tail
            written += len(text)
            _check(read, written)
            if text:
                yield text
            elif not left:
                break
    if begun and not member.eof:
        raise Unusable("The gzip file ends in the middle: upload it again.", code="gzip_truncated")


def _sliced(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Small slices: what is behind the end of a member is copied, once per member."""
    for chunk in chunks:
        yield from (chunk[at : at + SLICE_BYTES] for at in range(0, len(chunk), SLICE_BYTES))


def teed(chunks: Iterable[bytes], sink: Sink) -> Iterator[bytes]:
    """The chunks, each of which is written down before it is looked at."""
    for chunk in chunks:
        sink.write(chunk)
        yield chunk


def _check(read: int, written: int) -> None:
    if written > INPUT_BYTES_MAX:
        raise Unusable(f"A file may hold at most {INPUT_BYTES_MAX} bytes of text.", code="gzip_bomb")
    if written > INFLATE_FREE_BYTES and written > INFLATE_RATIO_MAX * read:
        raise Unusable(
            f"The file inflates to more than {INFLATE_RATIO_MAX} times its size: send it uncompressed.",
            code="gzip_bomb",
        )
