"""A wide job that narrow ones pass over gets an instance kept free for it."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.fleet.actions import Keep
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.jobs import Resources
from lambdas.domain.plan.plan import plan
from tests.domain.build import NOW, ago, instance, job, lease, pool, snapshot
from tests.domain.effects import applied, claimed, finished
from tests.domain.plans import counts, everywhere, of, planned

FULL = pool(max_instances=2)
LONG = {"submitted_at": ago(660), "queued_at": ago(660)}


def busy(*free: int) -> dict[str, Any]:
    """So many instances of 8 slots, with so many slots free on each; every running job takes one."""
    running = [(f"i-{n}", f"run-{n}-{k}") for n, left in enumerate(free) for k in range(8 - left)]
    return {
        "instances": tuple(instance(f"i-{n}", idle_since=None) for n in range(len(free))),
        "leases": tuple(lease(name, place, slots=1) for place, name in running),
    }


def keeps(**world: Any) -> list[tuple[str, str | None]]:
    return [(each.instance_id, each.job_id) for each in of(Keep, planned(**world))]


def test_a_wide_job_that_waited_long_gets_the_instance_that_has_least_to_wait_for() -> None:
    wide = job(8, **LONG)
    assert keeps(pool=FULL, queue=(wide, job(1)), **busy(1, 3)) == [("i-1", wide.job_id)]


def test_before_its_time_nothing_is_kept() -> None:
    assert keeps(pool=FULL, queue=(job(8, queued_at=ago(599)), job(1)), **busy(1, 3)) == []


def test_the_time_is_the_pools() -> None:
    assert (
        len(
            keeps(
                pool=replace(FULL, starvation_after=timedelta(minutes=5)),
                queue=(job(8, queued_at=ago(300)),),
                **busy(1, 3),
            )
        )
        == 1
    )


def test_a_job_for_which_an_instance_is_asked_for_needs_none_kept() -> None:
    decided = planned(pool=pool(max_instances=3), queue=(job(8, **LONG),), **busy(1, 3))
    assert (of(Keep, decided), counts(decided)) == ([], [1])


def test_where_ec2_has_no_capacity_one_is_kept_although_the_pool_may_grow() -> None:
    wide = job(8, **LONG)
    assert keeps(pool=pool(max_instances=3), queue=(wide,), marks=everywhere(), **busy(1, 3)) == [("i-1", wide.job_id)]


def test_a_job_of_one_slot_is_passed_over_by_nobody() -> None:
    assert keeps(pool=FULL, queue=(job(1, **LONG), job(1)), **busy(0, 0)) == []


def asks(vcpus: int) -> Resources:
    return Resources(vcpus=Decimal(vcpus), memory_mib=1024)


def test_a_job_of_one_slot_among_smaller_ones_of_resources_starves_like_a_wide_one() -> None:
    one = job(1, **LONG)
    running = tuple(lease(f"run-{n}", f"i-{n % 2}", slots=1, resources=asks(6)) for n in range(32))
    here = tuple(instance(f"i-{n}", idle_since=None) for n in range(2))
    assert keeps(pool=FULL, queue=(one,), instances=here, leases=running) == [("i-0", one.job_id)]


def test_a_job_of_resources_among_its_like_is_passed_over_by_nobody() -> None:
    waiting = job(1, resources=asks(6), **LONG)
    running = tuple(lease(f"run-{n}", f"i-{n % 2}", slots=1, resources=asks(6)) for n in range(32))
    here = tuple(instance(f"i-{n}", idle_since=None) for n in range(2))
    assert keeps(pool=FULL, queue=(waiting,), instances=here, leases=running) == []


def test_each_of_several_gets_an_instance_of_its_own_in_rank_order() -> None:
    first, second, third = (job(6, **LONG) for _ in range(3))
    wanted = [("i-0", second.job_id), ("i-1", first.job_id)]
    assert sorted(keeps(pool=FULL, queue=(first, second, third), **busy(1, 3))) == wanted


def test_an_instance_stays_kept_while_another_comes_nearer() -> None:
    wide = job(8, **LONG)
    world = busy(1, 3)
    world["instances"] = (replace(world["instances"][0], kept_for=wide.job_id), world["instances"][1])
    assert keeps(pool=FULL, queue=(wide,), **world) == []


def test_an_instance_that_ec2_advises_to_leave_is_kept_for_nobody() -> None:
    wide = job(8, **LONG)
    world = busy(1, 3)
    world["instances"] = (world["instances"][0], replace(world["instances"][1], rebalance_at=ago(5)))
    assert keeps(pool=FULL, queue=(wide,), **world) == [("i-0", wide.job_id)]


def test_an_instance_is_kept_no_longer_than_its_job_waits() -> None:
    world = busy(1, 3)
    world["instances"] = (replace(world["instances"][0], kept_for="gone"), world["instances"][1])
    assert keeps(pool=FULL, queue=(job(1),), **world) == [("i-0", None)]


def test_a_kept_instance_has_no_room_for_others_in_the_plan() -> None:
    wide = job(8, **LONG)
    world = busy(7, 0)
    world["instances"] = (replace(world["instances"][0], kept_for=wide.job_id), world["instances"][1])
    growing = pool(max_instances=4)
    assert counts(planned(pool=growing, queue=(wide, job(1)), **world)) == [2]
    world["instances"] = (replace(world["instances"][0], kept_for=None), world["instances"][1])
    assert counts(planned(pool=growing, queue=(wide, job(1)), **world)) == [1]


def test_a_wide_job_starts_in_a_steady_stream_of_narrow_ones() -> None:
    """Two instances of 8 slots at the pool's maximum; every half minute three jobs of four minutes arrive, more than
    there is room for. The wide one starts within `starvation_after` (10 minutes), one pass and what ran."""
    started = _started_after(timedelta(minutes=10))
    assert started is not None
    assert started <= timedelta(minutes=15)


def test_without_it_the_wide_job_never_starts() -> None:
    assert _started_after(timedelta(days=1)) is None


def _started_after(patience: timedelta) -> timedelta | None:
    """Virtual time until the wide job holds a lease; None: not within two hours."""
    wide = job(8, job_id="wide", submitted_at=NOW, queued_at=NOW)
    world = snapshot(
        pool=pool(max_instances=2, starvation_after=patience),
        instances=tuple(instance(f"i-{n}", idle_since=None) for n in range(2)),
        leases=tuple(
            lease(f"run-{n}-{k}", f"i-{n}", slots=1, claimed_at=_stagger(k)) for n in range(2) for k in range(8)
        ),
        queue=(wide,),
    )
    for step in range(240):
        now = NOW + timedelta(seconds=30 * step)
        narrow = tuple(job(1, submitted_at=now, queued_at=now) for _ in range(3))
        world = _worked(replace(world, queue=(*world.queue, *narrow)), now)
        if any(each.job_id == "wide" for each in world.leases):
            return now - NOW
        if step % 2 == 0:
            world = applied(world, plan(world, now), now)
    return None


def _stagger(number: int) -> datetime:
    return ago(30 * number)


def _worked(world: Snapshot, now: datetime) -> Snapshot:
    """What ran for four minutes ends, and workers take what they are given."""
    for each in world.leases:
        if now - each.claimed_at >= timedelta(minutes=4):
            world = finished(world, each.job_id, now)
    alive = tuple(replace(each, heartbeat_at=now) for each in world.instances)
    world = replace(world, instances=alive, leases=tuple(replace(each, renewed_at=now) for each in world.leases))
    for each in world.instances:
        world = claimed(world, each, now)
    return world


def test_one_that_has_no_place_takes_none_from_jobs_that_ask_for_something_else() -> None:
    nowhere = [job(8, job_id=f"nowhere-{n}", spot_max_price=Decimal("0.01"), **LONG) for n in range(2)]
    wide, half = job(8, job_id="wide", **LONG), job(4, job_id="half", **LONG)
    assert keeps(pool=FULL, queue=(*nowhere, wide, half), **busy(1, 3)) == [("i-0", "half"), ("i-1", "wide")]


def test_jobs_that_ask_for_the_same_have_a_place_each_while_there_are_any() -> None:
    wide = [job(8, job_id=f"wide-{n}", **LONG) for n in range(4)]
    assert [each for _, each in keeps(pool=FULL, queue=tuple(wide), **busy(1, 3))] == ["wide-1", "wide-0"]
