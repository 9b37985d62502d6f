"""Versions that share instances: what the section may say, and what the catalog keeps of it."""

import pytest

from headrace.catalog import dump, load
from headrace.declaration.compile import compile_catalog
from headrace.declaration.components import ComponentsDeclaration, instances_needed
from headrace.declaration.parse import parse_declaration
from headrace.declaration.schema import EndpointDeclaration
from tests.unit.headrace.declarations import DETECTION, SENTIMENT

SHARED = "components: {copies_per_instance: 2, memory_mb: 4096, accelerators: 1}\n"


def _parsed(text: str) -> tuple[EndpointDeclaration | None, list[str]]:
    return parse_declaration(text, source="endpoint.yaml")


def test_a_section_says_that_versions_share_instances() -> None:
    """The catalog says so to the functions, through its JSON too; without the section versions are variants."""
    shared, _ = _parsed(DETECTION + SHARED)
    alone, _ = _parsed(SENTIMENT)
    assert shared is not None
    assert alone is not None
    catalog = load(dump(compile_catalog([shared, alone], {})))
    assert catalog.endpoint("detection").components is True
    assert catalog.endpoint("sentiment").components is False


def test_what_is_left_out_is_one_copy_of_each_version() -> None:
    """One copy always; at most as many as the instances take; no share of the processors is promised."""
    declaration, _ = _parsed(DETECTION + SHARED)
    assert declaration is not None
    assert declaration.components is not None
    said = declaration.components
    assert (said.min_copies, said.max_copies, said.cpus) == (1, None, None)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{copies_per_instance: 2, memory_mb: 4096}", "must be at least 1: hardware.accelerator is gpu"),
        ("{copies_per_instance: 2, memory_mb: 64, accelerators: 1}", "memory_mb"),
        ("{memory_mb: 4096, accelerators: 1}", "copies_per_instance"),
        ("{copies_per_instance: 2, memory_mb: 4096, accelerators: 1, min_copies: 3, max_copies: 2}", "min_copies"),
        ("{copies_per_instance: 1, memory_mb: 4096, accelerators: 1, min_copies: 2}", "take 4 instances, more than"),
        ("{copies_per_instance: 2, memory_mb: 4096, accelerators: 1, weight: 1}", "weight"),
    ],
)
def test_what_cannot_be_placed_is_refused(said: str, problem: str) -> None:
    """Copies without a GPU on GPU instances, more copies than instances, and words that mean nothing."""
    _, problems = _parsed(f"{DETECTION}components: {said}\n")
    assert problem in "\n".join(problems)


def test_cpu_instances_have_no_accelerators_to_share() -> None:
    """A copy cannot ask for what is not there."""
    _, problems = _parsed(DETECTION.replace("accelerator: gpu", "accelerator: cpu") + SHARED)
    assert "must be 0: hardware.accelerator is cpu" in "\n".join(problems)


@pytest.mark.parametrize(("versions", "copies", "expected"), [(1, 1, 1), (2, 1, 1), (3, 1, 2), (3, 2, 3)])
def test_the_least_copies_of_all_versions_need_instances(versions: int, copies: int, expected: int) -> None:
    """Rounded up: half an instance is one."""
    components = ComponentsDeclaration(copies_per_instance=2, memory_mb=4096, min_copies=copies)
    assert instances_needed(components, versions=versions) == expected
