"""Model artifacts in S3, stored by digest: `<sha256 hex>/model.tar.gz`."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from headrace_aws.clients import client

READ_TIMEOUT_S = 30.0
ARTIFACT_MAX_BYTES = 256 * 1024 * 1024
"""Half of a function's default /tmp, so that the packed and the unpacked artifact fit."""
UNPACKED_MAX_BYTES = 512 * 1024 * 1024


class ArtifactTooLarge(RuntimeError):
    """The packed or unpacked artifact exceeds its bound."""


class ArtifactsBucket:
    """See `functions.fallback.cpu.Artifacts`. What is unpacked is verified by whoever loads it."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def extract(self, digest: str, directory: Path) -> None:
        """Unpack the artifact with this digest into an empty directory.

        Raises:
            ArtifactTooLarge: it exceeds a bound.
        """
        answer = client("s3", read_timeout_s=READ_TIMEOUT_S).get_object(
            Bucket=self._bucket, Key=f"{digest.removeprefix('sha256:')}/model.tar.gz"
        )
        if answer["ContentLength"] > ARTIFACT_MAX_BYTES:
            raise ArtifactTooLarge(f"a packed artifact may have at most {ARTIFACT_MAX_BYTES} bytes")
        with tempfile.TemporaryFile() as packed:
            for chunk in answer["Body"].iter_chunks():
                packed.write(chunk)
            packed.seek(0)
            with tarfile.open(fileobj=packed, mode="r:gz") as archive:
                total = 0
                for member in archive:
                    total += member.size
                    if total > UNPACKED_MAX_BYTES:
                        raise ArtifactTooLarge(f"an artifact may have at most {UNPACKED_MAX_BYTES} bytes unpacked")
                    archive.extract(member, directory, filter="data")
