"""Files as stores hand them out: in chunks of any sizes."""

from hypothesis import strategies as st

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=5)


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    """The bytes in chunks of these sizes, over and over."""
    chunks, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        chunks.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return chunks
