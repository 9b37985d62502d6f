"""What a million rows of a batch are taken to cost."""

import pytest

from benchmarks.batch_costs import Transitions, batch_cost, instance_cost, transitions_of, work_of
from benchmarks.batch_notes import Sum
from benchmarks.traffic.prices import MILLION, Prices
from infra_cdk.stages import PROD
from infra_local.machines import BATCH_MACHINE

SCORED = Sum(runs=4, seconds=8.0, cpu_s=2.0, peak_mb=120.0, calls={"S3 PutObject": 8, "DynamoDB GetItem batch": 4})


def test_transitions_are_those_of_the_machine_that_is_deployed() -> None:
    """Seven states around the map; a child begins, scores, is judged and ends; a further run enters two more."""
    ways = transitions_of(BATCH_MACHINE)
    assert ways == Transitions(batch=7, shard=4, again=2)
    assert ways.of(shards=3, runs=5) == 7 + 12 + 4
    assert ways.of(shards=3, runs=0) == 7 + 12


def test_costs_are_those_of_all_invocations_for_a_million_rows() -> None:
    """Seconds, calls and transitions, each at its price; CPU alone is cheaper than waiting."""
    prices = Prices()
    memory_mb = {name: scale.memory_mb for name, scale in PROD.functions.items()}

    def cost(*, cpu_only: bool) -> dict[str, float]:
        return batch_cost(
            {"batch_score": SCORED}, memory_mb=memory_mb, rows=1_000, transitions=19, prices=prices, cpu_only=cpu_only
        )

    found = cost(cpu_only=False)
    billed = 4 * prices.invocation + 8.0 * memory_mb["batch_score"] / 1024 * prices.gb_second
    assert found["Lambda"] == pytest.approx(billed / 1_000 * MILLION)
    assert found["Step Functions"] == pytest.approx(19 * prices.transition * 1_000)
    assert found["S3, SQS, secrets"] == pytest.approx(8 * prices.object_write * 1_000)
    assert found["DynamoDB"] == pytest.approx(4 * prices.read_unit * 1_000)
    assert cost(cpu_only=True)["Lambda"] < found["Lambda"]


def test_calls_of_the_endpoint_cost_nothing_here() -> None:
    """Its instances are paid by the hour, and stand apart."""
    asked = Sum(1, 1.0, 1.0, 1.0, {"SageMaker InvokeEndpoint": 500, "DynamoDB PutItem": 3})
    work = work_of(asked, memory_mb=1024)
    assert work.calls == {"DynamoDB PutItem": 3}
    assert (work.write_units, work.read_units) == (6.0, 0.0)
    assert instance_cost(3_600, rows=MILLION, hourly=1.5) == pytest.approx(1.5)
