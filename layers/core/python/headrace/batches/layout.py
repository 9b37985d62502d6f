"""Where what belongs to a batch lies in the bucket of batches: below its tenant, one folder per batch.

    tenants/<tenant>/batches/<batch>/plan.json                 what was decided, and what every shard needs to know
                                    /shards.json               the list that the state machine maps over
                                    /staged/<n>.jsonl          the records as lines, where the file itself is not lines
                                    /duplicates/<shard>.json   lines whose custom_id came before, where there are any
                                    /parts/<shard>/<start>     what was finished, each written once
                                    /ends.json                 how far each shard was when its run was merged
                                    /transform/…               requests, and answers as SageMaker writes them
                                    /results.jsonl, /errors.jsonl, /report.json

A shard is a range of bytes at record boundaries, a part is a range that was finished in one go. The parts of a shard
follow on each other: the first begins where the shard does, each later one where the one before it ended.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """Bytes `start` to `end` (exclusive) of the lines; `line` is the number of the first one, counted from 1.

    `records` is how many the plan counted in it, `duplicates` whether some of them came before.
    """

    number: int
    start: int
    end: int
    line: int
    records: int
    duplicates: bool = False


def folder(tenant: str, batch_id: str) -> str:
    """Where everything of one batch lies, with a slash at the end."""
    return f"tenants/{tenant}/batches/{batch_id}/"


def plan_key(tenant: str, batch_id: str) -> str:
    """The plan."""
    return f"{folder(tenant, batch_id)}plan.json"


def shards_key(tenant: str, batch_id: str, *, redrives: int = 0) -> str:
    """The list to map over: all shards, or those that a redrive found unfinished."""
    return f"{folder(tenant, batch_id)}shards{f'-r{redrives}' if redrives else ''}.json"


def staged_key(tenant: str, batch_id: str) -> str:
    """The records as lines."""
    return f"{folder(tenant, batch_id)}staged.jsonl"


def duplicates_key(tenant: str, batch_id: str, shard: int) -> str:
    """Lines of a shard whose custom_id an earlier line has."""
    return f"{folder(tenant, batch_id)}duplicates/{shard:06d}.json"


def parts_prefix(tenant: str, batch_id: str, shard: int | None = None) -> str:
    """Where parts lie: of the batch, or of one shard."""
    return f"{folder(tenant, batch_id)}parts/" + ("" if shard is None else f"{shard:06d}/")


def part_key(tenant: str, batch_id: str, shard: int, start: int) -> str:
    """The part of a shard that begins at byte `start`: keys sort as the bytes do."""
    return f"{parts_prefix(tenant, batch_id, shard)}{start:016d}"


def ends_key(tenant: str, batch_id: str, *, redrives: int = 0) -> str:
    """How far each shard was when a run was merged: whoever merges it once more merges the same."""
    return f"{folder(tenant, batch_id)}ends{f'-r{redrives}' if redrives else ''}.json"


def transform_prefix(tenant: str, batch_id: str) -> str:
    """Where requests for a transform job lie, and its answers."""
    return f"{folder(tenant, batch_id)}transform/"


def results_key(tenant: str, batch_id: str) -> str:
    """Results, a line each, in the order of the input."""
    return f"{folder(tenant, batch_id)}results.jsonl"


def errors_key(tenant: str, batch_id: str) -> str:
    """Errors, a line each, in the order of the input (of a transform job: those that could not be asked come first)."""
    return f"{folder(tenant, batch_id)}errors.jsonl"


def report_key(tenant: str, batch_id: str) -> str:
    """The report."""
    return f"{folder(tenant, batch_id)}report.json"
