"""A stack at its largest, in the simulated world: 10,000 instances, 1,000 pools, and the rates of a million jobs.

Workers are held off where only the control plane counts. A million jobs are not played one by one: what one job writes
and reads is counted with a few, and DynamoDB's limit of a partition says how many a pool can take in a second.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta

from lambdas.domain.pools.pools import Pool, Schedule
from lowtide.bench.counting import Count, Counted, counted, pool, world
from lowtide.bench.results import Result
from lowtide.sim.calls import Request
from lowtide.sim.clock import START
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World

FLEETS, FLEET = 10, 1_000
"""Pools, and instances in each."""
WAKING = 1_000
RUNS = 5
JOBS, INSTANCES = 200, 20
MILLION = 10**6
WRITE_UNITS, READ_UNITS = 1_000, 3_000
"""That DynamoDB gives one partition in a second."""
_CALL = timedelta(milliseconds=5)
"""What a call of the table takes on AWS, about; a Describe of 1,000 instances takes a second."""
_DESCRIBE = timedelta(seconds=1)


def scale() -> tuple[Result, Result]:
    return _large(), _partitions()


def _on_aws(found: Counted) -> timedelta:
    """About what it takes there: its CPU and the answers that it waits for, one after the other."""
    describes = found.of("ec2.describe_instances")
    return timedelta(seconds=found.cpu_seconds) + describes * _DESCRIBE + (found.total() - describes) * _CALL


def _of(counter: Count, act: Callable[[], object]) -> Counted:
    with counted(counter) as found:
        act()
    return found


# --- large fleets and many pools --------------------------------------------------------------------------------------


def _large() -> Result:
    made, counter = world()
    made.held.add(Function.WORKER_API)
    for number in range(FLEETS):
        made.apply(pool(f"fleet-{number}", most=FLEET, min_instances=FLEET))
    launching = _of(counter, lambda: _until(made, lambda: len(made.market.instances) >= FLEETS * FLEET))
    first = _of(counter, made.tick)
    ticks = [_of(counter, made.tick) for _ in range(RUNS)]
    quiet = sorted(ticks, key=lambda each: each.cpu_seconds)[RUNS // 2]
    waking, busiest, peak, took = _wake()
    fleet = f"{FLEETS * FLEET:,} instances"
    rows = (
        _row(f"launching {fleet} in {FLEETS} pools, all passes", launching, in_turn=False),
        _row(f"a tick that first sees {fleet}", first),
        _row(f"a tick over {fleet}, nothing changed", quiet),
        _row(f"{WAKING:,} pools wake at once: all passes and ticks", waking, in_turn=False),
        _row("the busiest tick of these", busiest),
    )
    return Result(
        name="scale",
        title="A stack at its largest",
        about="CPU seconds of the functions on this machine and exact calls; about what it takes on AWS adds "
        f"{_CALL.microseconds // 1000} ms for each call of the table and {_DESCRIBE.seconds} s for each Describe, "
        "one after the other. The aim: a tick over 10,000 instances in under 30 s. The first to see a large fleet "
        "writes each instance's state, a hundred in one transaction. A tick has 55 s and keeps its place: one that "
        f"needs longer goes on in the next minute. The {WAKING:,} pools that wake at the same minute each launch one "
        f"instance: CreateFleet is called {peak} times at most in one second and {took.total_seconds():.0f} s pass "
        "until the last has its own, which is what the account's bucket of 5 and 2 a second allows; whoever waits says "
        "`throttling` as its reason, and who was served longest ago comes first.",
        columns=(
            "what",
            "CPU s",
            "on AWS, about, s",
            "calls",
            "CreateFleet",
            "Describe",
            "write units",
            "read units",
            "hottest partition, write units",
        ),
        rows=rows,
    )


def _row(what: str, found: Counted, *, in_turn: bool = True) -> tuple[str, ...]:
    """`in_turn`: it is one invocation, whose calls follow each other."""
    ((hottest, units),) = found.partition_writes.most_common(1) or [("none", 0)]
    return (
        what,
        f"{found.cpu_seconds:.1f}",
        f"{_on_aws(found).total_seconds():.0f}" if in_turn else "–",
        f"{found.total():,}",
        f"{found.of('ec2.create_fleet'):,}",
        f"{found.of('ec2.describe_instances'):,}",
        f"{found.write_units:,.0f}",
        f"{found.read_units:,.0f}",
        f"{_kind(hottest)} {units:,}",
    )


class _Fleets:
    """How often CreateFleet is called in each second."""

    def __init__(self, made: World) -> None:
        self._made = made
        self.seconds = Counter[int]()

    def called(self, function: Function, operation: str, request: Request) -> None:  # noqa: ARG002 - an observer's
        if operation == "ec2.create_fleet":
            self.seconds[int((self._made.clock() - START).total_seconds())] += 1

    def ended(self, function: Function, *, crashed: bool) -> None: ...


def _wake() -> tuple[Counted, Counted, int, timedelta]:
    """(everything, its busiest tick, most CreateFleet in a second, until the last pool has its instance)."""
    made, counter = world()
    made.held.add(Function.WORKER_API)
    for number in range(WAKING):
        made.apply(_sleeper(f"sleeper-{number}"))
    made.run_for(timedelta(minutes=3))
    fleets = _Fleets(made)
    made.observers.append(fleets)
    ticks: list[Counted] = []
    inner = made.tick
    whole = Counted()

    def tick(event_id: str | None = None) -> bool:
        before, counter.now = counter.now, Counted()
        try:
            return inner(event_id)
        finally:
            ticks.append(counter.now)
            counter.now = before

    made.tick = tick
    counter.now = whole
    _until(made, lambda: len(made.market.instances) >= WAKING)
    for each in ticks:
        whole.add(each)
    first, last = min(fleets.seconds), max(fleets.seconds)
    busiest = max(ticks, key=lambda each: each.total())
    return whole, busiest, max(fleets.seconds.values()), timedelta(seconds=last - first)


def _sleeper(name: str) -> Pool:
    """Wakes an hour after the world begins, and wants one instance for the day."""
    at = START + timedelta(hours=1)
    hours = Schedule(name="day", start=f"{at.minute} {at.hour} * * *", duration=timedelta(hours=8), min_instances=1)
    return pool(name, most=1, schedules=(hours,))


def _until(made: World, condition: Callable[[], bool]) -> None:
    assert made.run(condition, timedelta(hours=2)), "it does not come to its end within two hours"


# --- rates of a million jobs ------------------------------------------------------------------------------------------


def _partitions() -> Result:
    """What a job of a minute writes to and reads from each partition of its pool."""
    made, counter = world()
    made.apply(pool("jobs", most=INSTANCES))
    assert made.settle()
    with counted(counter) as found:
        for number in range(JOBS):
            made.send({"pool": "jobs", "command": command(60), "id": f"job-{number}"})
        assert made.run(made.quiet, timedelta(hours=3)), "the jobs do not end"
    writes, reads = _by_kind(found.partition_writes), _by_kind(found.partition_reads)
    worst = sorted({*writes, *reads}, key=lambda kind: min(_rates(kind, writes, reads)))
    limit = min(_rates(worst[0], writes, reads))
    starts = found.of("dynamodb.transact_write_items") / JOBS
    return Result(
        name="scale-partitions",
        benchmark="scale",
        title="Where a million jobs would break it first",
        about=f"Units that a job of a minute takes of the busiest partition of each kind, counted with {JOBS} jobs "
        f"on {INSTANCES} instances of one pool, and at how many jobs a second in one pool that partition reaches "
        f"DynamoDB's {WRITE_UNITS:,} write or {READ_UNITS:,} read units a second. The first to be full is "
        f"{worst[0]}: one pool takes {limit:.0f} jobs a second, {limit * 3600:,.0f} an hour, so that a million jobs "
        f"take one pool at least {MILLION / limit / 3600:.1f} hours and ten pools a tenth of that; each job is "
        f"{starts:.1f} transactions. Beyond it DynamoDB throttles: intake gives messages back to the queue, the "
        "worker API answers 503 and workers ask again later, a pass ends and the pool stays due. Jobs are late, "
        "none is lost, and no other pool is touched, whose partitions are its own. 10,000 instances that run jobs "
        f"of a minute start 167 a second, which is {167 / limit:.1f} such pools.",
        columns=("partition", "write units a job", "read units a job", "jobs a second until it is full"),
        rows=tuple(
            (
                kind,
                f"{writes.get(kind, 0) / JOBS:.1f}",
                f"{reads.get(kind, 0) / JOBS:.1f}",
                f"{min(_rates(kind, writes, reads)):,.0f}",
            )
            for kind in worst[:8]
        ),
    )


def _by_kind(units: Counter[str]) -> Mapping[str, int]:
    """Kind of partition -> units of the busiest one; of those that every job of a pool, or of the stack, takes part in,
    which a job's own and the clock's are not."""
    found: dict[str, int] = {}
    for place, count in units.items():
        if place.startswith(("JOB#", "MARKET", "STACK")):
            continue
        found[_kind(place)] = max(found.get(_kind(place), 0), count)
    return found


_KINDS = {
    "POOL": "the pool's own (leases, instances, state)",
    "QUEUE": "a shard of the pool's queue",
    "DECISIONS": "the pool's decisions",
    "STACK": "the stack's clock",
    "index JOBS": "the index of the pool's jobs",
    "index DUE": "the index of what is due",
    "index due": "the index of what is due",
    "index FLEET": "the index of all instances",
    "index NEWS": "the index of news",
}


def _kind(place: str) -> str:
    name = re.split(r"[#]", place)[0]
    return _KINDS.get(name, name)


def _rates(kind: str, writes: Mapping[str, int], reads: Mapping[str, int]) -> tuple[float, float]:
    """Jobs a second at which the partition's writes, and its reads, are at their limit."""
    written, read = writes.get(kind, 0) / JOBS, reads.get(kind, 0) / JOBS
    return WRITE_UNITS / written if written else float("inf"), READ_UNITS / read if read else float("inf")
