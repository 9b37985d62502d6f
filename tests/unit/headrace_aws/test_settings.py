"""Settings: all missing names are reported together."""

import pytest

from headrace_aws.settings import AuthorizerSettings, FallbackSettings, MissingSettings


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


def test_a_setting_with_a_default_may_be_missing() -> None:
    """Absent and empty both mean the default; what is required is still required."""
    environment = {"HEADRACE_STAGE": "s", "HEADRACE_KEYS_TABLE": "t", "HEADRACE_PEPPER_SECRET": "p"}
    assert AuthorizerSettings.read(environment).oidc_issuers == "[]"
    assert AuthorizerSettings.read({**environment, "HEADRACE_OIDC_ISSUERS": ""}).oidc_issuers == "[]"
    assert AuthorizerSettings.read({**environment, "HEADRACE_OIDC_ISSUERS": "x"}).oidc_issuers == "x"
    with pytest.raises(MissingSettings, match=r"^set HEADRACE_STAGE, HEADRACE_KEYS_TABLE, HEADRACE_PEPPER_SECRET$"):
        AuthorizerSettings.read({"HEADRACE_OIDC_ISSUERS": "[]"})
