"""What planning reads, in memory: ids and tables (`headrace.batches.reading`), models (`headrace.batches.planning`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from headrace.batches.planning.transform import Hosted
from headrace.batches.reading.formats import Unusable
from headrace.batches.reading.tables import Kind
from headrace.batches.states import Source
from headrace.errors import StoreUnavailable, UnknownTarget

ROWS_AT_ONCE = 2


@dataclass(slots=True)
class FakeSeenIds:
    """`SeenIds` as a set."""

    keys: set[bytes] = field(default_factory=set)
    down: bool = False

    def add(self, keys: Sequence[bytes]) -> list[int]:
        """Remember keys; the positions of those that came before."""
        if self.down:
            raise StoreUnavailable("The fake is down.")
        again: list[int] = []
        for position, key in enumerate(keys):
            if key in self.keys:
                again.append(position)
            self.keys.add(key)
        return again


@contextmanager
def fake_ids() -> Iterator[FakeSeenIds]:
    """An empty memory of ids, as `headrace_aws.seen_ids.scratch_ids` makes one."""
    yield FakeSeenIds()


@dataclass(slots=True)
class FakeTable:
    """Columns with their kinds, and rows."""

    columns: tuple[tuple[str, Kind], ...]
    content: list[tuple[Any, ...]]

    def rows(self, names: Sequence[str]) -> Iterator[list[tuple[Any, ...]]]:
        """The rows' values in these columns, some at a time."""
        own = [name for name, _ in self.columns]
        picked = [own.index(name) for name in names]
        for at in range(0, len(self.content), ROWS_AT_ONCE):
            yield [tuple(row[index] for index in picked) for row in self.content[at : at + ROWS_AT_ONCE]]


@dataclass(slots=True)
class FakeTables:
    """Tables by the key of their object; a key that maps to None is no table."""

    tables: dict[str, FakeTable | None] = field(default_factory=dict)

    @contextmanager
    def open(self, source: Source) -> Iterator[FakeTable]:
        """The table in a file."""
        if source.key not in self.tables:
            raise UnknownTarget("The object is gone.", code="object_not_found")
        table = self.tables[source.key]
        if table is None:
            raise Unusable("The file is not Parquet.", code="parquet_invalid")
        yield table


@dataclass(slots=True)
class FakeHosting:
    """What versions run on, by endpoint and version."""

    known: dict[tuple[str, str], Hosted] = field(default_factory=dict)

    def hosted(self, endpoint: str, version: str) -> Hosted | None:
        """What a version runs on, or None."""
        return self.known.get((endpoint, version))
