"""What stands in the benchmark's comparisons is what the control plane does."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from lowtide.bench.counting import pool, world
from lowtide.bench.latency import CALLS_BEFORE
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command


class _Calls:
    def __init__(self) -> None:
        self.before_launch: Counter[Function] = Counter()
        self.launched = False

    def called(self, function: Function, operation: str, request: Mapping[str, object]) -> None:
        self.launched |= operation == "ec2.create_fleet"
        if operation.startswith("dynamodb.") and not self.launched:
            self.before_launch[function] += 1

    def ended(self, function: Function, *, crashed: bool) -> None: ...


def test_a_warm_stack_calls_its_table_so_often_before_it_calls_create_fleet() -> None:
    made, _ = world()
    made.apply(pool("bench", most=2))
    assert made.settle()
    made.send({"pool": "bench", "command": command(3_600), "id": "first"})  # reads prices and images, which stay known
    assert made.run(lambda: len(made.market.instances) == 1, timedelta(minutes=5))
    made.run_for(timedelta(minutes=2))
    calls = _Calls()
    made.observers.append(calls)
    made.send({"pool": "bench", "command": command(3_600), "id": "second"})
    assert made.run(lambda: len(made.market.instances) == 2, timedelta(minutes=5))
    assert (calls.before_launch[Function.INTAKE], calls.before_launch[Function.RECONCILE]) == CALLS_BEFORE
