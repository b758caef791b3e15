"""What a decision about a deadline costs, and when the policy is loaded."""

import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from time import process_time

from lambdas.domain.fleet.snapshot import Snapshot, Stretch
from lambdas.domain.plan.plan import plan
from lambdas.domain.pools.pools import OnDemandFallback
from tests.domain.build import NOW, after, ago, job, pool, snapshot
from tests.domain.plans import everywhere

JOBS = 100
MOST_MS = 5.0
"""A job and decision."""


def crowded(jobs: int) -> Snapshot:
    """Jobs with deadlines in a dry market whose last three days turned every 43 minutes."""
    record = tuple(
        Stretch(up=n % 2 == 0, since=(begin := ago(3 * 86_400 - n * 2592)), until=begin + timedelta(seconds=2590))
        for n in range(100)
    )
    queue = tuple(
        job(job_id=f"job-{n}", deadline=after(36_000 + 60 * n), estimated_seconds=Decimal(7200)) for n in range(jobs)
    )
    owner = pool(on_demand_fallback=OnDemandFallback(max_instances=50), max_instances=50)
    return snapshot(pool=owner, queue=queue, marks=everywhere(), availability=record)


def test_a_hundred_jobs_cost_at_most_five_milliseconds_each() -> None:
    world, plain = crowded(JOBS), snapshot(pool=crowded(0).pool, queue=tuple(job() for _ in range(JOBS)))
    plan(crowded(1), NOW)
    begun = process_time()
    decided = plan(world, NOW)
    with_deadlines = process_time() - begun
    begun = process_time()
    plan(plain, NOW)
    without = process_time() - begun
    assert len(decided.verdicts) == JOBS
    ms = 1000 * (with_deadlines - without) / JOBS
    print(f"{ms:.2f} ms a job and decision")
    assert ms <= MOST_MS


def test_the_policy_is_loaded_for_a_deadline_alone_and_nothing_beyond_the_standard_library() -> None:
    script = """
import sys
from lambdas.domain.plan.plan import plan
from tests.domain.build import NOW, job, snapshot
from tests.domain.plan.test_deadline_cost import crowded
plan(snapshot(queue=(job(),)), NOW)
assert not [name for name in sys.modules if name.startswith("lambdas.domain.deadlines")]
plan(crowded(1), NOW)
assert "lambdas.domain.deadlines.own" in sys.modules
assert not {"numpy", "boto3"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
