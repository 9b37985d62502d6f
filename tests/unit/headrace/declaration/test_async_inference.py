"""`async_inference` of a declaration: its bounds, what the catalog keeps of it, and what the page says."""

import pytest

from headrace.catalog import AsyncRules, Catalog, dump, load
from headrace.declaration.compile import compile_catalog
from headrace.declaration.page import write_page
from headrace.declaration.parse import parse_declaration
from headrace.declaration.schema import EndpointDeclaration
from tests.unit.headrace.declarations import DETECTION

DECLARED = "async_inference: {max_instances: 3, concurrent_requests_per_instance: 2, timeout_s: 1800}\n"


def parsed(text: str) -> tuple[EndpointDeclaration | None, str]:
    """The declaration, and its problems as one text."""
    declaration, problems = parse_declaration(text, source="endpoint.yaml")
    return declaration, "\n".join(problems)


def test_the_catalog_knows_version_and_limits() -> None:
    """The greatest weight is hosted; what only deployment needs stays out. It is read as it was written."""
    declaration, problems = parsed(DETECTION + DECLARED)
    assert declaration is not None, problems
    catalog = compile_catalog([declaration], {})
    assert catalog.endpoint("detection").async_inference == AsyncRules("v1", timeout_s=1800, queue_s=3600)
    assert load(dump(catalog)) == catalog


def test_the_first_of_equal_versions_is_hosted() -> None:
    """One variant only: SageMaker takes no target variant for it. A weight of 0 does not win."""
    text = DETECTION.replace("weight: 90", "weight: 0") + DECLARED
    for weight, expected in (("10", "v2"), ("0", "v1")):
        declaration, _ = parsed(text.replace("weight: 10", f"weight: {weight}"))
        assert declaration is None or declaration.async_version == expected


def test_without_it_jobs_are_served_as_any_request(catalog: Catalog) -> None:
    """Nothing shipped has to change, nor a catalog that was written before."""
    assert catalog.endpoint("detection").async_inference is None
    text = dump(catalog).replace('"async_inference":null,', "")
    assert "async_inference" not in text
    assert load(text) == catalog


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_instances", 0),
        ("max_instances", 101),
        ("concurrent_requests_per_instance", 0),
        ("timeout_s", 0),
        ("timeout_s", 3601),
        ("queue_s", 59),
        ("queue_s", 21_601),
        ("instance_types", []),
        ("instance_types", ["g5.xlarge"]),
        ("unknown", 1),
    ],
)
def test_what_sagemaker_would_refuse_is_said_before(field: str, value: object) -> None:
    """Each bound is SageMaker's own, and the problem names its place."""
    fields = {"max_instances": 3, "concurrent_requests_per_instance": 2, field: value}
    declaration, problems = parsed(f"{DETECTION}async_inference: {fields}\n")
    assert declaration is None
    assert f"async_inference.{field}" in problems


def test_no_name_ends_as_those_of_asynchronous_endpoints() -> None:
    """`detection-async` is what SageMaker knows the asynchronous endpoint of `detection` as."""
    declaration, problems = parsed(DETECTION.replace("name: detection", "name: detection-async"))
    assert declaration is None
    assert "name: must not end in -async" in problems


def test_the_page_says_where_jobs_go() -> None:
    """Version, instances, and both times."""
    declaration, _ = parsed(DETECTION + DECLARED)
    assert declaration is not None
    page = write_page([declaration], {})
    assert "| jobs | `v1` on an asynchronous endpoint: 0 to 3 instances (ml.g5.xlarge), 2 requests each, 1800 s" in page
