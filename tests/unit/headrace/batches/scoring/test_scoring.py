"""Scoring one shard: what is asked, what is written, and how a run ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headrace.batches.bounds import (
    EXECUTION_TIMEOUT_S,
    PART_BYTES_MAX,
    RECORD_ATTEMPTS_MAX,
    SCORE_MARGIN_S,
    WAIT_MIN_S,
)
from headrace.batches.scoring import window
from headrace.batches.scoring.fates import Again, Failed, Fate, Hold, Split, fate_of
from headrace.batches.scoring.parts import walk
from headrace.batches.scoring.posing import LANE
from headrace.batches.scoring.scorer import Scored
from headrace.batches.scoring.shard_run import HELD_S
from headrace.batches.states import AGE_MAX_S, Batch, Counts, Options, moved
from headrace.errors import (
    DeadlineTooShort,
    Forbidden,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    NothingServed,
    Overloaded,
    StoreUnavailable,
    UnknownTarget,
)
from headrace.fakes.asking import FakeAsker, FakeTraffic
from headrace.inference import InferenceResponse, Tensor
from headrace.invocation.policy import Invocation
from tests.unit.headrace.batches.world import BATCH, POISON, TENANT, World, model, texts_of, tweets

Outcome = tuple[float, InferenceResponse | HeadraceError]
DOWN = NothingServed("Down.", retry_after_s=1, attempts=(("sentiment/v1", "fault"),))


def run(world: World, *, seconds: float = 900.0, **changes: Any) -> Scored:
    """One run over the first shard."""
    return world.scorer(**changes).run(TENANT, BATCH, world.shards[0], until_s=world.clock.now + seconds)


def finished(world: World) -> World:
    """The world, its batch ended."""
    world.score_all()
    world.finisher().run(TENANT, BATCH, BATCH)
    return world


def test_a_shard_is_one_object_however_many_records_it_has() -> None:
    """A thousand records are one part: what is written is bounded by bytes and time, not by records."""
    world = World(tweets(1000))
    assert run(world).state == "done"
    assert sum("/parts/" in key for key in world.store.objects) == 1
    assert world.table.progress[TENANT, BATCH][0].counts == Counts(1000, 1000, 0, 0)
    assert world.table.progress[TENANT, BATCH][0].done


def test_what_is_done_is_not_asked_again() -> None:
    """A second run over a finished shard asks nothing."""
    world = World(tweets(20))
    run(world)

    def never(_: Invocation[list[Any]]) -> Outcome:
        raise AssertionError("asked")

    world.respond = never
    assert run(world) == Scored("done", at=world.shards[0].end)


def test_several_requests_are_in_flight_and_results_keep_their_order() -> None:
    """Answers come in any order; lines are in that of the input."""
    most = 0
    asker: list[FakeAsker] = []

    def respond(invocation: Invocation[list[Any]]) -> Outcome:
        nonlocal most
        most = max(most, asker[0].in_flight + 1)
        seconds, answer = model(invocation)
        return seconds * world.random.uniform(0.5, 3.0), answer

    world = World(tweets(600), respond=respond)

    class Kept:
        """Keeps the asker that it makes."""

        def __enter__(self) -> FakeAsker:
            asker[:] = [FakeAsker(world.respond, world.clock)]
            return asker[0]

        def __exit__(self, *_: object) -> None:
            """Nothing."""

    assert run(world, askers=Kept).state == "done"
    world.finisher().run(TENANT, BATCH, BATCH)
    assert most > 1
    assert [row["line"] for row in world.results()] == list(range(1, 601))


def test_a_record_that_the_model_refuses_is_found_among_the_others() -> None:
    """Its request is halved until it stands alone; its neighbours have their results."""
    lines = tweets(32)
    lines[13] = json.dumps({"custom_id": "bad", "text": POISON}).encode()
    world = finished(World(lines))
    assert [(row["line"], row["custom_id"], row["error"]["code"]) for row in world.errors()] == [
        (14, "bad", "input_refused")
    ]
    assert len(world.results()) == 31


def test_a_record_that_breaks_the_model_does_not_take_others_with_it() -> None:
    """After two failures its request is asked record by record, and only the one that breaks it ends in an error."""

    def respond(invocation: Invocation[list[Any]]) -> Outcome:
        return (0.01, DOWN) if POISON in texts_of(invocation) else model(invocation)

    lines = tweets(32)
    lines[13] = json.dumps({"custom_id": "bad", "text": POISON}).encode()
    world = finished(World(lines, respond=respond))
    assert [(row["line"], row["error"]["code"]) for row in world.errors()] == [(14, "temporarily_unavailable")]
    assert len(world.results()) == 31


def test_a_later_line_with_the_same_custom_id_is_an_error() -> None:
    """The first one counts; nobody asks for the second."""
    lines = [*tweets(3), tweets(1)[0]]
    world = finished(World(lines, duplicates=frozenset({4})))
    assert [(row["line"], row["error"]["code"]) for row in world.errors()] == [(4, "duplicate_custom_id")]


def test_a_run_ends_before_its_time_is_up_and_goes_on_from_there() -> None:
    """What was finished by then is a part; the next run begins behind it."""
    world = World(tweets(500), respond=lambda invocation: (0.1, model(invocation)[1]))
    first = run(world, seconds=SCORE_MARGIN_S + 1.0)
    assert first.state == "more"
    assert 0 < first.at < world.shards[0].end
    assert walk(world.store, TENANT, BATCH, world.shards[0]).at == first.at
    assert run(world).state == "done"
    assert len(finished(world).results()) == 500


def test_a_part_is_written_when_it_is_large_enough() -> None:
    """Memory holds a part and what is in flight, whatever the shard's size."""
    wide = {"custom_id": "x" * 200, "text": ["tweet number " + "x" * 30] * 8}
    world = World([json.dumps({**wide, "custom_id": f"{n:0200d}"}).encode() for n in range(5_000)], per_shard=5_000)
    assert run(world).state == "done"
    sizes = [len(body) for key, body in world.store.objects.items() if "/parts/" in key]
    assert len(sizes) >= 2
    assert max(sizes) < PART_BYTES_MAX + 100_000
    assert window.BYTES_MAX < 5 * PART_BYTES_MAX


@pytest.mark.parametrize("state", ["cancelling", "cancelled", "expired", "finalizing"])
def test_a_batch_that_is_to_end_is_not_begun(state: Any) -> None:
    """Whoever comes late asks nothing and writes nothing."""
    world = World(tweets(10))
    world.table.batches[TENANT, BATCH] = moved(world.batch, state, now=world.clock.now)
    assert run(world) == Scored("stopped", at=0)
    assert not [key for key in world.store.objects if "/parts/" in key]


def test_a_cancelled_batch_stops_within_seconds_and_keeps_what_is_finished() -> None:
    """The record is looked at every five seconds; what was answered by then is written."""
    world = World(tweets(1000), respond=lambda invocation: (1.0, model(invocation)[1]))
    began = world.clock.now

    class Cancelled(FakeTraffic):
        """Somebody cancels after three seconds."""

        def admitted_share(self, endpoint: str, tier: int) -> float:
            """The share."""
            if world.clock.now - began > 3 and world.batch.state == "in_progress":
                world.table.batches[TENANT, BATCH] = moved(world.batch, "cancelling", now=world.clock.now)
            return super().admitted_share(endpoint, tier)

    scored = run(world, traffic=Cancelled())
    assert scored.state == "stopped"
    assert scored.at > 0
    assert world.clock.now - began < 8
    end = world.finisher().run(TENANT, BATCH, BATCH)
    assert end.state == "cancelled"
    report = world.report()
    assert report["results"] == len(world.results()) > 0
    assert report["not_processed"] == 1000 - report["results"]


def test_a_batch_past_its_day_is_ended() -> None:
    """It is `expired`, and what was finished is kept."""
    world = World(tweets(10))
    world.clock.now += AGE_MAX_S + 1
    assert run(world).state == "stopped"
    assert world.finisher().run(TENANT, BATCH, BATCH).state == "expired"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Overloaded("Full.", retry_after_s=60.0), "overloaded"),
        (NothingServed("No.", retry_after_s=60, attempts=(("sentiment/v1", "circuit_open"),)), "circuit_open"),
        (LimitExceeded("Spent.", retry_after_s=3600.0, code="budget_exceeded"), "budget_exceeded"),
        (StoreUnavailable("Down."), "store_unavailable"),
    ],
)
def test_no_room_is_waited_for_without_a_function(error: HeadraceError, why: str) -> None:
    """A long pause ends the run, says why, and costs no attempt: all records are answered when there is room again."""
    until = [float("inf")]

    def respond(invocation: Invocation[list[Any]]) -> Outcome:
        return (0.01, error) if world.clock.now < until[0] else model(invocation)

    world = World(tweets(40), respond=respond)
    scored = run(world)
    assert scored.state == "paused"
    assert 5 <= scored.wait_s <= 330
    assert world.table.progress[TENANT, BATCH][0].paused == why
    for _ in range(3 * RECORD_ATTEMPTS_MAX):
        run(world, seconds=SCORE_MARGIN_S + 20)
    until[0] = 0.0
    world.clock.now += 3600.0
    assert len(finished(world).results()) == 40


def test_while_callers_wait_one_small_request_is_in_flight() -> None:
    """The batch steps aside for callers, and is still going on."""
    sizes: list[int] = []

    def respond(invocation: Invocation[list[Any]]) -> Outcome:
        sizes.append(invocation.items)
        return model(invocation)

    world = World(tweets(60), respond=respond, traffic=FakeTraffic(per_s=10.0))
    assert run(world).state == "done"
    assert max(sizes) <= 4


def test_requests_go_out_in_the_lane_of_batches_with_the_callers_budgets() -> None:
    """Tier, rate and concurrency are the batch plan's; what it costs is charged to the tenant's own budgets."""
    seen: list[Invocation[list[Any]]] = []

    def respond(invocation: Invocation[list[Any]]) -> Outcome:
        seen.append(invocation)
        return model(invocation)

    run(World(tweets(8), respond=respond, caller="free"))
    (first, *_) = seen
    assert (first.tenant, first.lane) == (TENANT, TENANT + LANE)
    assert (first.plan.tier, first.plan.concurrency) == (0, 64)
    assert first.plan.budgets == World(tweets(1)).catalog.plans["free"].budgets
    assert (first.cache_use, first.endpoint.hedge, first.endpoint.cache) == ("off", False, None)
    assert first.ladder == ()


def test_stand_ins_may_answer_only_when_attempts_run_out() -> None:
    """The primary is tried again and again first; with `degraded` off no stand-in is ever allowed."""
    for degraded in (True, False):
        ladders: list[bool] = []

        def respond(invocation: Invocation[list[Any]], seen: list[bool] = ladders) -> Outcome:
            seen.append(bool(invocation.ladder))
            return 0.01, DOWN

        world = World(tweets(1), options=Options("sentiment", "/v1/classifications", degraded=degraded))
        world.respond = respond
        assert run(world).state == "done"
        assert ladders == [False, False, False, False, degraded, degraded]


def test_images_are_read_beside_the_asking() -> None:
    """A record that names an object is asked once that is read; one that is missing is its own error."""
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 20
    found = InferenceResponse(
        (
            Tensor("boxes", "FP32", (1, 4), data=[1.0, 1.0, 5.0, 5.0]),
            Tensor("scores", "FP32", (1,), data=[0.9]),
            Tensor("labels", "BYTES", (1,), data=["cat"]),
            Tensor("size", "INT32", (2,), data=[10, 10]),
        )
    )
    names = [f"s3://inputs/tenants/acme/{number}.png" for number in range(30)]
    lines = [json.dumps({"image": {"s3": name}}).encode() for name in names]
    world = World(lines, options=Options("detection", "/v1/detections"), respond=lambda _: (0.01, found))
    world.images = dict.fromkeys(names[:-1], png)

    def load(_tenant: str, _endpoint: Any) -> Callable[[str], bytes]:
        def read(name: str) -> bytes:
            if name not in world.images:
                raise UnknownTarget("There is no such object.", code="object_not_found")
            return world.images[name]

        return read

    assert run(world, images=load).state == "done"
    world.finisher().run(TENANT, BATCH, BATCH)
    assert [row["result"]["detections"][0]["label"] for row in world.results()] == ["cat"] * 29
    assert [row["error"]["code"] for row in world.errors()] == ["object_not_found"]


def test_a_store_that_is_away_for_a_moment_is_waited_for() -> None:
    """A part is written again before the run gives up."""
    world = World(tweets(10))
    tries: list[int] = []
    once = world.store.write_once

    def fails_first(key: str, body: bytes) -> bool:
        tries.append(1)
        if len(tries) < 3:
            raise StoreUnavailable("Down.")
        return once(key, body)

    class Store:
        """The world's, with that writer."""

        read, write, chunks, writer, keys = (
            world.store.read, world.store.write, world.store.chunks, world.store.writer, world.store.keys
        )  # fmt: skip
        write_once = staticmethod(fails_first)

    assert run(world, store=Store()).state == "done"
    assert len(tries) == 3


def test_a_caller_whose_plan_is_gone_is_refused() -> None:
    """Nothing is asked in the name of a plan that nobody declares."""
    world = World(tweets(1), caller="gone")
    with pytest.raises(Forbidden):
        run(world)


def test_a_batch_that_is_not_there_is_not_scored() -> None:
    """Its record or its plan is gone."""
    world = World(tweets(1))
    world.table.batches.clear()
    with pytest.raises(UnknownTarget):
        run(world)


@pytest.mark.parametrize(
    ("error", "records", "attempts", "fate"),
    [
        (InvalidRequest("No."), 8, 0, Split()),
        (DeadlineTooShort("Late."), 8, 0, Split(wait_s=0.5, attempts=1)),
        (DOWN, 8, 0, Again(0.5, 1)),
        (DOWN, 8, 1, Split(alone=True, wait_s=1.0, attempts=2)),
        (DOWN, 1, 4, Again(7.5, 5)),
        (Overloaded("Full.", retry_after_s=3.0), 8, 5, Hold("overloaded", 3.0)),
        (LimitExceeded("Rate.", retry_after_s=1.0, code="rate_exceeded"), 8, 0, Hold("limit_exceeded", 1.0)),
        (LimitExceeded("Never.", code="budget_exceeded"), 8, 0, Split()),
        (ValueError("a bug"), 1, 0, Again(0.5, 1)),
    ],
)
def test_what_an_end_means(error: Exception, records: int, attempts: int, fate: Fate) -> None:
    """The record's fault is narrowed down, the endpoint's tried again, and no room is nobody's."""
    assert fate_of(error, records=records, attempts=attempts, chance=0.5) == fate


def test_an_end_that_is_final() -> None:
    """A single record's own fault at once; the endpoint's when attempts are used up, in words that help."""
    refusal = InvalidRequest("No.", code="input_refused")
    assert fate_of(refusal, records=1, attempts=0, chance=0.5) == Failed(refusal)
    final = fate_of(DOWN, records=1, attempts=RECORD_ATTEMPTS_MAX - 1, chance=0.5)
    assert isinstance(final, Failed)
    assert final.error.code == "temporarily_unavailable"
    late = fate_of(DeadlineTooShort("Late."), records=1, attempts=RECORD_ATTEMPTS_MAX - 1, chance=0.5)
    assert isinstance(late, Failed)
    assert "respond-async" not in late.error.message


def test_a_record_is_never_changed_by_scoring() -> None:
    """Only plan and finish move the batch; a scorer reads it."""
    world = World(tweets(10))
    before: Batch = replace(world.batch)
    run(world)
    assert world.batch == before


def test_a_number_that_is_too_large_for_a_float_is_its_records_error() -> None:
    """JSON's integers have no end, Python's neither: such a record must not take its shard with it."""
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    lines = [
        json.dumps({"image": {"base64": image}, name: 10**390}).encode() for name in ("threshold", "max_detections")
    ]
    world = finished(World(lines, options=Options("detection", "/v1/detections")))
    assert [(row["error"]["code"], row["error"]["field"]) for row in world.errors()] == [
        ("invalid_body", "threshold"), ("invalid_body", "max_detections")
    ]  # fmt: skip


def test_a_record_that_breaks_us_costs_itself() -> None:
    """Whatever we did not think of: one error that says so, and every other record is served."""

    def images(_tenant: str, _endpoint: Any) -> Callable[[str], bytes]:
        def load(_: str) -> bytes:
            raise ZeroDivisionError

        return load

    world = World([b'{"s3": "s3://inputs/tenants/acme/a.jpg"}'], options=Options("detection", "/v1/detections"))
    assert run(world, images=images).state == "done"
    world.finisher().run(TENANT, BATCH, BATCH)
    assert [row["error"]["code"] for row in world.errors()] == ["record_unreadable"]


def test_an_answer_that_makes_no_line_is_the_endpoints_fault() -> None:
    """It is asked for again, and given up like any other fault: the shard goes on."""

    def respond(invocation: Invocation[list[Any]]) -> Outcome:
        seconds, answer = model(invocation)
        if isinstance(answer, InferenceResponse):
            answer = replace(answer, parameters={"share": float("nan")})
        return seconds, answer

    inputs = [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["fine"]}]
    lines = [json.dumps({"custom_id": "a", "inputs": inputs}).encode()]
    world = finished(World(lines, options=Options("sentiment", "/v2/models/sentiment/infer"), respond=respond))
    assert [row["error"]["code"] for row in world.errors()] == ["attempt_failed"]
    assert world.batch.state == "completed"


def test_a_day_of_pauses_fits_the_history_of_an_execution() -> None:
    """A turn of Score, Choice and Wait is nine events, and an execution ends at 25,000 (Step Functions, "Quotas")."""
    turns = EXECUTION_TIMEOUT_S / (HELD_S + WAIT_MIN_S)
    assert 9 * turns < 25_000
