"""An object that is read here and there, as a file: blocks are fetched when they are asked for, and a few are kept."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.errors import StoreUnavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 4 << 20
BLOCKS_KEPT = 8
"""32 MiB in all: readers of columns go back and forth between a few places."""


class RangedFile(io.RawIOBase):
    """A readable, seekable file of `size` bytes over `fetch(start, end)`, which gives the bytes of one range."""

    def __init__(self, fetch: Callable[[int, int], bytes], *, size: int, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._block_bytes = block_bytes
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer, short only at the end of the file: pyarrow takes a short answer for the end.

        Raises:
            UnknownTarget: the object is gone.
            StoreUnavailable: it could not be read.
        """
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and self._at < self._size:
            number, offset = divmod(self._at, self._block_bytes)
            data = memoryview(self._block(number))[offset : offset + len(view) - filled]
            view[filled : filled + len(data)] = data
            filled += len(data)
            self._at += len(data)
        return filled

    def _block(self, number: int) -> bytes:
        data = self._blocks.get(number)
        if data is None:
            start = number * self._block_bytes
            end = min(self._size, start + self._block_bytes)
            data = self._fetch(start, end)
            if len(data) != end - start:
                raise StoreUnavailable("A range of the object came back short.")
            self._blocks[number] = data
            if len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return data
