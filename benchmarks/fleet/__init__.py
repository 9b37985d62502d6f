"""Headrace on virtual time: thousands of containers, a broken endpoint, impatient users; a seed repeats all of it.

engine.py            virtual time and chance
faults.py            what can be wrong, when
endpoint.py          servers with a queue, faulty by schedule
store.py             the state store: slow, or away
container.py         one of Lambda's containers, frozen between requests
fleet.py             all of them, and who drives the policy's steps
calls.py             calls and races as the steps ask for them, with the world's accounts
clients.py           users and their SDKs
world.py             all of these together: scenario + seed + policy → books
scenarios.py         what is tried
baselines.py         what others do · powertools_breaker.py, headrace_policy.py · contenders.py: all by name
accounting.py        limits held against what really happened
scorecard.py         books → one score · timeline.py: books → seconds
runs.py              all combinations, on all cores
card.py plots.py page.py   what is printed, drawn, and put into docs/fleet.md
measure.py           the benchmark
"""

from benchmarks.fleet.measure import run

__all__ = ["run"]
