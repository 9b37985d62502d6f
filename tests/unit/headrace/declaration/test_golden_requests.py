"""What `golden` and `api_version` in a declaration may say."""

from pathlib import Path

import pytest

from headrace.declaration.files import read_declarations
from headrace.declaration.parse import parse_declaration
from tests.unit.headrace.declarations import DETECTION, SENTIMENT

ROOT = Path(__file__).parents[4]
GOOD = """\
golden:
  - name: praise
    texts: [I love it]
    versions: [v1]
    expect: [{output: label, equals: [positive]}]
"""


def problems(text: str) -> str:
    """All problems of a declaration."""
    return "\n".join(parse_declaration(text, source="endpoint.yaml")[1])


def test_golden_requests_are_read() -> None:
    """A good one is taken; none at all is good, too, and the API version is 1 unless said."""
    declaration, found = parse_declaration(SENTIMENT + GOOD, source="endpoint.yaml")
    assert not found
    assert declaration is not None
    assert [golden.kind for golden in declaration.golden] == ["texts"]
    assert declaration.api_version == 1
    assert not problems(SENTIMENT)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (GOOD.replace("texts: [I love it]", "parameters: {a: 1}"), "exactly one of"),
        (GOOD.replace("texts: [I love it]", "texts: [a]\n    request: r.json"), "exactly one of"),
        (GOOD.replace("equals: [positive]", "tolerance: 0.1"), "say what is known"),
        (GOOD.replace("versions: [v1]", "versions: [v7]"), "must be one of versions"),
        (GOOD.replace("texts: [I love it]", "request: ../r.json"), "below its folder"),
        (GOOD.replace("texts: [I love it]", "request: /etc/passwd"), "below its folder"),
        (GOOD.replace("texts: [I love it]", "drawn: picture"), "is for object-detection"),
        (GOOD + GOOD.removeprefix("golden:\n"), "a name of its own"),
        (GOOD.replace("name: praise", "name: Praise!"), "must match"),
        ("api_version: 0\n", "greater than or equal to 1"),
        ("api_version: two\n", "api_version"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(wrong: str, said: str) -> None:
    """Each mistake is named, with the file's line."""
    found = problems(SENTIMENT + wrong)
    assert said in found
    assert found.startswith("endpoint.yaml:")


def test_texts_are_for_text_classification() -> None:
    """A detector is asked with a picture."""
    assert "is for text-classification" in problems(DETECTION + GOOD)


def test_every_real_endpoint_has_golden_requests() -> None:
    """None of the endpoints here could be registered unchecked, in any of its versions."""
    for declaration in read_declarations(ROOT / "endpoints"):
        for version in declaration.versions:
            assert [each for each in declaration.golden if not each.versions or version in each.versions]
