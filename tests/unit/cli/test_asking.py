"""How the API is asked: when again, how long it waits, and what is said when no answer comes."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_cli.patience import ATTEMPTS_MAX, WAITED_MAX_S, Miss, pause_s, retry_after
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_headrace import API, BATCH_ID, FakeHeadrace, refusal

STATUSES = st.sampled_from([0, 400, 401, 404, 409, 422, 429, 500, 502, 503, 504])


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_told(cli: Cli, server: FakeHeadrace, status: int) -> None:
    """Retry-After is waited for, and told; then the command goes on."""
    server.trouble["GET"] = [refusal(status, "overloaded", "Come again.", retry_after="7", x_should_retry="false")]
    result = cli("batch", "status", BATCH_ID)
    assert result.exit_code == 0
    assert cli.clock.pauses == [7.5]
    assert "says overloaded; asking again in 8 s" in result.stderr


def test_it_does_not_wait_for_hours(cli: Cli, server: FakeHeadrace) -> None:
    """A wait beyond the bound ends the command with what the service said."""
    server.trouble["GET"] = [refusal(429, "budget_exhausted", "The day's budget is used up.", retry_after="3600")]
    result = cli("batch", "status", BATCH_ID)
    assert result.exit_code == 1
    assert "budget_exhausted" in result.stderr
    assert cli.clock.pauses == []


def test_nobody_at_home_says_what_to_do(cli: Cli, server: FakeHeadrace) -> None:
    """A connection that fails is tried again a few times, and then told with advice, without a traceback."""
    server.trouble["GET"] = [httpx.ConnectError("refused")] * ATTEMPTS_MAX
    result = cli("models")
    assert result.exit_code == 1
    assert f"{API} cannot be reached" in result.stderr
    assert "headrace config show" in result.stderr
    assert len(server.requests) == ATTEMPTS_MAX


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, text="<html>"), httpx.Response(200, json=[1]), httpx.Response(200, content=b"\xff")],
    ids=["html", "list", "bytes"],
)
def test_an_answer_of_something_else_is_told(cli: Cli, server: FakeHeadrace, answer: httpx.Response) -> None:
    """What is no JSON object is not taken for an answer."""
    server.trouble["GET"] = [answer]
    result = cli("models")
    assert result.exit_code == 1
    assert "is this address a Headrace's?" in result.stderr


def test_the_gateways_own_refusals_are_read(cli: Cli, server: FakeHeadrace) -> None:
    """API Gateway and the Open Inference Protocol write errors in forms of their own."""
    server.trouble["GET"] = [
        httpx.Response(403, json={"message": "Forbidden"}, headers={"x-amzn-requestid": "gw-1"}),
        httpx.Response(404, json={"error": "No such model.", "code": "model_not_found", "request_id": "r"}),
        httpx.Response(400, text="oops"),
    ]
    assert cli("models").stderr == "headrace: http_403: Forbidden (request id gw-1)\n"
    assert cli("models").stderr == "headrace: model_not_found: No such model. (request id r)\n"
    assert cli("models").stderr == "headrace: http_400: The service answered HTTP 400.\n"


@given(
    status=STATUSES,
    repeatable=st.booleans(),
    after=st.none() | st.floats(0, 1e6),
    may_retry=st.booleans(),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_patience_ends(*, status: int, repeatable: bool, after: float | None, may_retry: bool, chance: float) -> None:
    """Whatever is met, there are no more than so many attempts, and all pauses together have a bound."""
    waited_s, attempt = 0.0, 1
    miss = Miss(status, repeatable=repeatable, retry_after_s=after, may_retry=may_retry)
    while (pause := pause_s(miss, attempt=attempt, waited_s=waited_s, chance=chance)) is not None:
        assert pause >= (after or 0.0) * (after is not None and status in {409, 429, 503})
        waited_s, attempt = waited_s + pause, attempt + 1
    assert attempt <= ATTEMPTS_MAX
    assert waited_s <= WAITED_MAX_S


@given(status=st.sampled_from([0, 500, 502, 504]), chance=st.floats(0, 1, exclude_max=True))
def test_what_may_not_arrive_twice_is_not_sent_twice(status: int, chance: float) -> None:
    """A lost answer may have been served."""
    assert pause_s(Miss(status, repeatable=False), attempt=1, waited_s=0, chance=chance) is None


@given(status=st.sampled_from([400, 401, 403, 404, 413, 422]), chance=st.floats(0, 1, exclude_max=True))
def test_a_refusal_for_good_is_not_asked_again(status: int, chance: float) -> None:
    """The same request would meet the same answer."""
    assert pause_s(Miss(status, repeatable=True, retry_after_s=1.0), attempt=1, waited_s=0, chance=chance) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (" 0 ", 0.0), (None, None), ("", None), ("soon", None), ("-1", None), ("٣", None), ("9" * 9, None)],
)
def test_retry_after_is_a_number_of_seconds(header: str | None, seconds: float | None) -> None:
    """Anything else is as if it were not there."""
    assert retry_after(header) == seconds
