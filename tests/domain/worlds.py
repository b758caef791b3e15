"""Worlds that a plan may meet, drawn by hypothesis: every field takes what it can hold."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from lambdas.domain.fleet.fleet import InstanceState
from lambdas.domain.fleet.snapshot import Snapshot, Stretch
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.pools.pools import OnDemandFallback
from tests.domain.build import (
    ON_DEMAND,
    SPOT,
    ZONES,
    after,
    ago,
    instance,
    intention,
    job,
    kind,
    lease,
    mark,
    pool,
    price,
    request,
    snapshot,
)

TYPES = (kind("t1", 1, "0.5"), kind("t4", 4, "1.9"), kind("t8", 8, "4"))
NAMES = st.sampled_from([facts.name for facts in TYPES])
PAST = st.integers(0, 2000).map(ago)
SOON = st.integers(1, 2000).map(after)


@st.composite
def instances(draw: st.DrawFn, number: int) -> Any:
    name = draw(NAMES)
    state = draw(st.sampled_from(InstanceState))
    called = None if state is InstanceState.LAUNCHING else draw(PAST)
    return instance(
        f"i-{number}",
        state=state,
        instance_type=name,
        slots={facts.name: facts.slots for facts in TYPES}[name],
        zone=draw(st.sampled_from(ZONES)),
        launched_at=draw(PAST),
        reported_at=called,
        heartbeat_at=called,
        idle_since=called,
        ends_at=draw(st.none() | SOON),
        rebalance_at=draw(st.none() | PAST),
        capacity_type=draw(st.sampled_from([SPOT, SPOT, ON_DEMAND])),
        price_limit=draw(st.sampled_from([None, Decimal("0.2"), Decimal(5)])),
        observed_state=draw(st.sampled_from([None, "pending", "running", "shutting-down", "terminated", "gone"])),
        termination_requested_at=draw(st.none() | PAST) if state is InstanceState.DRAINING else None,
    )


FALLBACKS = [
    *(None, None, OnDemandFallback(after=timedelta(minutes=5)), OnDemandFallback(after_interruptions=1)),
    OnDemandFallback(after=timedelta(), return_after=timedelta(minutes=5), max_instances=1),
]
TIMELY = st.sampled_from([{}, {}, *({"deadline": after(s)} for s in (-60, 600, 4_000, 40_000))])
ESTIMATES = st.sampled_from([None, Decimal(300), Decimal(7200)])
STANDINGS = st.sampled_from([{}, {"ran_seconds": Decimal(90), "saved_seconds": Decimal(60)}])
RECORDS = st.sampled_from([(), (Stretch(up=True, since=ago(9000), until=ago(5000)),)])


@st.composite
def queued(draw: st.DrawFn) -> QueuedJob:
    return job(
        draw(st.integers(0, 9)),
        **draw(TIMELY),
        estimated_seconds=draw(ESTIMATES),
        queued_at=draw(PAST),
        interruptions=draw(st.integers(0, 2)),
        on_demand=draw(st.sampled_from(["auto", "auto", "never", "always"]).map(OnDemand)),
        spot_max_price=draw(st.sampled_from([None, None, Decimal("0.3"), Decimal(5)])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    queue = tuple(draw(queued()) for _ in range(draw(st.integers(0, 12))))
    waiting = st.sampled_from([None, None, "job-that-ended", *(each.job_id for each in queue)])
    fleet = tuple(replace(draw(instances(n)), kept_for=draw(waiting)) for n in range(draw(st.integers(0, 5))))
    names = [each.instance_id for each in fleet] + ["i-stranger"]
    leases = tuple(
        lease(
            f"run-{n}",
            draw(st.sampled_from(names)),
            slots=draw(st.integers(0, 8)),
            renewed_at=draw(PAST),
            estimated_seconds=draw(ESTIMATES),
            **draw(TIMELY),
            **draw(STANDINGS),
        )
        for n in range(draw(st.integers(0, 4)))
    )
    intentions = tuple(
        intention(
            f"d-{n}",
            request=request(draw(st.integers(1, 3)), limit=draw(st.sampled_from(["0.4", "9"])), types=("t1", "t8")),
            not_after=draw(PAST | SOON),
            clean_observations=draw(st.integers(0, 3)),
            adopted=draw(st.integers(0, 2)),
        )
        for n in range(draw(st.integers(0, 2)))
    )
    codes = ["InsufficientInstanceCapacity", "SpotMaxPriceTooLow", "UnauthorizedOperation", "NeverHeardOf"]
    marks = tuple(
        mark(
            draw(st.sampled_from(codes)),
            draw(st.sampled_from([*ZONES, "*"])),
            instance_type=draw(NAMES | st.just("*")),
            capacity_type=draw(st.sampled_from([SPOT, ON_DEMAND])),
            until=draw(PAST | SOON),
        )
        for _ in range(draw(st.integers(0, 4)))
    )
    least = draw(st.integers(0, 2))
    owner = pool(
        types=draw(st.sampled_from([TYPES, TYPES[:1], TYPES[1:]])),
        min_instances=least,
        max_instances=draw(st.integers(max(least, 1), 8)),
        spot=draw(st.booleans()),
        spot_max_price=draw(st.sampled_from([None, Decimal("0.4"), Decimal(9)])),
        paused=draw(st.booleans()) and draw(st.booleans()),
        deleted=draw(st.booleans()) and draw(st.booleans()),
        applied_at=draw(st.none() | PAST),
        warm_instances=draw(st.integers(0, 1)),
        on_demand_base=draw(st.sampled_from([0, 0, 1])),
        on_demand_fallback=draw(st.sampled_from(FALLBACKS)),
        max_hourly_cost=draw(st.sampled_from([None, None, Decimal(3)])),
        max_instance_lifetime=draw(st.sampled_from([None, timedelta(minutes=10)])),
        launch_error_timeout=draw(st.sampled_from([timedelta(), timedelta(), timedelta(minutes=30)])),
    )
    return snapshot(
        pool=owner,
        instances=fleet,
        leases=leases,
        intentions=intentions,
        marks=marks,
        queue=queue,
        unfulfilled_since=draw(st.none() | PAST),
        queue_complete=draw(st.booleans()),
        prices=tuple(
            price(draw(st.sampled_from(["0.1", "0.5", "20"])), zone, facts.name)
            for facts in owner.types
            for zone in ZONES
            if draw(st.booleans())
        ),
        availability=draw(RECORDS),
        stack_closing=draw(st.booleans()) and draw(st.booleans()),
        outage_ended_at=draw(st.none() | PAST),
    )
