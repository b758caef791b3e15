"""Jobs with a deadline in the plan: what each is to run on, who goes first, and the numbers that are told."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.buying import availability
from lambdas.domain.documents import document_of, value_of
from lambdas.domain.fleet.actions import Keep, Launch, Move
from lambdas.domain.fleet.fleet import InstanceState
from lambdas.domain.fleet.snapshot import Snapshot, Stretch
from lambdas.domain.jobs.jobs import JobSpec
from lambdas.domain.jobs.recurrence import learned, recurs_as
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.jobs.work import Kept, Standing, kept_after, seconds_left
from lambdas.domain.plan.outlook import chance_on_spot
from lambdas.domain.plan.plan import Plan, plan
from lambdas.domain.plan.urgency import Verdict, Way
from lambdas.domain.pools.pools import CapacityType, OnDemandFallback
from tests.domain.build import (
    NOW,
    ON_DEMAND,
    SPOT,
    after,
    ago,
    instance,
    job,
    lease,
    pool,
    snapshot,
)
from tests.domain.plans import everywhere, interrupted, market, of, planned

HOUR = 3600
ALLOWED = OnDemandFallback()
OWNER = pool(on_demand_fallback=ALLOWED)
DRY: dict[str, Any] = {"marks": everywhere()}


def timely(deadline: float, work: float = HOUR, **changes: Any) -> Any:
    """Seconds from now, and of work."""
    return job(**{"job_id": "timely", "deadline": after(deadline), "estimated_seconds": Decimal(work), **changes})


def asked(decided: Plan) -> dict[str, int]:
    return {launch.request.capacity_type: launch.request.count for launch in of(Launch, decided)}


def verdict(decided: Plan, job_id: str = "timely") -> Verdict:
    return next(each for each in decided.verdicts if each.job_id == job_id)


# --- a waiting job ----------------------------------------------------------------------------------------------------


def test_with_time_enough_spot_is_asked_for() -> None:
    assert asked(planned(pool=OWNER, queue=(timely(20 * HOUR),))) == {SPOT: 1}


def test_in_a_dry_market_it_waits_while_that_is_safe_and_is_bought_on_demand_when_not() -> None:
    assert asked(planned(pool=OWNER, queue=(timely(20 * HOUR),), **DRY)) == {}
    tight = planned(pool=OWNER, queue=(timely(HOUR + 15 * 60),), **DRY)
    assert asked(tight) == {ON_DEMAND: 1}
    assert verdict(tight).struck
    assert of(Launch, tight)[0].kept_for == ("timely",)


def test_the_guard_counts_launch_restore_tick_lease_and_save() -> None:
    """5 min for a launch nobody has seen yet, 1 for the look, 1 to restore; kept back 1 + 5 + 5; and the look."""
    needed = HOUR + (5 + 1 + 1) * 60 + (1 + 5 + 5) * 60 + 60
    just, late = (verdict(planned(pool=OWNER, queue=(timely(needed + s),), **DRY)) for s in (1, 0))
    assert (just.struck, just.on_demand_at) == (False, after(1))
    assert (late.struck, late.on_demand_at) == (True, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"pool": pool()},
        {"queue": (timely(HOUR, on_demand=OnDemand.NEVER),)},
    ],
)
def test_what_the_owner_or_the_job_forbids_no_deadline_buys(changes: dict[str, Any]) -> None:
    world: dict[str, Any] = {"pool": OWNER, "queue": (timely(HOUR),), **DRY, **changes}
    decided = planned(**world)
    assert asked(decided) == {}
    assert not verdict(decided).allowed
    assert "best effort" in verdict(decided).why


def test_the_owners_cap_holds_for_deadlines_too() -> None:
    owner = pool(on_demand_fallback=OnDemandFallback(max_instances=1))
    queue = tuple(timely(HOUR, job_id=f"timely-{n}") for n in range(3))
    assert asked(planned(pool=owner, queue=queue, **DRY)) == {ON_DEMAND: 1}


def test_a_deadline_takes_the_place_of_the_owners_waiting_time() -> None:
    owner = pool(on_demand_fallback=OnDemandFallback(after=timedelta(minutes=10)))
    waited: dict[str, Any] = {"queued_at": ago(HOUR)}
    world: dict[str, Any] = {"pool": owner, "unfulfilled_since": ago(HOUR), **DRY}
    assert asked(planned(queue=(job(**waited),), **world)) == {ON_DEMAND: 1}
    assert asked(planned(queue=(timely(40 * HOUR, **waited),), **world)) == {}


def test_a_deadline_that_has_passed_or_that_nothing_tells_of_changes_nothing() -> None:
    for waiting in (timely(-60), timely(HOUR, estimated_seconds=None)):
        decided = planned(pool=OWNER, queue=(waiting,), **DRY)
        assert asked(decided) == {}
        assert (verdict(decided).way, verdict(decided).struck) == (None, False)


def test_what_earlier_attempts_kept_is_not_to_be_done_again() -> None:
    kept = timely(HOUR + 20 * 60, kept_seconds=Decimal(3000))
    assert verdict(planned(pool=OWNER, queue=(kept,), **DRY)).work_seconds == 600
    assert not verdict(planned(pool=OWNER, queue=(kept,), **DRY)).struck


def test_an_interrupted_job_is_replaced_by_on_demand_once_waiting_is_not_safe() -> None:
    told: dict[str, Any] = {"deadline": after(HOUR), "estimated_seconds": Decimal(2 * HOUR)}
    held = lease("timely", **told, ran_seconds=Decimal(5000), saved_seconds=Decimal(4400))
    decided = planned(pool=OWNER, instances=(interrupted(),), leases=(held,))
    assert asked(decided) == {ON_DEMAND: 1}
    assert verdict(decided).work_seconds == 2 * HOUR - 4400


def test_one_that_runs_on_spot_stays_however_near_the_deadline() -> None:
    held = lease("timely", deadline=after(HOUR), estimated_seconds=Decimal(HOUR), ran_seconds=Decimal(60))
    decided = planned(pool=OWNER, instances=(instance(idle_since=None),), leases=(held,))
    assert decided.actions == ()
    assert (verdict(decided).way, verdict(decided).runs_on) == (Way.SPOT, SPOT)


# --- who goes first ---------------------------------------------------------------------------------------------------


def test_within_a_priority_the_job_whose_deadline_bears_no_waiting_goes_first() -> None:
    first, high = job(job_id="first"), job(job_id="high", priority=1)
    world: dict[str, Any] = {"pool": OWNER, "instances": (instance(),), **DRY}
    (keep,) = of(Keep, planned(queue=(first, timely(HOUR)), **world))
    assert (keep.instance_id, keep.job_id) == ("i-1", "timely")
    assert of(Keep, planned(queue=(high, timely(HOUR)), **world)) == []


def test_what_is_kept_for_a_deadline_is_nobody_elses_and_is_not_bought_twice() -> None:
    bought = instance(capacity_type=ON_DEMAND, kept_for="timely")
    queue = (job(job_id="first", priority=9), timely(HOUR))
    decided = planned(pool=OWNER, instances=(bought,), queue=queue, **DRY)
    assert (asked(decided), of(Keep, decided)) == ({}, [])


# --- back to spot -----------------------------------------------------------------------------------------------------


def on_demand(**changes: Any) -> dict[str, Any]:
    """A job on an on-demand instance that is old enough, with 10 h for 4 h of work."""
    told: dict[str, Any] = {"deadline": after(10 * HOUR), "estimated_seconds": Decimal(4 * HOUR)}
    told |= {"ran_seconds": Decimal(60), "saved_seconds": Decimal(30), **changes}
    bought = instance(capacity_type=ON_DEMAND, launched_at=ago(2000), idle_since=None)
    return {"pool": OWNER, "instances": (bought,), "leases": (lease("timely", **told),), "prices": market("2")}


def test_where_it_pays_a_spot_instance_is_asked_for_beside_the_on_demand_one() -> None:
    decided = planned(**on_demand())
    assert asked(decided) == {SPOT: 1}
    assert of(Move, decided) == []
    assert "to come back from on-demand" in of(Launch, decided)[0].why


def test_once_that_instance_runs_the_job_moves_and_not_before() -> None:
    world = on_demand()
    for state, moves in ((InstanceState.LAUNCHING, 0), (InstanceState.RUNNING, 1)):
        new = instance("i-2", state=state, launched_at=ago(60))
        decided = plan(snapshot(**{**world, "instances": (*world["instances"], new)}), NOW)
        assert (len(of(Move, decided)), asked(decided)) == (moves, {})


def test_a_move_that_was_told_is_not_told_again() -> None:
    world = on_demand(moving_since=ago(10))
    new = instance("i-2", launched_at=ago(60))
    draining = instance(capacity_type=ON_DEMAND, state=InstanceState.DRAINING, launched_at=ago(2000), idle_since=None)
    decided = plan(snapshot(**{**world, "instances": (draining, new)}), NOW)
    assert decided.actions == ()


@pytest.mark.parametrize(
    "changes",
    [{"saved_seconds": None}, {"deadline": after(4 * HOUR + 600)}, {"estimated_seconds": Decimal(120)}],
)
def test_one_that_saved_nothing_has_no_time_or_is_nearly_done_stays(changes: dict[str, Any]) -> None:
    decided = planned(**on_demand(**changes))
    assert (asked(decided), of(Move, decided)) == ({}, [])


def test_before_return_after_in_a_dry_market_or_beside_an_ordinary_job_nobody_moves() -> None:
    world = on_demand()
    young = instance(capacity_type=ON_DEMAND, launched_at=ago(600), idle_since=None)
    assert asked(planned(**{**world, "instances": (young,)})) == {}
    assert asked(planned(**world, **DRY)) == {}
    both = (*world["leases"], lease("other"))
    assert asked(planned(**{**world, "leases": both})) == {}


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_without_deadlines_the_policy_is_not_loaded_and_nothing_is_told() -> None:
    assert planned(pool=OWNER, queue=(job(),), **DRY).verdicts == ()


def test_a_kept_snapshot_plans_the_same() -> None:
    world = snapshot(
        **{**on_demand(), "queue": (timely(HOUR, job_id="next"),)},
        availability=(Stretch(up=True, since=ago(7200), until=ago(60)),),
    )
    again = Snapshot.from_document(world.to_document())
    assert again == world
    assert plan(again, NOW) == plan(world, NOW)


def test_what_was_thought_is_among_the_notes() -> None:
    (note,) = planned(pool=OWNER, queue=(timely(20 * HOUR),), **DRY).notes
    assert note.startswith("job timely: 1h of work and 18h53m of slack until 2026-11-24 11:00:00 UTC: spot: waiting")


def test_work_left_by_estimate_by_progress_and_by_both() -> None:
    assert seconds_left(Decimal(7200), Decimal(1800), None) == 5400
    assert seconds_left(None, Decimal(1800), Decimal("0.25")) == 5400
    assert seconds_left(Decimal(3600), Decimal(1800), Decimal("0.25")) == 5400
    assert seconds_left(None, Decimal(1800), None) is None
    assert seconds_left(None, Decimal(5), Decimal("0.001")) is None
    assert seconds_left(Decimal(3600), Decimal(4000), None) == 360


def test_an_attempt_adds_what_it_saved_and_takes_nothing_away() -> None:
    before = Kept(seconds=Decimal(100), progress=Decimal("0.1"), restoring_seconds=Decimal(20))
    saved = Standing(ran_seconds=Decimal(60), saved_seconds=Decimal(50), saved_progress=Decimal("0.2"))
    after_it = kept_after(before, saved, Decimal(30))
    assert (after_it.seconds, after_it.progress, after_it.restoring_seconds) == (150, Decimal("0.2"), 30)
    assert kept_after(before, Standing(ran_seconds=Decimal(60)), None) == before


def test_runs_are_of_the_same_by_their_name_or_else_by_what_they_run() -> None:
    plain = JobSpec(job_id="a", pool="gpu", command=("train",))
    other = JobSpec(job_id="b", pool="gpu", command=("test",))
    assert recurs_as(plain) != recurs_as(other)
    assert recurs_as(plain) == recurs_as(JobSpec(job_id="c", pool="gpu", command=("train",), env=(("SEED", "1"),)))
    named = [
        JobSpec(job_id=e.job_id, pool="gpu", command=e.command, tags=(("name", "nightly"),)) for e in (plain, other)
    ]
    assert len(set(map(recurs_as, named))) == 1
    assert learned([Decimal(3), Decimal(9), Decimal(5)]) == 9


# --- what the pool has seen -------------------------------------------------------------------------------------------


def recorded(*before: Stretch, **world: Any) -> tuple[Stretch, ...]:
    return planned(pool=OWNER, availability=before, queue=(job(),), **world).availability


def test_the_record_grows_while_the_market_stays_and_turns_with_it() -> None:
    down = Stretch(up=False, since=ago(600), until=ago(60))
    assert recorded(down, **DRY) == (Stretch(up=False, since=ago(600), until=NOW),)
    served: dict[str, Any] = {"instances": (instance(),)}
    assert recorded(down, **served) == (down, Stretch(up=True, since=NOW, until=NOW))


def test_without_evidence_nothing_is_noted_and_what_nobody_saw_is_no_stretch() -> None:
    down = Stretch(up=False, since=ago(9000), until=ago(8000))
    assert recorded(down) == (down,)
    assert recorded(down, **DRY) == (down, Stretch(up=False, since=NOW, until=NOW))
    old = Stretch(up=False, since=ago(5 * 86_400), until=ago(4 * 86_400))
    assert recorded(old) == ()


def test_the_record_is_bounded() -> None:
    many = tuple(Stretch(up=n % 2 == 0, since=ago(90_000 - n * 60), until=ago(90_000 - n * 60)) for n in range(300))
    assert len(recorded(*many, **DRY)) == availability.KEPT


def test_the_chance_on_spot_is_that_of_the_past_going_on() -> None:
    record = tuple(
        Stretch(up=up, since=ago(24 * HOUR - n * HOUR), until=ago(24 * HOUR - (n + 1) * HOUR))
        for n, up in enumerate([True, True, True, False] * 6)
    )
    short, long = (
        verdict(planned(pool=OWNER, queue=(timely(6 * HOUR, work),), availability=record, **DRY))
        for work in (HOUR, 5.9 * HOUR)
    )
    assert chance_on_spot(short, record, NOW) == 1.0
    assert chance_on_spot(long, record, NOW) == 0.0
    assert chance_on_spot(short, (), NOW) is None


def test_verdicts_are_told_of_running_jobs_too() -> None:
    decided = planned(**on_demand())
    found = verdict(decided)
    assert (found.runs_on, found.work_seconds) == (CapacityType.ON_DEMAND, 4 * HOUR - 60)
    assert value_of(Verdict, document_of(found)) == found
