"""`python -m benchmarks batch_chaos`: processes killed at random, an endpoint that fails calls, doubled events.

Everything that chance decides is drawn from a seed: the input, which of its records are broken, when what is killed,
and by which door the batch begins. What the machine does in between is its own.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from benchmarks.batch_chaos_report import sum_up
from benchmarks.batch_client import BatchClient
from benchmarks.batch_files import URL, all_tweets
from benchmarks.batch_killer import Killer
from benchmarks.batch_memory import await_batch
from benchmarks.batch_platform import ENDPOINT, INCOMING, TENANT, Bench, batch_platform, declared
from benchmarks.batch_tally import RECORDS, Tally, join_files, write_input
from benchmarks.conditions import ROOT, conditions
from benchmarks.processes import SCRATCH
from benchmarks.report import Report, Target
from benchmarks.rounds import say
from endpoints.building import artifacts_root
from headrace.batches.layout import report_key
from headrace.batches.states import id_of_object
from infra_local.names import Names
from infra_local.plan import PlanError, read_plan

SEEDS, SEEDS_QUICK = tuple(range(1, 21)), (5, 6)
RAGING_EVERY = 5
"""In every fifth seed no scorer lives until shards have failed for good: then only a redrive helps."""
FAILING_RATE = 0.2
LATENCY_MS, JITTER_MS = 60.0, 60.0
"""So that a batch is long enough to be struck several times."""
REDRIVES_MAX = 4
BATCH_S_MAX = 300.0
HEALTHY_S_MAX = 60.0
DOUBLE_PAUSE_S = 0.5
LITE = "lite"
PACKAGES = ("onnxruntime", "aiohttp", "moto", "awslambdaric", "boto3")


def run(*, quick: bool = False) -> Report:
    """Let chaos rule, once for each seed.

    Args:
        quick: Two seeds.
    """
    seeds = SEEDS_QUICK if quick else SEEDS
    told = f"{RECORDS} records each, seeds {seeds[0]} to {seeds[-1]}"
    report = Report("batch_chaos", "Batches under chaos", conditions(PACKAGES, batches=told))
    endpoints, artifacts = _declared(SCRATCH / "batch-chaos-declared"), artifacts_root(ROOT, {})
    try:
        read_plan(endpoints, artifacts)
    except PlanError:
        report.targets.append(Target("every record once", "all seeds", "no artifact: run `make models`", None))
        return report
    texts = all_tweets()
    folder = SCRATCH / "batch-chaos-files"
    folder.mkdir(parents=True, exist_ok=True)
    tallies, failed = [], {}
    say("starting the platform")
    with batch_platform(name="batch-chaos", endpoints=endpoints, artifacts=artifacts) as bench:
        bench.allow_drops()
        for seed in seeds:
            try:
                tallies.append(_one(bench, texts, folder, seed=seed))
            except Exception as error:  # noqa: BLE001 - a seed that fails is told, and is not the last one
                failed[str(seed)] = f"{type(error).__name__}: {error}"
                say(f"seed {seed} failed: {failed[str(seed)]}")
            finally:
                bench.stack.fault(clear=True)
    sum_up(report, tallies, failed, seeds=len(seeds))
    report.raw = {"tallies": [asdict(tally) | {"exact": tally.exact} for tally in tallies], "failed": failed}
    return report


def _declared(folder: Path) -> Path:
    """The endpoint with its small model hosted, and rules to fall to: six hundred records take seconds."""
    file = declared(folder) / ENDPOINT / "endpoint.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    small = {name: value for name, value in document["versions"][LITE].items() if name not in {"hosting", "cost"}}
    document["versions"] = {LITE: {**small, "weight": 1}}
    document["fallback"] = [{"kind": "rules", "timeout_ms": 500}]
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return folder


def _one(bench: Bench, texts: list[str], folder: Path, *, seed: int) -> Tally:
    """One batch, from a healthy platform to files that are joined to its input."""
    file = folder / f"chaos-{seed}.jsonl"
    bad = write_input(file, texts, seed=seed)
    with bench.client() as client:
        _healthy(client)
        door = "dropped" if seed % 2 else "posted"
        begin = _Dropped if seed % 2 else _Posted
        bench.stack.fault(endpoint=ENDPOINT, kind="5xx", rate=FAILING_RATE)
        bench.stack.fault(endpoint=ENDPOINT, kind="latency", latency_ms=LATENCY_MS, jitter_ms=JITTER_MS)
        raging = seed % RAGING_EVERY == 0
        with Killer(bench.stack, seed=seed, prefix=Names().prefix, raging=raging) as killer:
            started = time.monotonic()
            begun = begin(bench, client, file)
            batch, redrives = settle(client, begun.batch_id, before_redrive=killer.relent)
            begun.again()  # what is over is not begun again
            seconds = time.monotonic() - started
        bench.stack.fault(clear=True)
        batch = client.look(begun.batch_id)
        results, errors = (
            client.fetch(batch[f"{kind}_file_id"], to=folder / f"chaos-{seed}-{kind}.jsonl")
            for kind in ("output", "error")
        )
    found = join_files(results, errors, bad=bad)
    tally = Tally(
        **asdict(found), seed=seed, door=door, records=RECORDS, kills=killer.kills, doubled=begun.doubled,
        redrives=redrives, state=batch["status"], adds_up=_adds_up(bench, begun.batch_id), seconds=seconds,
    )  # fmt: skip
    say(
        f"seed {seed} ({door}): {tally.state}, {tally.results} results, {tally.errors} errors, {tally.kills} kills, "
        f"{tally.redrives} redrives, {seconds:.0f} s: {'exact' if tally.exact else 'NOT EXACT'}"
    )
    if tally.exact:
        file.unlink()  # else whoever looks for the reason needs it
    return tally


class _Again:
    """What tells the platform of a batch once more, twice at once."""

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        self.doubled = 0

    def again(self) -> None:
        """Tell it again; what goes wrong with the message itself is nothing to a batch that has begun."""
        threads = [threading.Thread(target=self._tell) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.doubled += len(threads)

    def _tell(self) -> None:
        raise NotImplementedError


class _Dropped(_Again):
    """A file under the incoming prefix; its event comes again."""

    def __init__(self, bench: Bench, client: BatchClient, file: Path) -> None:
        store, bucket, key = bench.aws("s3"), Names().inputs_bucket, f"{INCOMING}{uuid.uuid4().hex}.jsonl"
        version = store.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())["VersionId"]
        super().__init__(id_of_object(bucket, key, version))
        self._functions = bench.aws("lambda")
        event = json.loads((ROOT / "events" / "batch_start" / "csv.json").read_bytes())
        event["detail"]["bucket"]["name"] = bucket
        event["detail"]["object"] |= {"key": key, "version-id": version, "size": file.stat().st_size}
        self._event = json.dumps(event).encode()
        self.again()
        await_batch(client, self.batch_id)

    def _tell(self) -> None:
        with suppress(Exception):
            self._functions.invoke(FunctionName=Names().batch_start, Payload=self._event)


class _Posted(_Again):
    """A file that was uploaded, and a batch that was asked for; its execution is begun again."""

    def __init__(self, bench: Bench, client: BatchClient, file: Path) -> None:
        super().__init__(client.begin(client.upload(file), endpoint=URL))
        self._machine = bench.aws("stepfunctions")
        time.sleep(DOUBLE_PAUSE_S)
        self.again()

    def _tell(self) -> None:
        with suppress(Exception):  # that there is such an execution is an answer
            self._machine.start_execution(
                stateMachineArn=Names().batch_machine_arn,
                name=self.batch_id,
                input=json.dumps({"tenant": TENANT, "batch_id": self.batch_id}),
            )


def settle(
    client: BatchClient, batch_id: str, *, before_redrive: Callable[[], None]
) -> tuple[dict[str, Any], int]:  # fmt: skip
    """The batch once it is over; one with shards that failed for good is redriven, as an operator would."""
    for redrives in range(REDRIVES_MAX + 1):
        batch = client.wait(batch_id, seconds=BATCH_S_MAX)
        if not batch["headrace"]["redrivable"]:
            break
        if redrives < REDRIVES_MAX:
            before_redrive()
            client.redrive(batch_id)
    return batch, redrives


def _healthy(client: BatchClient) -> None:
    """Return once the endpoint answers: a killed model takes some seconds to come back.

    Raises:
        Exception: It does not answer.
    """
    until = time.monotonic() + HEALTHY_S_MAX
    while True:
        try:
            client.classify("What a lovely flight!", version=LITE)
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(1.0)
        else:
            return


def _adds_up(bench: Bench, batch_id: str) -> bool:
    """What the batch's own report says; False without one."""
    with suppress(Exception):
        key = report_key(TENANT, batch_id)
        found = bench.aws("s3").get_object(Bucket=Names().batches_bucket, Key=key)
        return bool(json.loads(found["Body"].read())["adds_up"])
    return False
