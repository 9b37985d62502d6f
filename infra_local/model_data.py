"""Where a model's artifact lies on this machine: among those that were built, or fetched from the artifacts bucket."""

import hashlib
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from endpoints.serving.artifact import MANIFEST

ARCHIVE_BYTES_MAX = 8 * 1024**3
"""Unpacked; beyond what a laptop serves."""
MEMBERS_MAX = 10_000

Read = Callable[[str], bytes]
"""An object's bytes by its ``s3://`` address."""


class ModelDataError(Exception):
    """There is no such artifact, or it cannot be read; the message says which."""


class LocalModelData:
    """Finds artifacts by digest.

    Args:
        artifacts: The folder with ``<endpoint>/<version>/manifest.json``.
        kept: Where fetched ones are kept, by digest.
        read: Reads an object.
    """

    def __init__(self, artifacts: Path, *, kept: Path, read: Read) -> None:
        self._artifacts = artifacts
        self._kept = kept
        self._read = read

    def folder(self, *, digest: str, url: str) -> Path:
        """The folder of an artifact. The serving program verifies what is in it.

        Raises:
            ModelDataError: There is none, or what is there cannot be read.
        """
        for manifest in sorted(self._artifacts.glob(f"*/*/{MANIFEST}")):
            if digest and f"sha256:{hashlib.sha256(manifest.read_bytes()).hexdigest()}" == digest:
                return manifest.parent
        name = digest.removeprefix("sha256:") or hashlib.sha256(url.encode()).hexdigest()
        folder = self._kept / name
        if not (folder / MANIFEST).is_file():
            self._fetch(url, folder)
        return folder

    def _fetch(self, url: str, folder: Path) -> None:
        try:
            content = self._read(url)
        except (ClientError, BotoCoreError) as error:
            raise ModelDataError(f"the model data at {url} cannot be read") from error
        self._kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._kept, prefix=".fetching-") as scratch:
            archive = Path(scratch) / "model.tar.gz"
            archive.write_bytes(content)
            unpacked = Path(scratch) / "model"
            _unpack(archive, unpacked, url=url)
            if not (unpacked / MANIFEST).is_file():
                raise ModelDataError(f"the model data at {url} has no {MANIFEST}")
            unpacked.replace(folder)


def _unpack(archive: Path, folder: Path, *, url: str) -> None:
    """Unpacks plain files below ``folder`` and nothing else."""
    try:
        with tarfile.open(archive, mode="r:gz") as packed:
            left = ARCHIVE_BYTES_MAX
            for number, member in enumerate(packed):
                left -= member.size
                if number >= MEMBERS_MAX or left < 0:
                    raise ModelDataError(f"the model data at {url} is larger than this machine takes")
                packed.extract(member, folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ModelDataError(f"the model data at {url} is no archive of an artifact") from error
