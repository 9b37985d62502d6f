"""What every step of a batch does around its work: says which batch it was and how it went, and nothing of a record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.errors import StoreUnavailable

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

T = TypeVar("T")


class StepFailed(RuntimeError):
    """A step that did not succeed: whoever invoked it tries again. Lambda logs it, so it holds nothing of a record."""


def run_step(logger: Logger, name: str, about: dict[str, Any], work: Callable[[], T]) -> T:
    """Do the work of a step.

    Args:
        logger: where a failure is told.
        name: of the step.
        about: which batch, and what of it.
        work: the step.

    Raises:
        StepFailed: whatever went wrong.
    """
    try:
        return work()
    except StoreUnavailable as error:
        failure, reason = type(error).__name__, error.message  # our own words
    except Exception as error:  # noqa: BLE001 - what failed here may quote a record
        failure, reason = type(error).__name__, ""
    logger.error(name, extra={**about, "failure": failure, "reason": reason})
    raise StepFailed(f"{name}: {failure}")
