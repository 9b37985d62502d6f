"""Records of files in the state table: `file#<tenant>` and `file-list#<tenant>`, see `headrace_aws.listed_records`."""

from __future__ import annotations

import json
from dataclasses import asdict

from headrace.files.files import File
from headrace_aws.listed_records import Listed, ListedRecords
from headrace_aws.state_table import StateTable


class FilesTable:
    """See `headrace.files.files`: `FileRecords` and `FileLists` at once.

    Raises (each call):
        StoreUnavailable: no answer in time; a write may have been made all the same.
    """

    def __init__(self, table: StateTable) -> None:
        self._records = ListedRecords(table, kind="file")

    def put(self, file: File) -> None:
        """Write a record, in the place of an earlier one of its id."""
        self._records.put(file.tenant, _listed(file))

    def get(self, tenant: str, file_id: str) -> File | None:
        """The record as it is now, or None."""
        text = self._records.get(tenant, file_id)
        return None if text is None else File(**json.loads(text))

    def delete(self, file: File) -> None:
        """Forget a file; one that is not there is forgotten already."""
        self._records.delete(file.tenant, _listed(file))

    def newest(self, tenant: str, *, limit: int, after: str = "", purpose: str = "") -> list[File]:
        """The newest first, those older than the file `after`, of this purpose if one is named."""
        last = self.get(tenant, after) if after else None
        found: list[File] = []
        for text in self._records.newest(tenant, after=None if last is None else _listed(last)):
            file = File(**json.loads(text))
            if purpose not in {"", file.purpose}:
                continue
            found.append(file)
            if len(found) == limit:
                break
        return found


def _listed(file: File) -> Listed:
    document = json.dumps(asdict(file), ensure_ascii=False, separators=(",", ":"))
    return Listed(file.file_id, document, file.created_at, file.expires_at)
