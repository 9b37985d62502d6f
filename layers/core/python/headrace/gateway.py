"""Which routes are open without a credential. The CDK app and the local front are fed from this one table."""

from __future__ import annotations

PUBLIC_ROUTES: tuple[tuple[str, str], ...] = (("GET", "/healthz"), ("GET", "/openapi.json"), ("GET", "/docs"))
"""(method, path) pairs that API Gateway hands to `predict` without asking the authorizer."""
