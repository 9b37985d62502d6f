"""What kind of file it is, by its first bytes alone: what is no ONNX file is named, with what to do, and not opened."""

from pathlib import Path

from endpoints.inspecting.bounds import MODEL_BYTES_MAX
from endpoints.inspecting.errors import RefusedError

HEAD_BYTES = 512
_EXPORT = "export the model as ONNX where it was made"
_PICKLE_PROTOCOLS = range(2, 8)
_TFLITE_AT = 4
# What a file begins with, what it then is, and what to do.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive, as torch.save, numpy and Keras write", f"it is not unpacked; {_EXPORT}"),
    (b"PK\x05\x06", "an empty ZIP archive", _EXPORT),
    (b"\x1f\x8b", "compressed with gzip, as joblib does", "if it is an ONNX file, unpack it first"),
    (b"\x78\x01", "compressed with zlib, as joblib does", _EXPORT),
    (b"\x78\x9c", "compressed with zlib, as joblib does", _EXPORT),
    (b"\x78\xda", "compressed with zlib, as joblib does", _EXPORT),
    (b"BZh", "compressed with bzip2", "if it is an ONNX file, unpack it first"),
    (b"\xfd7zXZ", "compressed with xz", "if it is an ONNX file, unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "if it is an ONNX file, unpack it first"),
    (b"ZF", "compressed by joblib", _EXPORT),
    (b"\x89HDF", "HDF5, as Keras writes", _EXPORT),
    (b"GGUF", "GGUF, of llama.cpp", "convert it in a build.py"),
    (b"\x93NUMPY", "a numpy array", _EXPORT),
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself", "fetch the file: git lfs pull"),
    (b"ORTM", "of ONNX Runtime's own format", "give the ONNX file that it was made from"),
    (b"\x7fELF", "a program", "it is not run"),
)


def check_kind(path: Path) -> int:
    """Refuses what is missing, too large or of another kind.

    Returns:
        The size in bytes.

    Raises:
        RefusedError: With what the file is.
    """
    try:
        if not path.is_file():
            raise RefusedError(f"{path}: {'is no file' if path.exists() else 'there is no such file'}")
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error
    if not size:
        raise RefusedError(f"{path}: is empty")
    if size > MODEL_BYTES_MAX:
        raise RefusedError(
            f"{path}: has {size} bytes, and at most {MODEL_BYTES_MAX} are taken: write a build.py for it"
        )
    if found := _kind(head):
        raise RefusedError(f"{path}: is no ONNX file but {found[0]}: {found[1]}")
    return size


def _kind(head: bytes) -> tuple[str, str] | None:
    for start, kind, advice in _KINDS:
        if head.startswith(start):
            return kind, advice
    if head[0] == 0x80 and len(head) > 1 and head[1] in _PICKLE_PROTOCOLS:  # noqa: PLR2004 - pickle's PROTO opcode
        return "a pickle, which runs code when it is loaded", f"it is not loaded; {_EXPORT}"
    if head[_TFLITE_AT : _TFLITE_AT + 4] == b"TFL3":
        return "a TensorFlow Lite file", _EXPORT
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < MODEL_BYTES_MAX:
        return "a safetensors file", "it holds weights without a graph: convert it in a build.py"
    if all(byte in b"\t\r\n" or byte >= 0x20 for byte in head) and _is_text(head):  # noqa: PLR2004 - controls
        return "text", _EXPORT
    return None


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a letter cut in two at the end
    return True
