"""Ids that came before, in a scratch file: ten million of them in some tens of megabytes of memory.

A table without row ids is one B-tree of the keys themselves. Nothing needs to survive a crash, so there is no journal
and no waiting for the disk. Keys go in sorted, which keeps neighbouring inserts on the same pages.

Source: SQLite, "Clustered Indexes and the WITHOUT ROWID Optimization" and "PRAGMA Statements".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from headrace.errors import StoreUnavailable

CACHE_KIB = 65_536
"""Pages that SQLite may keep in memory."""
_PRAGMAS = (
    "journal_mode = OFF",
    "synchronous = OFF",
    "locking_mode = EXCLUSIVE",
    f"cache_size = -{CACHE_KIB}",
)


@contextmanager
def scratch_ids(folder: str | None = None) -> Iterator[ScratchIds]:
    """An empty memory of ids, gone with the block. `folder` is where its file lies (the system's own, if None).

    Raises:
        StoreUnavailable: the file cannot be made.
    """
    try:
        with (
            TemporaryDirectory(prefix="headrace-ids-", dir=folder, ignore_cleanup_errors=True) as scratch,
            closing(sqlite3.connect(Path(scratch) / "seen.db", isolation_level=None)) as connection,
        ):
            yield ScratchIds(connection)
    except (sqlite3.Error, OSError):
        raise StoreUnavailable("The scratch file for ids cannot be used.") from None


class ScratchIds:
    """`SeenIds` in one table. Each key is kept with the number of the call that brought it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._calls = 0
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, call INTEGER NOT NULL) WITHOUT ROWID")
        # Never committed: keys fall on all pages alike, and each commit would write every page again.
        connection.execute("BEGIN")

    def add(self, keys: Sequence[bytes]) -> list[int]:
        """Remember keys; the positions of those that came before."""
        self._calls += 1
        fresh = sorted(set(keys))
        execute, call = self._connection.execute, self._calls
        rows = [(key, call) for key in fresh]
        added = self._connection.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", rows).rowcount
        if added == len(keys):
            return []
        mine = set(fresh)
        if added < len(fresh):
            found = "SELECT call FROM seen WHERE key = ?"
            mine = {key for key in fresh if execute(found, (key,)).fetchone()[0] == call}
        again: list[int] = []
        for position, key in enumerate(keys):
            if key in mine:
                mine.remove(key)
            else:
                again.append(position)
        return again
