"""The datatypes of the Open Inference Protocol, and how each becomes numpy and bytes.

Source: https://github.com/kserve/open-inference-protocol, "Tensor Data Types"; little-endian raw layout from Triton's
binary tensor data extension. BF16 has no numpy type: it is held as float32, which holds every BF16 value exactly.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype.

    Attributes:
        name: Its protocol name.
        dtype: The numpy type that holds it.
        pack: `struct` code that range-checks and packs JSON numbers, or "" where JSON needs its own path.
        wire_bytes: Size of one element in the binary extension; 0 for BYTES, whose elements carry their length.
    """

    name: str
    dtype: np.dtype[np.generic]
    pack: str
    wire_bytes: int


DATATYPES: dict[str, Datatype] = {
    name: Datatype(name, np.dtype(dtype), pack, size)
    for name, dtype, pack, size in (
        ("BOOL", "?", "", 1),
        ("UINT8", "<u1", "B", 1),
        ("UINT16", "<u2", "H", 2),
        ("UINT32", "<u4", "I", 4),
        ("UINT64", "<u8", "Q", 8),
        ("INT8", "<i1", "b", 1),
        ("INT16", "<i2", "h", 2),
        ("INT32", "<i4", "i", 4),
        ("INT64", "<i8", "q", 8),
        ("FP16", "<f2", "e", 2),
        ("BF16", "<f4", "f", 2),
        ("FP32", "<f4", "f", 4),
        ("FP64", "<f8", "d", 8),
        ("BYTES", "O", "", 0),
    )
}

ONNX_DATATYPES: dict[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

_LENGTH = struct.Struct("<I")


def pack_bytes(array: np.ndarray) -> bytes:
    """Write a BYTES tensor in the binary extension's form: each element as a 4-byte length and its bytes."""
    parts: list[bytes] = []
    for item in array.reshape(-1).tolist():
        raw = item if isinstance(item, bytes) else str(item).encode()
        parts.append(_LENGTH.pack(len(raw)))
        parts.append(raw)
    return b"".join(parts)


def unpack_bytes(raw: memoryview, *, count: int) -> list[bytes]:
    """Read `count` BYTES elements.

    Raises:
        ValueError: When the lengths do not add up to exactly `count` elements.
    """
    items: list[bytes] = []
    at = 0
    for _ in range(count):
        if at + 4 > len(raw):
            raise ValueError("too short")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += 4
        if at + length > len(raw):
            raise ValueError("too short")
        items.append(bytes(raw[at : at + length]))
        at += length
    if at != len(raw):
        raise ValueError("too long")
    return items


def bf16_to_float32(raw: memoryview) -> np.ndarray:
    """Widen BF16 to float32: the bits are float32's upper half."""
    return (np.frombuffer(raw, dtype="<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def float32_to_bf16(array: np.ndarray) -> bytes:
    """Narrow float32 to BF16, rounding to nearest even and keeping NaN a NaN."""
    bits = np.ascontiguousarray(array, dtype="<f4").view(np.uint32).reshape(-1)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return np.where(nan, (bits >> np.uint32(16)) | np.uint32(0x0040), rounded).astype("<u2").tobytes()
