"""Job records in the state table: `pk` = `job#<tenant>`, `sk` = the job's id, moved by conditional writes.

Ids sort as their jobs were accepted, so a tenant's newest jobs are one query of its own items.
"""

from __future__ import annotations

from headrace.errors import StoreUnavailable
from headrace.jobs.states import Job, JobState
from headrace_aws.state_table import ConditionFailed, Item, StateTable, key

_STATES: dict[str, JobState] = {
    "queued": "queued",
    "running": "running",
    "sent": "sent",
    "done": "done",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
}


class JobsTable:
    """See `headrace.jobs.offers.JobRecords` and `headrace.jobs.offers.JobLists`."""

    def __init__(self, table: StateTable) -> None:
        self._table = table

    def create(self, job: Job) -> None:
        """Write a new record.

        Raises:
            StoreUnavailable: not written, or nobody knows.
        """
        try:
            self._table.put(_item(job), ConditionExpression="attribute_not_exists(pk)")
        except ConditionFailed:
            raise StoreUnavailable("There is a job of that id: mint again.") from None

    def get(self, tenant: str, job_id: str) -> Job | None:
        """The record as it is now, or None: a consistent read, for a state decides whether work is done twice.

        Raises:
            StoreUnavailable: no answer in time.
        """
        item = self._table.get(_pk(tenant), job_id, consistent=True)
        return None if item is None else _job(tenant, item)

    def move(self, before: Job, after: Job) -> bool:
        """Write `after` if the record still has the state and attempts of `before`.

        Raises:
            StoreUnavailable: no answer in time; it may have moved all the same.
        """
        try:
            self._table.put(
                _item(after),
                ConditionExpression="#state = :state AND attempts = :attempts",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={":state": {"S": before.state}, ":attempts": {"N": str(before.attempts)}},
            )
        except ConditionFailed:
            return False
        return True

    def newest(self, tenant: str, *, limit: int, after: str = "") -> list[Job]:
        """The newest first, those older than the job `after`. A read that may lag behind writes.

        Raises:
            StoreUnavailable: no answer in time.
        """
        values = {":pk": {"S": _pk(tenant)}} | ({":after": {"S": after}} if after else {})
        items = self._table.query(
            KeyConditionExpression="pk = :pk" + (" AND sk < :after" if after else ""),
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            Limit=limit,
        )
        return [_job(tenant, item) for item in items]


def _pk(tenant: str) -> str:
    return f"job#{tenant}"


def _item(job: Job) -> Item:
    return {
        **key(_pk(job.tenant), job.job_id),
        "state": {"S": job.state},
        "attempts": {"N": str(job.attempts)},
        "created_ms": {"N": str(round(job.created_at * 1000))},
        "lease_ms": {"N": str(round(job.lease_until * 1000))},
        "answer_status": {"N": str(job.status)},
        "answer_code": {"S": job.code},
        "key_id": {"S": job.key_id},
        "ended_ms": {"N": str(round(job.ended_at * 1000))},
        "webhook": {"S": job.webhook},
        "told": {"BOOL": job.told},
        "place": {"N": str(job.place)},
        "rounds": {"N": str(job.rounds)},
        "waits": {"N": str(job.waits)},
        "sent_until_ms": {"N": str(round(job.sent_until * 1000))},
        "expires_at": {"N": str(int(job.expires_at))},
    }


def _job(tenant: str, item: Item) -> Job:
    return Job(
        tenant=tenant,
        job_id=item["sk"]["S"],
        created_at=int(item["created_ms"]["N"]) / 1000,
        state=_STATES[item["state"]["S"]],
        attempts=int(item["attempts"]["N"]),
        lease_until=int(item["lease_ms"]["N"]) / 1000,
        status=int(item["answer_status"]["N"]),
        code=item["answer_code"]["S"],
        key_id=item["key_id"]["S"],
        ended_at=int(item["ended_ms"]["N"]) / 1000,
        webhook=item["webhook"]["S"],
        told=item["told"]["BOOL"],
        place=int(item["place"]["N"]),
        rounds=int(item["rounds"]["N"]),
        waits=int(item["waits"]["N"]),
        sent_until=int(item["sent_until_ms"]["N"]) / 1000,
    )
