"""Who gets a job, and that nobody gets one twice."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.adapters import keys
from lambdas.adapters.faults import Conflict
from lambdas.adapters.leases import GRANT_INSTANCE
from lambdas.control.worker_calls import Claim
from lambdas.domain.jobs.fit import Part, Used, part_of
from lambdas.domain.jobs.jobs import JobState, Resources
from lambdas.domain.pools.pools import CapacityType, OnDemandFallback
from tests.ledger.world import GPU, World, pool


def claimed(answer: dict[str, Any]) -> list[str]:
    return [lease["job_id"] for lease in answer["leases"]]


def test_a_claim_runs_the_job_under_a_lease(world: World) -> None:
    world.job(
        "job", command=("python3", "train.py"), image="python:3.13", env=(("SEED", "1"),), timeout=timedelta(hours=1)
    )
    (lease,) = world.claim(world.instance())["leases"]
    assert lease == {
        **{"job_id": "job", "fence": 1, "attempt": 1, "pool": "gpu", "slots": 1, "command": ["python3", "train.py"]},
        **{
            "resources": None,
            "gpus": 1,
            "image": "python:3.13",
            "secrets": {},
            "job_role": False,
            "env": {"SEED": "1"},
            "inputs": [],
            "timeout_seconds": 3600.0,
            "used_seconds": 0.0,
        },
    }
    assert (world.record().state, world.record().instance_id) == (JobState.RUNNING, f"i-{1:017x}")


def test_a_claimed_job_is_in_no_queue(world: World) -> None:
    world.job()
    world.claim(world.instance())
    assert world.ledger.queue_head("gpu", 10) == ((), True)


def test_jobs_are_handed_out_by_priority_and_then_in_order_of_submission(world: World) -> None:
    for job_id, priority in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -100), ("f", 100)]:
        world.job(job_id, priority=priority)
    assert claimed(world.claim(world.instance(), most=6)) == ["f", "b", "d", "a", "c", "e"]


def test_a_job_that_does_not_fit_is_passed_over(world: World) -> None:
    world.job("large", slots=8)
    world.job("small", slots=2)
    assert claimed(world.claim(world.instance(), free=4, most=2)) == ["small"]


def test_what_ranks_behind_the_job_that_an_instance_is_kept_for_takes_no_slot_there(world: World) -> None:
    world.job("before", slots=1)
    world.job("wide", slots=8)
    world.job("behind", slots=1)
    world.job("aux", slots=0)
    instance = keep(world, "wide")
    assert claimed(world.claim(instance, free=4, most=4)) == ["before", "aux"]
    assert claimed(world.claim(world.instance(2), free=4, most=4)) == ["behind"]


def test_the_job_that_an_instance_is_kept_for_gets_it_when_it_fits(world: World) -> None:
    world.job("wide", slots=8)
    world.job("behind", slots=1)
    assert claimed(world.claim(keep(world, "wide"), most=4)) == ["wide"]


def test_an_instance_that_is_kept_for_a_job_that_waits_no_more_is_free_for_all(world: World) -> None:
    world.job("job", slots=1)
    assert claimed(world.claim(keep(world, "ended"))) == ["job"]


def keep(world: World, job_id: str) -> str:
    instance = world.instance()
    world.table.update(keys.pool("gpu"), keys.instance(instance), "SET kept_for = :job", values={":job": job_id})
    return instance


def test_a_claim_takes_no_more_than_the_table_says_is_free(world: World) -> None:
    instance = world.instance()
    for n in range(3):
        world.job(f"job-{n}", slots=4)
    assert len(claimed(world.claim(instance, "r-1", free=8, most=3))) == 2
    assert claimed(world.claim(instance, "r-2", free=8, most=3)) == []


def asks(vcpus: str, memory_mib: int = 1024, gpus: int = 0) -> Resources:
    return Resources(vcpus=Decimal(vcpus), memory_mib=memory_mib, gpus=gpus)


def used(world: World, instance: str) -> dict[str, Any]:
    stored = world.stored_instance(instance)
    return {name: stored[name] for name in ("used_slots", "used_vcpus", "used_memory_mib", "used_gpus", "used_aux")}


def counted(slots: int = 0, vcpus: object = 0, memory_mib: int = 0, gpus: int = 0, aux: int = 0) -> dict[str, Any]:
    names = ("used_slots", "used_vcpus", "used_memory_mib", "used_gpus", "used_aux")
    return dict(zip(names, (slots, vcpus, memory_mib, gpus, aux), strict=True))


def test_a_job_of_resources_takes_just_those(world: World) -> None:
    world.job("job", resources=asks("24.5", gpus=1))
    instance = world.instance()
    (lease,) = world.claim(instance, running={})["leases"]
    assert (lease["resources"], lease["gpus"]) == ({"vcpus": "24.5", "memory_mib": 1024, "gpus": 1}, 1)
    assert used(world, instance) == counted(vcpus=Decimal("24.5"), memory_mib=1024, gpus=1)


def test_what_a_job_of_resources_took_is_free_again_when_it_ends(world: World) -> None:
    world.job("job", resources=asks("24.5", gpus=1))
    instance = world.instance()
    world.claim(instance, running={})
    world.finish(instance, exit_code=0)
    assert used(world, instance) == counted()


def test_jobs_share_an_instance_while_each_of_the_three_suffices(world: World) -> None:
    """Of 96 vCPUs, 393,216 MiB and 8 GPUs."""
    for name, job in [
        ("vcpus", asks("60", 1024)),
        ("too many vcpus", asks("36.001", 1024)),
        ("memory", asks("1", 300_000)),
        ("too much memory", asks("1", 100_000)),
        ("gpus", asks("1", 1024, 7)),
        ("too many gpus", asks("1", 1024, 2)),
    ]:
        world.job(name.replace(" ", "-"), resources=job)
    world.job("slot", slots=1)
    assert claimed(world.claim(world.instance(), running={}, most=9)) == ["vcpus", "memory", "gpus", "slot"]


def test_slots_and_resources_share_an_instance_exactly(world: World) -> None:
    world.job("seven", slots=7)
    world.job("eighth", resources=asks("12", 49_152, 1))
    world.job("more", resources=asks("0.001", 1))
    assert claimed(world.claim(world.instance(), running={}, most=9)) == ["seven", "eighth"]


def test_a_worker_that_knows_slots_alone_is_given_whole_slots(world: World) -> None:
    for n in range(5):
        world.job(f"job-{n}", resources=asks("20", gpus=1))
    instance = world.instance()
    answer = world.claim(instance, free=8, most=9)
    assert claimed(answer) == [f"job-{n}" for n in range(4)]
    assert {lease["slots"] for lease in answer["leases"]} == {2}
    assert used(world, instance) == counted(slots=8)


@pytest.mark.parametrize("running", [None, {}])
def test_an_instance_from_before_resources_were_counted_is_read_by_its_slots(
    world: World, running: dict[str, Any] | None
) -> None:
    instance = world.instance()
    world.table.update(
        *(
            keys.pool("gpu"),
            keys.instance(instance),
            "SET used_slots = :five REMOVE used_vcpus, used_memory_mib, used_gpus",
        ),
        values={":five": 5},
    )
    world.job("too-large", resources=asks("36.001"))
    world.job("three", resources=asks("36"))
    assert claimed(world.claim(instance, free=3, running=running, most=9)) == ["three"]


def test_what_a_worker_still_runs_under_a_lease_that_is_over_is_not_given_again(world: World) -> None:
    world.job("large", resources=asks("50"))
    world.job("small", resources=asks("46"))
    answer = world.claim(world.instance(), running={"vcpus": "50", "memory_mib": 1024}, most=9)
    assert claimed(answer) == ["small"]


@pytest.mark.parametrize(
    "taken",
    [{"slots": 1}, {"resources": asks("0.001", 1)}, {"resources": asks("1", 1, 1)}],
    ids=["slots", "resources", "gpus"],
)
def test_a_grant_is_refused_once_more_is_used_than_it_was_reckoned_beside(world: World, taken: dict[str, Any]) -> None:
    wide, other = world.job("wide", slots=8), world.job("other", **taken)
    seat = world.workers.seat(world.instance())
    part = part_of(other.slots, other.resources, GPU, in_slots=False)
    assert part is not None
    given: dict[str, Any] = {"most_aux": 0, "request_id": "r", "now": world.clock()}
    world.leases.grant(other, seat.instance, part=part, beside=seat.used, **given)
    with pytest.raises(Conflict) as refused:
        world.leases.grant(wide, seat.instance, part=Part(slots=8), beside=seat.used, **given)
    assert refused.value.failed(GRANT_INSTANCE)
    assert world.record("wide").state == JobState.QUEUED


def test_a_grant_goes_through_where_less_is_used_than_it_was_reckoned_beside(world: World) -> None:
    world.job("first", resources=asks("48"))
    instance = world.instance()
    world.claim(instance, running={})
    seat, second = world.workers.seat(instance), world.job("second", slots=4)
    world.finish(instance, "first", exit_code=0)
    given: dict[str, Any] = {"most_aux": 0, "request_id": "r", "now": world.clock()}
    world.leases.grant(second, seat.instance, part=Part(slots=4), beside=seat.used, **given)
    assert used(world, instance) == counted(slots=4)


def test_auxiliary_jobs_are_packed_beside_slots(world: World) -> None:
    world.job("full", slots=8)
    world.job("aux", slots=0)
    instance = world.instance()
    assert claimed(world.claim(instance, most=2)) == ["full", "aux"]
    stored = world.stored_instance(instance)
    assert (stored["leases"], stored["used_slots"], stored["used_aux"]) == (2, 8, 1)


def test_auxiliary_jobs_stop_at_the_pools_bound() -> None:
    world = World(pools=[pool(max_aux_containers_per_agent=2)])
    for n in range(3):
        world.job(f"aux-{n}", slots=0)
    assert len(claimed(world.claim(world.instance(), most=3))) == 2


def test_a_claim_repeated_after_a_lost_answer_gives_the_same_leases(world: World) -> None:
    for n in range(4):
        world.job(f"job-{n}")
    instance = world.instance()
    first = world.claim(instance, "r-1", most=2)
    assert world.claim(instance, "r-1", most=2)["leases"] == first["leases"]


def test_another_claim_gives_other_jobs(world: World) -> None:
    for n in range(2):
        world.job(f"job-{n}")
    instance = world.instance()
    assert claimed(world.claim(instance, "r-1")) + claimed(world.claim(instance, "r-2")) == ["job-0", "job-1"]


def test_a_draining_instance_takes_no_new_job_and_may_power_off(world: World) -> None:
    world.job()
    instance = world.instance()
    world.heartbeat(instance, notice={"kind": "interruption", "at": "2026-01-05T09:02:00Z"})
    answer = world.claim(instance)
    assert (answer["leases"], answer["drain"], answer["power_off"]) == ([], True, True)


def test_a_draining_instance_with_a_lease_does_not_power_off(world: World) -> None:
    world.job()
    instance = world.instance()
    world.claim(instance)
    world.heartbeat(instance, ("job", 1), notice={"kind": "interruption", "at": "2026-01-05T09:02:00Z"})
    answer = world.claim(instance, "r-2")
    assert (answer["drain"], answer["power_off"]) == (True, False)


def test_an_instance_that_began_to_drain_since_it_was_read_gets_no_lease(world: World) -> None:
    world.job()
    instance = world.instance()
    seat = world.workers.seat(instance)
    drain = "SET #state = :draining"
    world.table.update(
        *(keys.pool("gpu"), keys.instance(instance), drain),
        names={"#state": "state"},
        values={":draining": "draining"},
    )

    asked = Claim(request_id="r-1", free_slots=8, free_aux_slots=0, most=1)
    assert world.api.claims.claim(seat, asked, world.clock()).granted == ()
    assert world.record().state == JobState.QUEUED


def test_a_job_that_ran_and_came_back_since_it_was_read_is_not_granted_under_an_old_fence(world: World) -> None:
    job = world.job()
    slow, quick = world.workers.seat(world.instance(1)), world.instance(2)
    world.claim(quick)
    world.finish(quick, exit_code=1, interrupted=True)
    with pytest.raises(Conflict):
        world.leases.grant(
            job, slow.instance, part=Part(slots=1), beside=Used(), most_aux=0, request_id="r", now=world.clock()
        )
    assert (world.record().state, world.record().fence) == (JobState.QUEUED, 1)


@pytest.mark.parametrize("change", [{"paused": True}, {"deleted": True}])
def test_a_paused_or_deleted_pool_hands_out_nothing(world: World, change: dict[str, Any]) -> None:
    world.job()
    world.config.put_pool(replace(pool(), **change), 1, now=world.clock())
    assert world.claim(world.instance())["leases"] == []


def test_an_instance_of_a_type_that_the_pool_gave_up_gets_nothing(world: World) -> None:
    world.job()
    world.config.put_pool(pool(types=(replace(pool().types[0], name="p3.2xlarge"),)), 1, now=world.clock())
    assert world.claim(world.instance())["leases"] == []


def test_a_claim_ends_idleness(world: World) -> None:
    world.job()
    instance = world.instance()
    world.claim(instance)
    assert "idle_since" not in world.stored_instance(instance)


def test_a_hundred_workers_claiming_at_once_get_a_job_each_and_none_twice() -> None:
    world = World()
    for n in range(100):
        world.job(f"job-{n}", slots=8)
    workers = [(world.instance(n), world.worker_api(seed=n)) for n in range(1, 101)]

    def claim_until_given(number: int) -> str:

        instance, api = workers[number]
        for turn in range(100):
            asked = Claim(request_id=f"{instance}-{turn}", free_slots=8, free_aux_slots=0, most=1)
            if leases := api.claim(instance, asked)["leases"]:
                return leases[0]["job_id"]
        raise AssertionError(f"worker {number} never got a job")

    with ThreadPoolExecutor(100) as threads:
        given = list(threads.map(claim_until_given, range(100)))
    assert sorted(given) == sorted(f"job-{n}" for n in range(100))
    assert all(world.stored_instance(instance)["leases"] == 1 for instance, _ in workers)


def test_an_idle_worker_waits_longer_the_longer_it_is_idle(world: World) -> None:
    instance = world.instance()
    waits: list[float] = []
    for _ in range(4):
        waits.append(world.claim(instance)["next_call_seconds"])
        world.clock.advance(timedelta(seconds=100))
    assert 1.8 <= waits[0] <= 2.2
    assert waits[0] < waits[1] < waits[2]
    assert waits[3] <= 66


def test_a_worker_that_got_a_job_may_ask_again_at_once(world: World) -> None:
    instance = world.instance()
    world.clock.advance(timedelta(hours=1))
    world.job()
    assert world.claim(instance)["next_call_seconds"] <= 2.2


def test_a_worker_with_places_for_auxiliary_jobs_alone_asks_as_seldom_as_it_beats(world: World) -> None:
    instance = world.instance()
    world.job(slots=8)
    answer = world.claim(instance)
    assert claimed(answer) == ["job"]
    again = world.claim(instance, "r-2", free=0)
    assert [27 <= each["next_call_seconds"] <= 33 for each in (answer, again)] == [True, True]


def test_a_large_fleets_idle_workers_ask_less_often(world: World) -> None:
    instance = world.instance()
    world.table.update(keys.pool("gpu"), keys.STATE, "SET summary = :s", values={":s": {"running": 200}})
    assert world.claim(instance)["next_call_seconds"] >= 18


@pytest.mark.parametrize(
    ("job", "instance", "given"),
    [
        ({"on_demand": "never"}, {"capacity_type": CapacityType.ON_DEMAND}, False),
        ({"on_demand": "never"}, {"capacity_type": CapacityType.SPOT}, True),
        ({"on_demand": "always"}, {"capacity_type": CapacityType.SPOT}, False),
        ({"on_demand": "always"}, {"capacity_type": CapacityType.ON_DEMAND}, True),
        ({"spot_max_price": "0.5"}, {"price_limit": Decimal("0.51")}, False),
        ({"spot_max_price": "0.5"}, {"price_limit": Decimal("0.5")}, True),
        ({"spot_max_price": "0.5"}, {"price_limit": None}, False),
        ({"spot_max_price": "9"}, {"price_limit": None}, True),
    ],
)
def test_no_job_starts_on_a_lifecycle_or_under_a_limit_that_it_forbids(
    job: dict[str, Any], instance: dict[str, Any], given: bool
) -> None:
    world = World(pools=[pool(on_demand_fallback=OnDemandFallback())])
    world.take(world.message(id="job-1", **job))
    name = world.instance(**instance)
    assert claimed(world.claim(name)) == (["job-1"] if given else [])


def test_what_a_rush_of_workers_leaves_behind_is_handed_out_next_in_order() -> None:
    """Who loses a race looks further down the queue; whatever is passed over that way stays first in line."""
    world = World()
    for n in range(60):
        world.job(f"job-{n:02}", slots=8)
    workers = [(world.instance(n), world.worker_api(seed=n)) for n in range(1, 61)]

    def claimed(number: int) -> list[str]:
        instance, api = workers[number]
        asked = Claim(request_id=f"{instance}-rush", free_slots=8, free_aux_slots=0, most=1)
        return [lease["job_id"] for lease in api.claim(instance, asked)["leases"]]

    with ThreadPoolExecutor(40) as threads:
        rush = list(threads.map(claimed, range(40)))
    given = [job_id for leases in rush for job_id in leases]
    left = sorted({f"job-{n:02}" for n in range(60)} - {*given})
    assert len(given) == len({*given}) >= 20
    idle = [number for number in range(60) if number >= 40 or not rush[number]]
    assert [job_id for number in idle for job_id in claimed(number)] == left
