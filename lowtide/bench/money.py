"""What is called and what it costs: AWS's calls counted in the simulated world, times Lambda's time and list prices.

`AT_REST` and `A_JOB` are what docs/costs.md shows, too; tests/docs holds the two against each other and the idle
minute's counts against the world.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from lowtide.bench.counting import Count, Counted, counted, pool, world
from lowtide.bench.prices import HOURS_A_MONTH, MINUTES_A_MONTH, PRICES, READ_ON
from lowtide.bench.results import Result
from lowtide.sim.hosts import command
from lowtide.sim.world import World

POOLS = (1, 100, 1_000)
LAUNCHED = (1, 100, 1_000)
IDLE_MINUTES = 10
JOBS, INSTANCES, JOB_SECONDS = 100, 10, 60
MILLION = 10**6
_POOL = "bench"

# --- prices -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    what: str
    units: Decimal
    price: str
    """Of PRICES."""

    def cost(self, *, million: bool = False) -> Decimal:
        """With nothing free; `million`: of units that are priced by the million, here counted singly."""
        return self.units * PRICES[self.price].usd / (MILLION if million else 1)


def _a_month(what: str, a_minute: str, price: str) -> Line:
    """Of what is priced by the million."""
    return Line(what=what, units=Decimal(a_minute) * MINUTES_A_MONTH / MILLION, price=price)


AT_REST = (
    _a_month("Lambda requests: a tick and a beat a minute (million)", "2", "requests"),
    _a_month(
        "Lambda time: 0.1 s of 1 GB and 0.05 s of 0.5 GB a minute (million GB-seconds)", "0.125", "gb_seconds"
    ),
    _a_month("DynamoDB writes: four a minute (million)", "4", "writes"),
    _a_month("DynamoDB reads: five a minute (million)", "5", "reads"),
    _a_month("SQS: Lambda's long polls of the job queue, fifteen a minute (million)", "15", "sqs"),
    _a_month("SQS: its long polls of the reconcile queue, fifteen a minute (million)", "15", "fifo"),
    Line(what="metrics that alarms read, five", units=Decimal(5), price="metrics"),
    Line(
        what="metrics in alarms: five alarms of one, one of errors in eight functions, one of throttles in three",
        units=Decimal(16),
        price="alarms",
    ),
    _a_month("logs: some 2 KB a minute (GB)", "2", "logs"),
    Line(what="the dashboard", units=Decimal(1), price="dashboard"),
    Line(what="keys of KMS", units=Decimal(0), price="key"),
    Line(what="public addresses: only instances have any", units=Decimal(0), price="address"),
    Line(what="volumes: only instances have any", units=Decimal(0), price="volume"),
)  # fmt: skip
"""What a month costs in which nothing waits and nothing runs, whatever the number of pools."""

A_JOB = (
    Line(what="Lambda requests", units=Decimal(11), price="requests"),
    Line(what="Lambda time, 0.05 GB-seconds a request", units=Decimal("0.55"), price="gb_seconds"),
    Line(what="DynamoDB writes: four transactions of four items, and single ones", units=Decimal(49), price="writes"),
    Line(what="DynamoDB reads", units=Decimal(70), price="reads"),
    Line(what="SQS requests", units=Decimal(5), price="fifo"),
    Line(what="events of its changes of state", units=Decimal(3), price="events"),
)
"""One of JOBS jobs of a minute each on INSTANCES instances: launches, heartbeats, idle polls and ends included."""


def with_free_tier(lines: Sequence[Line]) -> list[Decimal]:
    """What each line costs where nothing else in the account uses up what is free; SQS's million is for all queues."""
    left = {name: price.free for name, price in PRICES.items()}
    costs: list[Decimal] = []
    for line in lines:
        allowance = "sqs" if line.price == "fifo" else line.price
        free = min(line.units, left[allowance])
        left[allowance] -= free
        costs.append((line.units - free) * PRICES[line.price].usd)
    return costs


def at_rest_table() -> str:
    """As docs/costs.md shows it."""
    head = [
        "| what | units a month | USD a unit | USD a month | beyond what is free |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    rows = [
        f"| {line.what} | {_short(line.units)} | {PRICES[line.price].usd} | {line.cost():.2f} | {beyond:.2f} |"
        for line, beyond in zip(AT_REST, with_free_tier(AT_REST), strict=True)
    ]
    return "\n".join([*head, *rows])


def a_job_table() -> str:
    head = ["| a job of a minute, of a hundred on ten instances | number | USD a million | USD a million jobs |"]
    head.append("| --- | ---: | ---: | ---: |")
    rows = [f"| {each.what} | {each.units} | {PRICES[each.price].usd} | {each.cost():.2f} |" for each in A_JOB]
    return "\n".join([*head, *rows])


def _short(units: Decimal) -> str:
    return f"{units:.5f}".rstrip("0").rstrip(".") or "0"


# --- counts -----------------------------------------------------------------------------------------------------------


def money() -> tuple[Result, Result]:
    found = {f"idle minute, {pools:,} pools" if pools > 1 else "idle minute, 1 pool": _idle(pools) for pools in POOLS}
    found["a job"] = _jobs()
    found |= {f"launch {number:,}": _launch(number) for number in LAUNCHED}
    found["an interruption"] = _interruption()
    return _calls(found), _costs()


def _calls(found: dict[str, tuple[Counted, int]]) -> Result:
    operations = sorted({operation for each, _ in found.values() for _, operation in each.calls})
    kinds: list[tuple[str, Callable[[Counted], float]]] = [
        *((operation, lambda each, operation=operation: each.of(operation)) for operation in operations),
        ("all calls", Counted.total),
        ("invocations of functions", lambda each: each.invocations.total()),
        ("DynamoDB write units", lambda each: each.write_units),
        ("DynamoDB read units", lambda each: each.read_units),
    ]
    rows = [(name, *(_told(of(each) / among) for each, among in found.values())) for name, of in kinds]
    return Result(
        name="money-calls",
        benchmark="money",
        title="AWS calls by what happens",
        about="Counted in the simulated control plane, where every call of the deployed handlers is seen. An idle "
        f"minute is the mean of {IDLE_MINUTES}; a job one of {JOBS} of {JOB_SECONDS} s on {INSTANCES} instances, "
        "from the first message until the pool is at rest again, ticks included; a launch is of so many instances "
        "for as many jobs, from the first message until EC2 has answered; an interruption from EC2's warning until "
        "the job runs on another instance. An idle minute calls the same for 1 pool and for 1,000, and a hundred "
        "instances take one CreateFleet. The GitHub runner scaler, by its own code (scale-up.ts, runners.ts): one "
        "DescribeInstances and one CreateFleet for each batch of at most ten jobs and owner, and for each job, "
        "whose ephemeral runner is an instance of its own, one CreateTags, one PutParameter and one "
        "TerminateInstances; for a hundred jobs at least ten CreateFleet where this is one.",
        columns=("calls", *found),
        rows=tuple(rows),
    )


def _told(number: float) -> str:
    if 0 < number < 0.1:
        return f"{number:.2f}"
    return f"{number:.1f}".removesuffix(".0") if number else "–"


def _costs() -> Result:
    free, used = sum(with_free_tier(AT_REST), Decimal()), sum((each.cost() for each in AT_REST), Decimal())
    million = sum((each.cost() for each in A_JOB), Decimal())
    master = PRICES["t3.medium"].usd * HOURS_A_MONTH
    volume = 100 * PRICES["volume"].usd
    address = PRICES["address"].usd * HOURS_A_MONTH
    rows = [
        *(
            (line.what, f"{line.cost():.2f}", f"{beyond:.2f}")
            for line, beyond in zip(AT_REST, with_free_tier(AT_REST), strict=True)
        ),
        ("Lowtide at rest, 10 pools or 1,000, a month: all of it", f"{used:.2f}", f"{free:.2f}"),
        ("a t3.medium that is always on (Determined's master), a month", f"{master:.2f}", f"{master:.2f}"),
        ("its volume of 100 GB and its public address", f"{volume + address:.2f}", f"{volume + address:.2f}"),
        *((f"a million jobs: {line.what}", f"{line.cost():.2f}", "") for line in A_JOB),
        ("a million jobs of a minute: all of it", f"{million:.2f}", ""),
    ]
    return Result(
        name="money-costs",
        benchmark="money",
        title="What Lowtide costs",
        about=f"USD by AWS's public list prices of us-east-1 on {READ_ON} (docs/costs.md has them with their "
        "sources), from the calls counted above and Lambda's time. The aims: a month at rest with ten pools for at "
        "most $1 with what AWS gives each account for ever, and at most $10 without. What is left beyond it: six "
        "metrics in alarms, the table, and the empty receives of Lambda's pollers, which no setting of an event "
        "source mapping makes fewer.",
        columns=("USD", "nothing free", "with the free tier"),
        rows=tuple(rows),
    )


def _settled(pools: int, *, most: int) -> tuple[World, Count]:
    made, counter = world()
    for number in range(pools):
        made.apply(pool(_POOL if pools == 1 else f"{_POOL}-{number}", most=most))
    assert made.settle(), "the pools do not come to rest"
    return made, counter


def _idle(pools: int) -> tuple[Counted, int]:
    made, counter = _settled(pools, most=5)
    with counted(counter) as found:
        made.run_for(timedelta(minutes=IDLE_MINUTES))
    return found, IDLE_MINUTES


def _send(made: World, jobs: int, *, seconds: int) -> None:
    for number in range(jobs):
        made.send({"pool": _POOL, "command": command(seconds), "id": f"job-{number}"})


def _jobs() -> tuple[Counted, int]:
    made, counter = _settled(1, most=INSTANCES)
    with counted(counter) as found:
        _send(made, JOBS, seconds=JOB_SECONDS)
        assert made.run(made.quiet, timedelta(hours=3)), "the jobs do not end"
    return found, JOBS


def _launch(instances: int) -> tuple[Counted, int]:
    made, counter = _settled(1, most=instances)
    with counted(counter) as found:
        _send(made, instances, seconds=3_600)
        launched = made.run(lambda: len(made.market.instances) >= instances, timedelta(minutes=30))
    assert launched, "the instances do not come"
    return found, 1


def _interruption() -> tuple[Counted, int]:
    made, counter = _settled(1, most=2)
    _send(made, 1, seconds=3_600)
    assert made.run(lambda: any(host.busy for host in made.hosts.values()), timedelta(minutes=30))
    made.run_for(timedelta(minutes=2))
    ((instance_id, _),) = made.hosts.items()

    def moved() -> bool:
        return any(host.busy for name, host in made.hosts.items() if name != instance_id)

    with counted(counter) as found:
        made.market.interrupt(instance_id, made.clock())
        assert made.run(moved, timedelta(minutes=30)), "the job does not run again"
    return found, 1
