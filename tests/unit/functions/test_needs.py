"""What a request's headers say that it needs: strict, and refused with the header's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.predict.needs import (
    COST_CLASS_HEADER,
    GROUP_HEADER,
    HARDWARE_HEADER,
    LANGUAGE_HEADER,
    need_of,
    primary_languages,
)
from headrace.errors import InvalidRequest
from headrace.routing.capabilities import Need


def need(**headers: str) -> Need:
    """The need of a request of one item with these headers, written with underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return need_of(sent, items=1, text_chars=None, payload_bytes=0, pinned=None)


def test_a_request_without_headers_wishes_for_nothing() -> None:
    """What the body and the path told is all that is needed then."""
    assert need() == Need()
    said = need_of({}, items=3, text_chars=7, payload_bytes=9, pinned="v1", task="t")
    assert said == Need(task="t", items=3, text_chars=7, payload_bytes=9, pinned="v1")


def test_every_header_is_read() -> None:
    """Language tags count by their first part, once each, whatever their case."""
    said = need(
        x_headrace_hardware="cpu",
        x_headrace_cost_class_max="2",
        x_headrace_language="en-GB, de ,EN,zh-Hant-TW",
        x_headrace_group="blue-7",
    )
    assert said == Need(hardware="cpu", cost_class_max=2, languages=("en", "de", "zh"), group="blue-7")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (HARDWARE_HEADER, "tpu"),
        (HARDWARE_HEADER, "GPU"),
        (HARDWARE_HEADER, ""),
        (HARDWARE_HEADER, "gpu\n"),
        (COST_CLASS_HEADER, "-1"),
        (COST_CLASS_HEADER, "10"),
        (COST_CLASS_HEADER, "٣"),
        (LANGUAGE_HEADER, ""),
        (LANGUAGE_HEADER, "english"),
        (LANGUAGE_HEADER, "en,"),
        (LANGUAGE_HEADER, "en;q=0.5"),
        (LANGUAGE_HEADER, "*"),
        (LANGUAGE_HEADER, ",".join(["en"] * 9)),
        (LANGUAGE_HEADER, "en" + " " * 300 + ",de"),
        (GROUP_HEADER, ""),
        (GROUP_HEADER, "B"),
        (GROUP_HEADER, "-b"),
        (GROUP_HEADER, "b" * 32),
        (GROUP_HEADER, "b\0"),
    ],
)
def test_a_header_that_says_nothing_clear_is_refused(header: str, value: str) -> None:
    """The error names the header and never quotes it: a wish that is not understood is not dropped in silence."""
    with pytest.raises(InvalidRequest) as refusal:
        need_of({header: value}, items=1, text_chars=None, payload_bytes=0, pinned=None)
    assert (refusal.value.code, refusal.value.field) == ("invalid_header", header)
    assert len(value) < 2 or value not in refusal.value.message


@given(
    value=st.text(max_size=300),
    header=st.sampled_from([HARDWARE_HEADER, COST_CLASS_HEADER, LANGUAGE_HEADER, GROUP_HEADER]),
)
def test_any_value_is_understood_or_refused(value: str, header: str) -> None:
    """No value of a header ends in another exception, and languages are always plain lower-case tags."""
    try:
        said = need_of({header: value}, items=1, text_chars=None, payload_bytes=0, pinned=None)
    except InvalidRequest:
        return
    assert all(language.isascii() and language.islower() and 2 <= len(language) <= 3 for language in said.languages)


def test_primary_languages_keep_their_order() -> None:
    """The first mention counts."""
    assert primary_languages(["pt-BR", "en", "pt"]) == ("pt", "en")
