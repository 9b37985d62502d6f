"""Bounds that the platform itself sets, whatever an endpoint declares."""

from __future__ import annotations

DEADLINE_MAX_MS = 28_500
"""API Gateway's 29 s less half a second to bring the answer home."""
PAYLOAD_MAX_BYTES = 4_194_304
"""Lambda takes 6 MB and the gateway hands bodies over in base64, which leaves 4.5 MB; 4 MiB keeps room for headers."""
VARIANTS_MAX = 10
"""Production variants of one endpoint configuration (SageMaker quota)."""
