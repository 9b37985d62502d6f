"""The fake memory of ids and the one on a scratch file behave alike."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.batches.reading.duplicates import KEY_BYTES, SeenIds, key_of
from headrace.errors import StoreUnavailable
from headrace.fakes.batch_files import fake_ids
from headrace_aws.seen_ids import scratch_ids

Make = Callable[[], AbstractContextManager[SeenIds]]


@pytest.fixture(params=["fake", "scratch"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes an empty memory."""
    return fake_ids if request.param == "fake" else lambda: scratch_ids(str(tmp_path))


@pytest.fixture
def seen(make: Make) -> Iterator[SeenIds]:
    """An empty memory."""
    with make() as ids:
        yield ids


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=5))
def test_the_first_of_each_counts(make: Make, calls: list[list[int]]) -> None:
    """Positions of ids that came before, in earlier calls or the same one, in order."""
    known: set[int] = set()
    with make() as seen:
        for call in calls:
            expected = []
            for position, number in enumerate(call):
                if number in known:
                    expected.append(position)
                known.add(number)
            assert seen.add([key_of(str(number)) for number in call]) == expected


def test_many_ids_are_kept_apart(seen: SeenIds) -> None:
    """Twenty thousand at once, then one of them and a new one."""
    assert seen.add([key_of(str(number)) for number in range(20_000)]) == []
    assert seen.add([key_of("fresh"), key_of("19999")]) == [1]


def test_each_memory_is_empty_at_first(make: Make) -> None:
    """Two passes know nothing of each other, even at the same time."""
    with make() as one, make() as other:
        assert one.add([key_of("a")]) == other.add([key_of("a")]) == []


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The scratch file goes with the pass, and also when the pass fails."""

    def fail() -> None:
        with scratch_ids(str(tmp_path)) as seen:
            seen.add([key_of("a")])
            assert list(tmp_path.iterdir())
            raise ValueError("the pass failed")

    with pytest.raises(ValueError, match="the pass failed"):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """No folder, no memory: the run fails and is tried again."""
    with pytest.raises(StoreUnavailable), scratch_ids(str(tmp_path / "absent")):
        pass


def test_keys_are_short() -> None:
    """Whatever the id's length."""
    assert len(key_of("x" * 256)) == KEY_BYTES
