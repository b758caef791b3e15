"""`launch_error_timeout`: a launch error that stands stops launches, and fails jobs that wait for one."""

from datetime import timedelta
from typing import Any

import pytest

from lambdas.domain.fleet.actions import FailQueued, Launch
from lambdas.domain.pools.pools import OnDemandFallback
from tests.domain.build import ON_DEMAND, ago, instance, intention, job, kind, lease, mark, pool
from tests.domain.plans import codes, everywhere, of, planned

REFUSED = everywhere(marked_at=ago(400), until=ago(100))
"""Every zone refused some minutes ago, and might be asked again by now."""


def stubborn(**changes: Any) -> Any:
    return pool(**{"launch_error_timeout": timedelta(minutes=30), **changes})


def test_by_default_a_refused_launch_is_tried_again_and_the_job_waits() -> None:
    decided = planned(queue=(job(),), marks=REFUSED)
    assert (len(of(Launch, decided)), of(FailQueued, decided)) == (1, [])


def test_while_the_error_stands_nothing_is_launched_and_the_job_fails_with_ec2s_words() -> None:
    waiting = job()
    decided = planned(pool=stubborn(), queue=(waiting,), marks=REFUSED)
    (failed,) = of(FailQueued, decided)
    assert (of(Launch, decided), failed.job_ids) == ([], (waiting.job_id,))
    assert failed.why.startswith("launch error: InsufficientInstanceCapacity: We currently do not have sufficient")


def test_its_reason_says_when_the_next_try_is() -> None:
    decided = planned(pool=stubborn(on_demand_fallback=OnDemandFallback()), queue=(job(),), marks=REFUSED)
    assert codes(decided)[0] == "InsufficientInstanceCapacity"
    assert decided.reasons[0].next_attempt == ago(400) + timedelta(minutes=30)


@pytest.mark.parametrize(
    "over",
    [
        {"pool": stubborn(launch_error_timeout=timedelta(seconds=400))},
        {"pool": stubborn(launch_error_retries=1)},
        {"pool": stubborn(applied_at=ago(399))},
        {"marks": everywhere(marked_at=ago(400), until=ago(100), capacity_type=ON_DEMAND)},
    ],
    ids=["its time has passed", "a retry is left", "the pool was changed", "another capacity type"],
)
def test_there_is_no_error_where(over: dict[str, Any]) -> None:
    decided = planned(**{"pool": stubborn(), "marks": REFUSED, "queue": (job(),), **over})
    assert (len(of(Launch, decided)), of(FailQueued, decided)) == (1, [])


def test_an_instance_that_came_since_ends_it() -> None:
    came = instance(launched_at=ago(30), idle_since=None)
    decided = planned(pool=stubborn(), marks=REFUSED, instances=(came,), leases=(lease(),), queue=(job(),))
    assert (len(of(Launch, decided)), of(FailQueued, decided)) == (1, [])


def test_a_job_that_an_instance_there_would_hold_waits_for_it() -> None:
    busy = {"instances": (instance(launched_at=ago(9000), idle_since=None),), "leases": (lease(),)}
    small, large = kind("g4dn.metal", 8), kind("p4d.24xlarge", 16, "32")
    wide = job(16)
    decided = planned(pool=stubborn(types=(small, large)), marks=REFUSED, queue=(job(8), wide), **busy)
    assert [each.job_ids for each in of(FailQueued, decided)] == [(wide.job_id,)]


def test_a_job_for_which_an_answer_is_still_open_is_not_failed() -> None:
    assert of(FailQueued, planned(pool=stubborn(), marks=REFUSED, queue=(job(),), intentions=(intention(),))) == []


def test_strikes_of_one_offering_count() -> None:
    marks = (mark(marked_at=ago(400), until=ago(100), strikes=3),)
    assert len(of(FailQueued, planned(pool=stubborn(launch_error_retries=2), marks=marks, queue=(job(),)))) == 1
    assert of(FailQueued, planned(pool=stubborn(launch_error_retries=3), marks=marks, queue=(job(),))) == []
