"""A small closed loop: what the parts do to each other over time."""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.fleet.actions import Launch
from lambdas.domain.fleet.fleet import InstanceState, Lease
from lambdas.domain.fleet.fleet_view import counted, view
from lambdas.domain.plan.plan import plan
from lambdas.domain.reasons import OwnCode
from lowtide.bench.mixes import mix
from tests.domain.build import (
    NOW,
    ago,
    job,
    pool,
    snapshot,
)
from tests.domain.effects import applied, claimed, finished
from tests.domain.plans import ended, launched, of
from tests.domain.worlds import TYPES


class Loop:
    """A pool, its workers and a kind or unkind EC2 under a virtual clock, in steps of twenty seconds."""

    step = timedelta(seconds=20)

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = NOW
        self.done: set[str] = set()
        types = self.chance.choice([TYPES, TYPES[:2], TYPES[2:]])
        least = self.chance.choice([0, 0, 1])
        owner = pool(
            types=types, min_instances=least, max_instances=self.chance.randint(2, 6), spot_max_price=Decimal(2)
        )
        largest = max(facts.slots for facts in types)
        self.jobs = [job(self.chance.randint(0, largest), submitted_at=ago(n), queued_at=ago(n)) for n in range(25)]
        self.world = snapshot(pool=owner, queue=tuple(self.jobs))

    def run(self, *, troubled: int, quiet: int) -> None:
        for step in range(troubled + quiet):
            self._tick(trouble=step < troubled)

    def _tick(self, *, trouble: bool) -> None:
        self.now += self.step
        self._market(trouble)
        self._workers(trouble)
        decided = plan(self.world, self.now)
        present = counted(view(self.world, self.now), self.world.intentions)
        assert present + launched(decided) <= max(self.world.pool.max_instances, present)
        assert not ended(decided) & {each.instance_id for each in self.world.leases}
        assert not decided.numbers.unfulfilled or decided.reasons
        refusing = self.chance.choice([None, None, *REFUSALS]) if trouble else None
        self.world = applied(self.world, decided, self.now, refusing=refusing)

    def _market(self, trouble: bool) -> None:
        """EC2 announces and carries out ends; terminated instances are gone after a while."""
        fleet = []
        for each in self.world.instances:
            if trouble and each.ends_at is None and self.chance.random() < 0.03:
                each = replace(each, state=InstanceState.DRAINING, ends_at=self.now + timedelta(seconds=120))
            over = each.ends_at and each.ends_at <= self.now
            asked = each.termination_requested_at
            if (
                over
                or (asked and self.now - asked > timedelta(seconds=60))
                or (trouble and self.chance.random() < 0.01)
            ):
                each = replace(each, observed_state="terminated")
            fleet.append(each)
        self.world = replace(self.world, instances=tuple(fleet))

    def _workers(self, trouble: bool) -> None:
        for each in self.world.instances:
            alive = each.observed_state != "terminated" and each.termination_requested_at is None
            if not alive or self.now - each.launched_at < timedelta(seconds=60):
                continue
            if trouble and self.chance.random() < 0.1:
                continue  # silent in this step
            self._call(each.instance_id)

    def _call(self, instance_id: str) -> None:
        """A worker's call: it finishes or releases jobs, renews its leases, and claims what fits."""
        (each,) = (i for i in self.world.instances if i.instance_id == instance_id)
        first = each.reported_at is None
        state = InstanceState.RUNNING if each.state is InstanceState.LAUNCHING else each.state
        called = replace(each, state=state, reported_at=each.reported_at or self.now, heartbeat_at=self.now)
        self._put(replace(called, idle_since=self.now if first else each.idle_since))
        for held in [each for each in self.world.leases if each.instance_id == instance_id]:
            if self.chance.random() < 0.2:
                self.world = finished(self.world, held.job_id, self.now)
                assert held.job_id not in self.done
                self.done.add(held.job_id)
            else:
                self._renew(held)
        (each,) = (i for i in self.world.instances if i.instance_id == instance_id)
        self.world = claimed(self.world, each, self.now)
        if any(held.instance_id == instance_id for held in self.world.leases):
            self._put(replace(each, idle_since=None))

    def _put(self, changed: Any) -> None:
        fleet = tuple(changed if i.instance_id == changed.instance_id else i for i in self.world.instances)
        self.world = replace(self.world, instances=fleet)

    def _renew(self, held: Lease) -> None:
        leases = tuple(replace(each, renewed_at=self.now) if each is held else each for each in self.world.leases)
        self.world = replace(self.world, leases=leases)


REFUSALS = ["InsufficientInstanceCapacity", "SpotMaxPriceTooLow", "MaxSpotInstanceCountExceeded", "InternalError"]


@pytest.mark.parametrize("seed", range(12))
def test_when_trouble_stops_every_job_finishes_and_the_pool_rests_at_its_minimum(seed: int) -> None:
    loop = Loop(seed)
    loop.run(troubled=120, quiet=400)
    assert loop.done == {each.job_id for each in loop.jobs}
    assert len(loop.world.instances) == loop.world.pool.min_instances
    decided = plan(loop.world, loop.now)
    assert (decided.actions, decided.reasons, decided.due) == ((), (), None)


def at(later: timedelta) -> datetime:
    return NOW + later


def test_at_rest_nothing_changes_however_late_it_is() -> None:
    loop = Loop(1)
    loop.run(troubled=0, quiet=400)
    fresh = [replace(i, heartbeat_at=at(timedelta(days=30))) for i in loop.world.instances]
    assert plan(replace(loop.world, instances=tuple(fresh)), at(timedelta(days=30))).actions == ()


@pytest.mark.parametrize("seed", [36, 39, 52, 79])
def test_what_a_pass_launched_for_mixed_jobs_is_enough_for_the_next_one(seed: int) -> None:
    """Mixes whose jobs best fit does not place again on the very instances that were launched for them."""
    mixed = mix(seed)
    types = tuple(replace(each.facts, on_demand_price=each.price) for each in mixed.candidates)
    bounds = {"max_instances": 999, "max_aux_containers_per_agent": mixed.aux}
    world = snapshot(
        pool=pool(types=types, spot=False, spot_max_price=None, **bounds),
        queue=tuple(job(each.slots, resources=each.resources) for each in mixed.jobs),
    )
    decided = plan(world, NOW)
    while OwnCode.DEFERRED in {reason.code for reason in decided.reasons}:
        world = applied(world, decided, NOW)
        decided = plan(world, NOW)
    assert of(Launch, decided) != []
    assert of(Launch, plan(applied(world, decided, NOW), NOW)) == []
