"""What asks for batches: the real policy in one thread, calls in others, nothing held when a run is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from headrace.batches.scoring.asking import Ask
from headrace.batches.scoring.posing import Poser
from headrace.batches.scoring.scorer import Asker
from headrace.errors import InvalidRequest, NothingServed, TargetUnavailable
from headrace.fakes.policy import FakeStores
from headrace.fakes.targets import FakePrimary, FakeStandIn
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.policy import Answer
from headrace_aws.batch_asker import THREADS, BatchAsker, asking
from tests.unit.headrace.batches.world import TENANT, World, answer_to, tweets

Respond = Callable[[InferenceRequest], InferenceResponse]


def answer(request: InferenceRequest) -> InferenceResponse:
    """The model's."""
    return answer_to(list(request.inputs[0].data or []))


@contextmanager
def asker_over(
    respond: Respond, *, stores: FakeStores | None = None, stand_in: Respond | None = None
) -> Iterator[tuple[BatchAsker, Poser, FakeStores]]:
    """An asker over a model that is a function."""
    stores, world = stores or FakeStores(), World(tweets(1))
    rungs = {} if stand_in is None else {"cpu": stand_in}
    with asking(
        stores.policy(clock=time.monotonic),
        primary=FakePrimary(respond),
        stand_in=FakeStandIn(rungs),
        clock=time.monotonic,
        sleep=time.sleep,
    ) as asker:
        yield asker, Poser(world.batch, catalog=world.catalog, clock=time.monotonic), stores


def ask(text: str, line: int = 1) -> list[Ask]:
    """One record that asks for one text."""
    return [Ask(line, f"t{line}", openai=False, texts=[text], chars=len(text), size=len(text))]


def ends(asker: Asker, count: int) -> dict[int, Any]:
    """The next ends."""
    found: dict[int, Any] = {}
    while len(found) < count:
        found.update(asker.ended(wait_s=5.0))
    return found


def test_many_requests_are_in_flight_at_once() -> None:
    """As many calls wait for their answers at one time as were begun; none of them waits for another."""
    together = threading.Barrier(8, timeout=10)

    def respond(request: InferenceRequest) -> InferenceResponse:
        together.wait()  # all eight are here, or nobody goes on
        return answer(request)

    with asker_over(respond) as (asker, poser, _):
        for number in range(8):
            asker.ask(number, poser.invocation(ask(f"tweet {number}"), attempts=0))
        found = ends(asker, 8)
    assert sorted(found) == list(range(8))
    assert all(isinstance(end, Answer) and end.served_by == "sentiment/v1" for end in found.values())


def test_policy_code_runs_in_one_thread() -> None:
    """The answer is read, and chance drawn, where `ended` is waited for; only the call itself is elsewhere."""
    called, read = set(), set()

    def respond(request: InferenceRequest) -> InferenceResponse:
        called.add(threading.get_ident())
        return answer(request)

    with asker_over(respond) as (asker, poser, _):
        invocation = poser.invocation(ask("tweet"), attempts=0)
        reader = invocation.read

        def noted(response: InferenceResponse) -> list[Any]:
            read.add(threading.get_ident())
            return reader(response)

        object.__setattr__(invocation, "read", noted)
        asker.ask(1, invocation)
        ends(asker, 1)
    assert read == {threading.get_ident()}
    assert threading.get_ident() not in called


def test_a_refusal_of_the_model_is_the_end_of_its_request_alone() -> None:
    """What the model refuses comes back as that error, beside answers to the others."""

    def respond(request: InferenceRequest) -> InferenceResponse:
        if request.inputs[0].data == ["bad"]:
            raise InvalidRequest("No.", code="input_refused")
        return answer(request)

    with asker_over(respond) as (asker, poser, _):
        asker.ask(1, poser.invocation(ask("bad"), attempts=0))
        asker.ask(2, poser.invocation(ask("good"), attempts=0))
        found = ends(asker, 2)
    assert found[1].code == "input_refused"
    assert isinstance(found[2], Answer)


def test_a_pause_of_the_policy_keeps_nothing_else_waiting() -> None:
    """A transient failure is retried after the policy's own pause, and answered."""
    calls: list[int] = []

    def respond(request: InferenceRequest) -> InferenceResponse:
        calls.append(1)
        if len(calls) == 1:
            raise TargetUnavailable("Not yet.")
        return answer(request)

    with asker_over(respond) as (asker, poser, _):
        asker.ask(1, poser.invocation(ask("tweet"), attempts=0))
        assert isinstance(ends(asker, 1)[1], Answer)
    assert len(calls) == 2


def test_stand_ins_answer_only_on_the_last_attempts() -> None:
    """The primary's failure is first an error, and answered by the ladder, marked, when attempts run out."""

    def down(_: InferenceRequest) -> InferenceResponse:
        raise TargetUnavailable("Down.")

    with asker_over(down, stand_in=answer) as (asker, poser, _):
        asker.ask(1, poser.invocation(ask("tweet"), attempts=0))
        asker.ask(2, poser.invocation(ask("tweet"), attempts=5))
        found = ends(asker, 2)
    assert isinstance(found[1], NothingServed)
    assert (found[2].served_by, found[2].degraded) == ("sentiment/cpu", "unavailable")


def test_calls_that_block_end_with_their_result_or_error() -> None:
    """`fetch` tells what a call returned, or raised, under its number."""

    def broken() -> None:
        raise ValueError("no")

    with asker_over(answer) as (asker, _, _):
        asker.fetch(1, lambda: "read")
        asker.fetch(2, broken)
        found = ends(asker, 2)
    assert found[1] == "read"
    assert isinstance(found[2], ValueError)


def test_nothing_ends_when_nothing_was_begun() -> None:
    """Waiting for nothing takes its time, and tells of nothing."""
    with asker_over(answer) as (asker, _, _):
        assert asker.ended(wait_s=0.0) == []
        assert asker.ended(wait_s=0.01) == []


def test_what_is_under_way_is_given_back_at_the_end() -> None:
    """A run that ends with requests in flight leaves no place taken, in the batch's own lane or elsewhere."""
    go_on = threading.Event()

    def respond(request: InferenceRequest) -> InferenceResponse:
        go_on.wait(10)
        return answer(request)

    stores = FakeStores()
    with asker_over(respond, stores=stores) as (asker, poser, _):
        for number in range(THREADS):
            asker.ask(number, poser.invocation(ask("tweet"), attempts=0))
        assert any(f"{TENANT}~batch" in key for key in stores.slots.shelves)
        health = asker.policy.health
        assert health is not None
    go_on.set()
    assert not asker._waiting
