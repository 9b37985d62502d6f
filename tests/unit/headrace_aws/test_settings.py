"""Settings: all missing names are reported together."""

import pytest

from headrace_aws.settings import FallbackSettings, MissingSettings


def test_reads_every_field() -> None:
    """A field is read from `HEADRACE_<NAME>`."""
    environment = {
        "HEADRACE_STAGE": "s",
        "HEADRACE_CATALOG": "/c",
        "HEADRACE_ARTIFACTS_BUCKET": "b",
        "HEADRACE_RULES": "/r",
        "OTHER": "x",
    }
    assert FallbackSettings.read(environment) == FallbackSettings("s", "/c", "b", "/r")


def test_names_everything_that_is_missing() -> None:
    """One start is enough to learn of all of them; empty counts as missing."""
    with pytest.raises(MissingSettings, match="HEADRACE_CATALOG, HEADRACE_ARTIFACTS_BUCKET, HEADRACE_RULES"):
        FallbackSettings.read({"HEADRACE_STAGE": "s", "HEADRACE_CATALOG": ""})
