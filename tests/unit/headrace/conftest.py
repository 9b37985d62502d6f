"""Declared endpoints for the tests of the domain, made from YAML as a user would write it."""

import pytest

from headrace.catalog import Catalog, Endpoint
from headrace.declaration.compile import compile_catalog
from headrace.declaration.parse import parse_declaration, parse_plans
from tests.unit.headrace.declarations import DETECTION, PLANS, SENTIMENT


@pytest.fixture
def catalog() -> Catalog:
    """A text classifier and a detector, and three plans."""
    declarations = []
    for text in (SENTIMENT, DETECTION):
        declaration, problems = parse_declaration(text, source="endpoint.yaml")
        assert declaration is not None, problems
        declarations.append(declaration)
    plans, problems = parse_plans(PLANS, source="plans.yaml")
    assert plans is not None, problems
    return compile_catalog(declarations, plans)


@pytest.fixture
def sentiment(catalog: Catalog) -> Endpoint:
    """The text classifier, with a CPU rung and rules."""
    return catalog.endpoint("sentiment")


@pytest.fixture
def detection(catalog: Catalog) -> Endpoint:
    """The detector, with two versions at 90 and 10."""
    return catalog.endpoint("detection")
