"""What a decision takes: `plan()` by size of the pool and of its backlog, and beside Ray's autoscaler."""

import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from statistics import median

from lambdas.adapters.pool_table import QUEUE_LOOK
from lambdas.domain.fleet.fleet import Instance, InstanceState, Lease
from lambdas.domain.fleet.packing import Candidate, Demand
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.jobs import QueuedJob, Resources
from lambdas.domain.plan.plan import plan
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.bench import peer
from lowtide.bench.mixes import Mix
from lowtide.bench.optimum import cut_bound, problem_of, relaxed
from lowtide.bench.results import Result
from lowtide.market import catalogue

INSTANCES = (1, 10, 100, 1_000)
JOBS = (10, 100, 1_000, 10_000, 100_000)
POOLS = 1_000
RUNS = 5
COMPARED_JOBS = (10, 100, 1_000, 5_000)
MIXES = 5
"""Of each number of jobs that is compared; of thousands, one."""
SHAPES = 8
"""Different jobs in one mix."""
TYPES = (
    *("c6i.large", "c6i.xlarge", "c6i.2xlarge", "c6i.4xlarge", "c6i.8xlarge"),
    *("m6i.large", "m6i.xlarge", "m6i.2xlarge", "m6i.4xlarge", "r6i.large", "r6i.2xlarge", "r6i.4xlarge"),
    *("g4dn.xlarge", "g4dn.2xlarge", "g4dn.12xlarge", "g5.xlarge", "g5.12xlarge"),
)
_NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
_ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
_ONE_SLOT = "c6i.large"


def decisions() -> tuple[Result, ...]:
    return _by_size(), _beside_ray()


# --- by size ----------------------------------------------------------------------------------------------------------


def _by_size() -> Result:
    rows = [row for instances in INSTANCES for row in _rows_of(instances)]
    pools = [_snapshot(instances=1, queue=_queue(10), name=f"pool-{number}") for number in range(POOLS)]
    resting = [_snapshot(instances=0, queue=(), name=f"pool-{number}") for number in range(POOLS)]
    many, still = (_seconds(lambda group=group: [plan(each, _NOW) for each in group]) for group in (pools, resting))
    return Result(
        name="decision-size",
        benchmark="decisions",
        title="A decision by size",
        about=f"CPU time of `plan()`, median of {RUNS}, and the memory that it needs beside its snapshot. Every "
        "instance runs a job and the pool may grow to twice its size, so a pass reads the queue's head until that "
        "room is full. Given the whole backlog instead of the head, which no pass is, it takes what the column "
        f"before the last says. All {POOLS:,} pools of a stack, each with one instance and ten jobs: "
        f"{many * 1000:.0f} ms together; all of them at rest: {still * 1000:.0f} ms.",
        columns=(
            "instances",
            "queued jobs",
            "of which a pass reads",
            "plan, ms",
            "beside ten jobs",
            "µs an instance",
            "whole backlog given, ms",
            "memory, MiB",
        ),
        rows=tuple(rows),
    )


def _rows_of(instances: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    first = 0.0
    for jobs in JOBS:
        head = _queue(min(jobs, max(instances, QUEUE_LOOK) + 1))
        snapshot = _snapshot(instances=instances, queue=head, complete=len(head) == jobs)
        whole = _snapshot(instances=instances, queue=_queue(jobs))
        seconds, at_most = _seconds(lambda s=snapshot: plan(s, _NOW)), _seconds(lambda s=whole: plan(s, _NOW))
        first = first or seconds
        rows.append(
            (
                f"{instances:,}",
                f"{jobs:,}",
                f"{len(head):,}",
                f"{seconds * 1000:.1f}",
                f"{seconds / first:.2f}",
                f"{seconds / instances * 1e6:.0f}",
                f"{at_most * 1000:.1f}",
                f"{_peak_mib(lambda s=snapshot: plan(s, _NOW)):.2f}",
            )
        )
    return rows


def _seconds(act: Callable[[], object]) -> float:
    """CPU seconds, median."""
    return median(_once(act) for _ in range(RUNS))


def _once(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def _peak_mib(act: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _queue(jobs: int) -> tuple[QueuedJob, ...]:
    """Of one slot each."""
    return tuple(_queued(f"job-{number}", slots=1, resources=None) for number in range(jobs))


def _queued(job_id: str, *, slots: int, resources: Resources | None) -> QueuedJob:
    return QueuedJob(job_id=job_id, slots=slots, resources=resources, priority=0, submitted_at=_NOW, queued_at=_NOW)


def _snapshot(
    *,
    instances: int,
    queue: tuple[QueuedJob, ...],
    complete: bool = True,
    name: str = "bench",
    types: Sequence[str] = (_ONE_SLOT,),
    most: int = 0,
) -> Snapshot:
    """A pool on demand, each of its instances with a job; `most` 0: it may become twice as large."""
    facts = tuple(map(_facts, types))
    pool = Pool(name=name, types=facts, spot=False, max_instances=most or max(1, 2 * instances))
    running = [_instance(f"i-{number}", name, facts[0]) for number in range(instances)]
    return Snapshot(
        pool=pool,
        epoch=1,
        instances=tuple(running),
        leases=tuple(_lease(each) for each in running),
        intentions=(),
        marks=(),
        queue=queue,
        queue_complete=complete,
        subnets=tuple((zone, f"subnet-{zone[-1]}") for zone in _ZONES),
        images=tuple((each.name, "ami-1") for each in facts),
        prices=(),
        reasons=(),
        unfulfilled_since=None,
        stack_closing=False,
        settings=Settings(),
    )


def _facts(name: str) -> TypeFacts:
    known = catalogue.facts(name)
    assert known is not None
    return TypeFacts(
        name=name,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(name),
        slots=known.gpus or 1,
    )


def _instance(instance_id: str, pool: str, facts: TypeFacts) -> Instance:
    return Instance(
        instance_id=instance_id,
        pool=pool,
        decision="d-1",
        instance_type=facts.name,
        zone=_ZONES[0],
        state=InstanceState.RUNNING,
        capacity_type=CapacityType.ON_DEMAND,
        slots=facts.slots,
        launched_at=_NOW - timedelta(minutes=10),
        reported_at=_NOW - timedelta(minutes=8),
        heartbeat_at=_NOW,
        observed_state="running",
        observed_at=_NOW,
    )


def _lease(instance: Instance) -> Lease:
    return Lease(
        job_id=f"of-{instance.instance_id}",
        pool=instance.pool,
        instance_id=instance.instance_id,
        fence=1,
        slots=1,
        claimed_at=_NOW - timedelta(minutes=5),
        request_id="r",
        renewed_at=_NOW,
        submitted_at=_NOW - timedelta(minutes=20),
    )


# --- beside Ray -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    ours_seconds: float
    rays_seconds: float
    ours: Decimal
    """USD per hour."""
    rays: Decimal
    bound: float
    """USD per hour: no set of instances costs less."""


def _beside_ray() -> Result:
    rows = tuple(_compared_row(jobs, MIXES if jobs < 1_000 else 1) for jobs in COMPARED_JOBS)
    return Result(
        name="decision-peer",
        benchmark="decisions",
        title="A decision beside Ray's",
        about="The scheduler of Ray's v2 autoscaler (`ResourceDemandScheduler`, no cluster around it) and the "
        f"whole of `plan()` on the same jobs and the same {len(TYPES)} instance types of AWS, nothing running: CPU "
        "time of one call each, cost of the instances that it asks for at on-demand prices, and the linear bound "
        "that no set of instances is below. Median of the mixes. Ray's scheduler knows no prices: it takes the "
        "type that is used best. The aims: at least 20 times as fast, at no higher cost, and within 10 % of the "
        "bound. Below some hundreds of jobs the first is missed: both take milliseconds there, since a plan tries "
        "its two dozen ways to pack however few jobs there are (jobs of one size are one to it), while Ray's time "
        "grows with jobs times instances.",
        columns=(
            "jobs",
            "mixes",
            "plan, ms",
            "Ray, ms",
            "Ray / plan",
            "cost: plan / Ray",
            "cost: plan / bound",
            "cost: Ray / bound",
        ),
        rows=rows,
    )


def _compared_row(jobs: int, mixes: int) -> tuple[str, ...]:
    found = [_compare(_mix(jobs, seed)) for seed in range(mixes)]
    ours, rays = (median(getattr(each, name) for each in found) for name in ("ours_seconds", "rays_seconds"))
    ratios = (
        median(float(each.ours / each.rays) for each in found),
        median(float(each.ours) / each.bound for each in found),
        median(float(each.rays) / each.bound for each in found),
    )
    faster = median(each.rays_seconds / each.ours_seconds for each in found)
    times = (f"{ours * 1000:.1f}", f"{rays * 1000:,.0f}", f"{faster:.0f}")
    return (f"{jobs:,}", str(mixes), *times, *(f"{each:.3f}" for each in ratios))


def _mix(jobs: int, seed: int) -> Mix:
    """Jobs of a few shapes, each a part of one of the types: small ones more often, as backlogs are."""
    chance = Random(seed)
    types = tuple(map(_facts, TYPES))
    shapes = [_part(chance.choice(types), chance) for _ in range(SHAPES)]
    demands = [Demand(job_id=str(number), slots=1, resources=chance.choice(shapes)) for number in range(jobs)]
    prices = [(each, each.on_demand_price) for each in types]
    candidates = tuple(Candidate(facts=each, price=price) for each, price in prices if price is not None)
    return Mix(jobs=tuple(demands), candidates=candidates, aux=1)


def _part(whole: TypeFacts, chance: Random) -> Resources:
    return Resources(
        vcpus=Decimal(max(1, round(whole.vcpus * chance.random() ** 2))),
        memory_mib=max(512, round(whole.memory_mib * 0.9 * chance.random() ** 2 / 512) * 512),
        gpus=chance.randint(1, whole.gpus) if whole.gpus and chance.random() < 0.7 else 0,
    )


def _compare(mix: Mix) -> _Compared:
    queue = tuple(_queued(each.job_id, slots=1, resources=each.resources) for each in mix.jobs)
    snapshot = _snapshot(instances=0, queue=queue, types=TYPES, most=len(queue))
    seconds = _seconds(lambda: plan(snapshot, _NOW))
    answer = peer.schedule(_asked(mix))
    assert not answer["infeasible"], "Ray finds no place for a job that fits"
    prices = {each.facts.name: each.price for each in mix.candidates}
    problem = problem_of(mix)
    return _Compared(
        ours_seconds=seconds,
        rays_seconds=median(answer["seconds"]),
        ours=mix.cost(mix.packed()),
        rays=sum((prices[name] * count for name, count in answer["launched"].items()), Decimal()),
        bound=max(cut_bound(problem), relaxed(problem).cost),
    )


def _asked(mix: Mix) -> dict[str, object]:
    """What an instance holds is what Lowtide takes it to hold (lambdas/domain/jobs/fit.py)."""
    jobs = Counter(each.resources for each in mix.jobs if each.resources is not None)
    return {
        "types": [{"name": each.facts.name, "resources": _whole(each.facts)} for each in mix.candidates],
        "running": {},
        "demands": [
            ({"CPU": float(asked.vcpus), "memory": asked.memory_mib, "GPU": asked.gpus}, count)
            for asked, count in jobs.items()
        ],
        "runs": 3 if len(mix.jobs) < 1_000 else 1,
    }


def _whole(facts: TypeFacts) -> dict[str, int]:
    return {"CPU": facts.vcpus, "memory": facts.memory_mib, "GPU": facts.gpus}
