"""Where the local platform finds a model's artifact: built ones first, then the artifacts bucket, and nothing odd."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra_local.model_data import LocalModelData, ModelDataError

URL = "s3://artifacts/abc/model.tar.gz"


def archive(members: dict[str, bytes]) -> bytes:
    """A compressed archive with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def digest_of(manifest: bytes) -> str:
    """The artifact's digest."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def nothing_there(url: str) -> bytes:
    """A bucket without the object."""
    raise ClientError({"Error": {"Code": "NoSuchKey", "Message": url}}, "GetObject")


def test_a_built_artifact_is_used_as_it_lies(tmp_path: Path) -> None:
    """The one whose manifest has the digest, and the bucket is not asked."""
    for version, text in (("v1", b"one"), ("v2", b"two")):
        (tmp_path / "toy" / version).mkdir(parents=True)
        (tmp_path / "toy" / version / "manifest.json").write_bytes(text)
    data = LocalModelData(tmp_path, kept=tmp_path / "kept", read=nothing_there)
    assert data.folder(digest=digest_of(b"two"), url=URL) == tmp_path / "toy" / "v2"


def test_another_one_is_fetched_once(tmp_path: Path) -> None:
    """It is unpacked under its digest, and kept."""
    asked: list[str] = []

    def read(url: str) -> bytes:
        asked.append(url)
        return archive({"manifest.json": b"three", "model.onnx": b"weights"})

    data = LocalModelData(tmp_path / "built", kept=tmp_path / "kept", read=read)
    folders = {data.folder(digest=digest_of(b"three"), url=URL) for _ in range(2)}
    (folder,) = folders
    assert (folder / "model.onnx").read_bytes() == b"weights"
    assert asked == [URL]


@pytest.mark.parametrize(
    "content",
    [b"no archive", archive({"../outside": b"x"}), archive({"/etc/outside": b"x"}), archive({"a": b"x" * 100})[:-30]],
    ids=["rubbish", "escapes", "absolute", "cut-short"],
)
def test_what_is_no_artifact_leaves_nothing_behind(tmp_path: Path, content: bytes) -> None:
    """It is refused with its address; nothing is written beside the folder, or kept."""
    data = LocalModelData(tmp_path / "built", kept=tmp_path / "kept", read=lambda _: content)
    with pytest.raises(ModelDataError, match=URL):
        data.folder(digest=digest_of(b"x"), url=URL)
    assert not list((tmp_path / "kept").iterdir())
    assert not (tmp_path / "outside").exists()
    assert not Path("/etc/outside").exists()


def test_an_artifact_that_is_nowhere_is_named(tmp_path: Path) -> None:
    """The message has its address."""
    data = LocalModelData(tmp_path / "built", kept=tmp_path / "kept", read=nothing_there)
    with pytest.raises(ModelDataError, match=URL):
        data.folder(digest=digest_of(b"x"), url=URL)
