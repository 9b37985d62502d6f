"""Manifests: lists of images become lines, and none leads out of the tenant's own objects."""

import json
from typing import Any

import pytest

from headrace.batches.bounds import MANIFEST_BYTES_MAX, MANIFEST_OBJECTS_MAX
from headrace.batches.reading.formats import Unusable
from headrace.batches.reading.manifests import form_of, lines_of_manifest

HOME = "s3://inputs/tenants/acme/"


def lines(document: Any) -> list[dict[str, Any]]:
    """A manifest's objects."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return [json.loads(line) for line in lines_of_manifest([data[:3], data[3:]], tenant="acme", bucket="inputs")]


def test_names_are_joined_to_the_prefix() -> None:
    """The address is prefix and name, as SageMaker joins them, and the name is the record's own."""
    assert lines([{"prefix": f"{HOME}june/"}, "a.jpg", "more/b.jpg"]) == [
        {"custom_id": "a.jpg", "image": {"s3": f"{HOME}june/a.jpg"}},
        {"custom_id": "more/b.jpg", "image": {"s3": f"{HOME}june/more/b.jpg"}},
    ]
    assert lines(b'\xef\xbb\xbf[{"prefix": "s3://inputs/tenants/acme/"}]') == []
    (long,) = lines([{"prefix": HOME}, "x" * 300])
    assert long == {"image": {"s3": HOME + "x" * 300}}


@pytest.mark.parametrize(
    "prefix",
    [
        "s3://inputs/tenants/other/",
        "s3://inputs/tenants/acme",
        "s3://inputs/tenants/acme-too/",
        "s3://elsewhere/tenants/acme/",
        "s3://inputs/tenants/acme/../other/",
        "https://inputs/tenants/acme/",
        "",
    ],
)
def test_a_prefix_outside_the_tenants_own_is_refused(prefix: str) -> None:
    """Another tenant's, another bucket's, or a way out."""
    with pytest.raises(Unusable) as caught:
        lines([{"prefix": prefix}, "a.jpg"])
    assert caught.value.code == "manifest_forbidden"


@pytest.mark.parametrize(
    "document",
    [
        [],
        ["a.jpg"],
        [{"prefix": 5}],
        [{"prefix": HOME, "more": 1}, "a.jpg"],
        [{"prefix": HOME}, 5],
        [{"prefix": HOME}, ""],
        [{"prefix": HOME}, {"prefix": HOME}],
        b"[",
        b"",
        b'[{"prefix": "\xff"}]',
    ],
)
def test_what_is_no_manifest_is_refused(document: Any) -> None:
    """No prefix in front, names that are no names, or no JSON."""
    with pytest.raises(Unusable) as caught:
        lines(document)
    assert caught.value.code == "manifest_invalid"


def test_manifests_are_bounded() -> None:
    """In bytes, while they are read, and in objects."""
    with pytest.raises(Unusable) as caught:
        list(lines_of_manifest(iter(lambda: bytes(1 << 20), None), tenant="acme", bucket="inputs"))
    assert caught.value.code == "manifest_too_large"
    assert MANIFEST_BYTES_MAX < 1 << 30
    with pytest.raises(Unusable) as caught:
        lines([{"prefix": HOME}, *["a"] * (MANIFEST_OBJECTS_MAX + 1)])
    assert caught.value.code == "too_many_records"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'\xef\xbb\xbf \n[{"prefix": ""}]', "list"),
        (b'{"s3": "s3://a/b"}\n', "jsonl"),
        (b"id,s3\n1,s3://a/b\n", "csv"),
        (b"", "jsonl"),
        (b" \n ", "jsonl"),
    ],
)
def test_the_first_character_tells_the_form(data: bytes, expected: str) -> None:
    """A list, lines of JSON, or rows with a header; nothing that was looked at is lost."""
    for size in (1, 2, 100):
        chunks = iter([data[at : at + size] for at in range(0, len(data), size)])
        form, rest = form_of(chunks)
        assert (form, b"".join(rest)) == (expected, data)
