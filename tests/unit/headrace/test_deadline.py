"""The deadline: the least of what caller, declaration, gateway and Lambda allow."""

import pytest

from headrace.deadline import GATEWAY_MAX_S, Deadline, decide
from headrace.errors import InvalidRequest


def budget_s(asked: str | None = None, lambda_remaining_s: float | None = None, max_ms: int = 10_000) -> float:
    """Seconds granted at time 0."""
    return decide(
        now_s=0.0, default_ms=2000, max_ms=max_ms, asked=asked, lambda_remaining_s=lambda_remaining_s
    ).remaining_s(0.0)


def test_the_default_is_the_declared_one() -> None:
    """A caller who says nothing waits as long as the declaration says."""
    assert budget_s() == 2.0


@pytest.mark.parametrize(("asked", "granted"), [("100", 0.1), ("500", 0.5), ("9000", 9.0), ("999999999", 10.0)])
def test_a_caller_may_ask_up_to_the_maximum(asked: str, granted: float) -> None:
    """Less is granted as asked, more is capped."""
    assert budget_s(asked) == granted


def test_lambda_and_gateway_bound_it() -> None:
    """Lambda's remaining time, less a margin to answer in, and the gateway's own limit always hold."""
    assert budget_s(lambda_remaining_s=1.5) == 1.0
    assert budget_s(lambda_remaining_s=0.2) == 0.0
    assert budget_s("60000", max_ms=60_000) == GATEWAY_MAX_S


@pytest.mark.parametrize("asked", ["", "0", "99", "-1", "1.5", "1e3", "soon", "٣", "1" * 10])
def test_refuses_what_is_no_number_of_milliseconds(asked: str) -> None:
    """A limit that cannot be read is an error, not a default."""
    with pytest.raises(InvalidRequest, match="whole number"):
        budget_s(asked)


def test_nothing_remains_after_it() -> None:
    """Time past the deadline counts as none, not as negative."""
    assert Deadline(5.0).remaining_s(7.0) == 0.0


@pytest.mark.parametrize(
    ("sdk_asked", "granted"),
    [("0.5", 0.5), ("600", 2.0), ("600.0", 2.0), ("none", 2.0), ("0", 2.0), ("-1", 2.0), ("nan", 2.0), ("9" * 40, 2.0)],
)
def test_an_sdks_own_timeout_shortens_and_never_lengthens(sdk_asked: str, granted: float) -> None:
    """SDKs send how long they wait, mostly minutes; what is no number changes nothing."""
    deadline = decide(
        now_s=0.0, default_ms=2000, max_ms=10_000, asked=None, lambda_remaining_s=None, sdk_asked=sdk_asked
    )
    assert deadline.at_s == granted
