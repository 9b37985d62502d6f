"""Measures contenders in turns, A B C, B C A, C A B, …, so that all of them meet the machine's good and bad moments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def in_turns(contenders: Mapping[str, Callable[[], T]], *, rounds: int) -> dict[str, list[T]]:
    """Measure every contender once per round.

    Args:
        contenders: Name → a function that measures one window.
        rounds: How often.

    Returns:
        Name → its windows, in the order of rounds: equal indices are neighbours in time.
    """
    windows: dict[str, list[T]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            windows[name].append(contenders[name]())
    return windows


def say(words: str) -> None:
    """Tell whoever waits what is going on; results alone go to standard output."""
    sys.stderr.write(f"  {words}\n")
    sys.stderr.flush()
