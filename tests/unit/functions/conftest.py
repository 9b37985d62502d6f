"""The catalog of the domain's tests."""

from tests.unit.headrace.conftest import catalog

__all__ = ["catalog"]
