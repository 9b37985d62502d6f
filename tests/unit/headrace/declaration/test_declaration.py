"""`endpoint.yaml`: good ones compile; bad ones report every problem with its line."""

from pathlib import Path

import pytest

from headrace import catalog as catalogs
from headrace.catalog import Catalog
from headrace.declaration.__main__ import main
from headrace.declaration.files import read_declarations
from headrace.declaration.parse import TEXT_MAX_CHARS, parse_declaration
from headrace.errors import InvalidDeclarations
from tests.unit.headrace.declarations import DETECTION, PLANS, SENTIMENT


def problems_of(text: str) -> list[str]:
    """What is wrong with a declaration."""
    declaration, problems = parse_declaration(text, source="endpoint.yaml")
    assert (declaration is None) == bool(problems)
    return problems


def test_good_declarations_have_no_problems() -> None:
    """The declarations that other tests spoil are good to begin with."""
    assert problems_of(SENTIMENT) == []
    assert problems_of(DETECTION) == []


def test_reports_all_problems_at_once_with_their_lines() -> None:
    """Three mistakes in three places give three lines, each with the line of its mistake."""
    spoilt = (
        SENTIMENT.replace("headrace/v1", "headrace/v9")
        .replace("weight: 1", "wait: 1")
        .replace("max_items: 4", "max_items: many")
    )
    problems = problems_of(spoilt)
    assert [problem.split(": ")[0] for problem in problems] == [
        "endpoint.yaml:1",
        "endpoint.yaml:8",
        "endpoint.yaml:15",
    ]
    assert "versions.v1.wait" in problems[1]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("task: text-classification", "task: telepathy", "task: must be one of"),
        ("labels: [negative, neutral, positive]\n", "", "needs labels"),
        ("positive]", "negative]", "must differ"),
        (", max_text_chars: 50", "", "needs limits.max_text_chars"),
        ("version: lite", "version: v1", "hosting: function"),
        ("version: lite", "version: none", "hosting: function"),
        ("weight: 1", "weight: 0", "weight above 0"),
        ("kind: rules}", "kind: cpu, version: lite}", "may stand once"),
        ("kind: rules}", "kind: prayer}", "fallback[1]"),
        ("default_ms: 2000", "default_ms: 400", "callers would have left"),
        ("default_ms: 2000", "default_ms: 20000", "must not exceed max_ms"),
        ("min_instances: 1", "min_instances: 9", "at least min_instances"),
        ("mode: always_on", "mode: scale_to_zero", "capacity.mode"),
        ("name: sentiment", "name: Sentiment!", "must match"),
        ("sha256:" + "a" * 64, "latest", "must match"),
        ("availability: 0.999", "availability: 1.5", "slo.availability"),
        ("ml.g5.xlarge", "g5.xlarge", "must match"),
        ("default: true", "default: true\ndefault: false", "declared twice"),
        ("default: true", "default: 'yes'", "default"),
        (
            "description: Three-class",
            "inputs: [{name: x, datatype: FP32, shape: [1]}]\ndescription: T",
            "leave inputs out",
        ),
    ],
)
def test_says_what_to_do(old: str, new: str, expected: str) -> None:
    """Each mistake is named in words that tell how to mend it."""
    assert old in SENTIMENT
    assert any(expected in problem for problem in problems_of(SENTIMENT.replace(old, new)))


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "a: &x [*x]", "\x00", "x" * (TEXT_MAX_CHARS + 1), "a: !!python/none x", "1: 2"]
)
def test_survives_anything(text: str) -> None:
    """What is no declaration at all is a problem with a line, never an exception."""
    assert all(problem.startswith("endpoint.yaml:") for problem in problems_of(text))


def test_a_tabular_endpoint_declares_its_own_tensors() -> None:
    """A task without fixed tensors takes them from the declaration, and insists on them."""
    text = DETECTION.replace("object-detection", "tabular-scoring").replace(
        ", max_image_bytes: 1000000, max_pixels: 40000000", ""
    )
    assert any("needs inputs" in problem for problem in problems_of(text))
    tensors = (
        "inputs: [{name: features, datatype: FP32, shape: [-1, 30]}]\n"
        "outputs: [{name: p, datatype: FP32, shape: [-1, 2]}]\n"
    )
    assert problems_of(text + tensors) == []
    assert any("FP99" not in p and "datatype" in p for p in problems_of(text + tensors.replace("FP32", "FP99")))


def test_the_catalog_survives_its_own_json(catalog: Catalog) -> None:
    """What the functions load is what was compiled."""
    assert catalogs.load(catalogs.dump(catalog)) == catalog


def test_the_catalog_refuses_another_format() -> None:
    """A function deployed with an older catalog fails at start, not in the middle of a request."""
    with pytest.raises(ValueError, match="compile the declarations again"):
        catalogs.load('{"format":0,"endpoints":[]}')


def write(folder: Path, **texts: str) -> Path:
    """A folder of endpoints."""
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / "endpoint.yaml").write_text(text, encoding="utf-8")
    return folder


def test_reads_a_folder(tmp_path: Path) -> None:
    """One folder per endpoint is all there is to adding one."""
    write(tmp_path, sentiment=SENTIMENT, detection=DETECTION)
    (tmp_path / "sentiment" / "rules.py").touch()
    assert [declaration.name for declaration in read_declarations(tmp_path)] == ["detection", "sentiment"]


def test_reports_the_problems_of_all_files(tmp_path: Path) -> None:
    """A wrong name in one file, a missing rules.py in another, a second default and a broken file come together."""
    write(
        tmp_path,
        sentiment=SENTIMENT,
        other=DETECTION,
        twin=DETECTION.replace("name: detection", "name: twin"),
        broken="a: [",
    )
    with pytest.raises(InvalidDeclarations) as refusal:
        read_declarations(tmp_path)
    text = str(refusal.value)
    assert "other/endpoint.yaml:1: name: must be the name of its folder" in text
    assert "sentiment/endpoint.yaml:1: fallback: a rules rung needs a rules.py" in text
    assert "is already the default for object-detection" in text
    assert "broken/endpoint.yaml:1: not YAML" in text


def test_an_empty_folder_is_a_problem(tmp_path: Path) -> None:
    """No endpoint at all is said, not shown as an empty platform."""
    with pytest.raises(InvalidDeclarations, match="declare an endpoint"):
        read_declarations(tmp_path)


def test_problems_of_the_plans_come_with_those_of_the_endpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command reports a missing `plans.yaml` beside a broken endpoint: one run tells everything."""
    write(tmp_path, broken="a: [")
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "plans.yaml:1: no such file: write" in said
    assert "broken/endpoint.yaml:1: not YAML" in said


def test_the_command_writes_the_catalog(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m headrace.declaration` exits 0 with a loadable file, or 1 with the problems on standard error."""
    folder = write(tmp_path / "x", detection=DETECTION) if (tmp_path / "x").mkdir() is None else tmp_path
    (folder / "plans.yaml").write_text(PLANS, encoding="utf-8")
    assert main([str(folder), "-o", str(tmp_path / "out" / "catalog.json")]) == 0
    assert set(catalogs.load((tmp_path / "out" / "catalog.json").read_text()).endpoints) == {"detection"}
    assert main([str(tmp_path)]) == 1
    assert "declare an endpoint" in capsys.readouterr().err
