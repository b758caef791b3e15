"""What people, the market and bad luck do in a storm: one function a kind, on a world as it is at that second."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.faults import Conflict
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.parked import Parked
from lambdas.adapters.pool_config import Unreadable
from lambdas.domain.fleet import Instance
from lambdas.domain.job_record import JobRecord
from lambdas.domain.jobs import JobState
from lambdas.domain.machine import Machine
from lambdas.domain.pools import OnDemandFallback, Pool, Schedule, TypeFacts
from lambdas.domain.settings import Settings
from lambdas.domain.terms import OnDemand
from lowtide.cli import fleet_store
from lowtide.market import catalogue
from lowtide.market.fleet import Refused
from lowtide.sim import functions
from lowtide.sim.clock import START
from lowtide.sim.conditions import Held
from lowtide.sim.fates import usual
from lowtide.sim.functions import Function
from lowtide.sim.hosts import Host, command
from lowtide.sim.ledger import Ledger as Seen
from lowtide.sim.story import Arrival, Incident
from lowtide.sim.strikes import Strikes
from lowtide.sim.world import World

TYPES: Mapping[str, tuple[tuple[str, int], ...]] = {
    "cpu": (("m7g.large", 2), ("m6g.large", 2)),
    "gpu": (("g4dn.12xlarge", 4),),
    "other": (("c7g.large", 1),),
}
"""Instance types and their slots of each pool; no two pools have a type in common."""
LIMITS = {"cpu": Decimal("0.06"), "gpu": Decimal("2.5"), "other": Decimal("0.05")}
"""USD per hour; the market begins at a third of the on-demand prices, 0.031, 1.32 and 0.026."""
MOST = {"cpu": 3, "gpu": 2, "other": 6}
MINUTE = timedelta(minutes=1)
UNREADABLE = "cannot be read: KeyError('types')"
"""What a pass over a damaged record ends with, and a call of its workers."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """What an incident may touch."""

    world: World
    conditions: Held
    strikes: Strikes
    seen: Seen
    """The ledger as it is followed; it may be an invocation behind."""
    repairs: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])
    """What calm has to put right first; each may be done again."""
    over: bool = False
    """The storm is: what people had in mind for later is done already."""


def pool(name: str, **changes: Any) -> Pool:
    """As its owner first applied it, and as calm finds it again."""
    given: dict[str, Any] = {
        **{"spot": True, "spot_max_price": LIMITS[name], "max_instances": MOST[name]},
        **{"types": tuple(_facts(*each) for each in TYPES[name]), "starvation_after": 4 * MINUTE},
        **{"max_idle_agent_period": 3 * MINUTE, "max_agent_starting_period": 8 * MINUTE},
    }
    return Pool(name=name, **{**given, **changes})


def _facts(name: str, slots: int) -> TypeFacts:
    known = catalogue.facts(name)
    if known is None:
        raise LookupError(name)
    return TypeFacts(
        name=name,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(name),
        slots=slots,
    )


# --- users ------------------------------------------------------------------------------------------------------------


def arrive(stage: Stage, told: Arrival) -> None:
    """A user sends jobs."""
    body: dict[str, Any] = {"pool": told.pool, "command": command(told.seconds), **_SHAPES[told.shape]}
    if "spot_max_price" in body:
        body["spot_max_price"] = str(LIMITS[told.pool] * body["spot_max_price"])
    if told.shape == len(_SHAPES) - 1:
        body["command"] = command(told.seconds, exit_code=3)
    for _ in range(told.count):
        stage.world.send(body)


_SHAPES: tuple[dict[str, Any], ...] = (
    *({}, {}, {}),
    {"slots": 2},
    {"slots": 0},
    {"resources": {"vcpus": 0.3, "memory_mib": 700}},
    {"priority": 10, "max_interruptions": 1},
    {"spot_max_price": Decimal("0.75")},
    {"on_demand": "never", "timeout": "2m"},
    {"on_demand": "always"},
    {"deadline": f"{START + 20 * MINUTE:%Y-%m-%dT%H:%M:%S}Z", "estimated_duration": "2m"},
    {"max_attempts": 2},
)
"""Fields of a job beside pool and command, prices in the pool's own limit; those of the last one fail. A job of 2 slots
is none that `other` can ever run."""


def _no_job(stage: Stage, told: Incident) -> None:
    bodies: tuple[Any, ...] = ("{", {"pool": "nowhere", "command": "true"}, {"pool": told.pool, "command": []}, "[]")
    stage.world.send(bodies[told.number - 1])


def _twice(stage: Stage, told: Incident) -> None:
    for _ in range(2):
        stage.world.send({"pool": told.pool, "command": command(20), "id": f"twice-{told.second}"})


def _backlog(stage: Stage, told: Incident) -> None:
    for _ in range(5 * told.number):
        stage.world.send({"pool": told.pool, "command": command(5 * told.number)})


def _jobs(stage: Stage, name: str, *states: JobState) -> list[JobRecord]:
    found = [job for job in stage.seen.jobs.values() if job.pool == name and job.state in states]
    return sorted(found, key=lambda each: each.job_id)


def _cancel(stage: Stage, told: Incident) -> None:
    ledger = Ledger(stage.world.table, jobs_kept=stage.world.settings.jobs_kept)
    for job in _jobs(stage, told.pool, JobState.QUEUED, JobState.RUNNING)[: told.number]:
        ledger.cancel(job, stage.world.clock())


def _retry(stage: Stage, told: Incident) -> None:
    ledger = Ledger(stage.world.table, jobs_kept=stage.world.settings.jobs_kept)
    for job in _jobs(stage, told.pool, JobState.FAILED, JobState.CANCELLED)[: told.number]:
        with contextlib.suppress(Conflict):
            ledger.retry(job, 1, stage.world.clock())


def _redrive(stage: Stage, told: Incident) -> None:
    """As `parked redrive`: the message is sent again under its id, then its record goes."""
    parked = Parked(stage.world.table)
    for message in list(parked.list())[: told.number]:
        found = parked.record(message.parked_id)
        if found is None or found.body is None:
            continue
        with contextlib.suppress(ValueError):
            body: Any = json.loads(found.body)
            if isinstance(body, dict):
                message_id = message.parked_id.rpartition("#")[2]
                stage.world.send({"id": message_id, **body})
                stage.world.redriven(message_id)
                parked.delete(message.parked_id)


# --- owners -----------------------------------------------------------------------------------------------------------


def _apply(stage: Stage, name: str, **changes: Any) -> None:
    with contextlib.suppress(Conflict, Unreadable):
        stage.world.apply(pool(name, **changes))


def _changed(stage: Stage, told: Incident) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"max_instances": 1},
        {"paused": True},
        {"min_instances": 1, "warm_instances": 1},
        {"on_demand_fallback": OnDemandFallback(after=2 * MINUTE, return_after=5 * MINUTE)},
    )
    _apply(stage, told.pool, **changes[told.number - 1])


def _changed_otherwise(stage: Stage, told: Incident) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"spot_max_price": LIMITS[told.pool] * Decimal("0.7")},
        {"max_instance_lifetime": 5 * MINUTE},
        {"on_demand_base": 1, "max_hourly_cost": LIMITS[told.pool] * 3},
        {"machine": Machine(root_volume_size=300)},
    )
    _apply(stage, told.pool, **changes[told.number - 1])


def _scheduled(stage: Stage, told: Incident) -> None:
    window = Schedule(name="storm", start="*/10 * * * *", duration=told.number * MINUTE, max_instances=1)
    _apply(stage, told.pool, schedules=(replace(window, min_instances=told.number % 2),))


def _restored(stage: Stage, told: Incident) -> None:
    _apply(stage, told.pool)


def _deleted(stage: Stage, told: Incident) -> None:
    """A pool is deleted, and applied again later, at the storm's end at the latest (`calm`)."""
    _apply(stage, told.pool, deleted=True)

    def restore() -> None:
        if not stage.over:
            _apply(stage, told.pool)

    stage.world.at(stage.world.clock() + told.number * MINUTE, restore)


def _misconfigured(stage: Stage, told: Incident) -> None:
    """What `pools validate` would have found, or what went away since: every launch is refused."""
    changes: tuple[dict[str, Any], ...] = (
        {"image_id": "ami-gone", "images": (("m7g.large", "ami-gone"),)},
        {"subnets": (("us-east-1a", "subnet-gone"),)},
        {"images": tuple((name, "ami-gone") for name, _ in TYPES[told.pool])},
        {"subnets": (("us-east-1a", "subnet-a"), ("us-east-1b", "subnet-gone"))},
    )
    _apply(stage, told.pool, **changes[told.number - 1])


def _unreadable(stage: Stage, told: Incident) -> None:
    """A pool's record is damaged, so every pass over it fails with an error that nobody thought of."""
    table, place = stage.world.table, (keys.pool(told.pool), keys.CONFIG)
    found = table.get(*place)
    if found is None or "types" not in found["document"]:
        return
    damaged = {**found, "document": {k: v for k, v in found["document"].items() if k != "types"}}
    table.put(damaged)

    def restore() -> None:
        current = table.get(*place)
        if current is not None and current == damaged:
            table.put({**current, "document": found["document"]})

    stage.repairs.append(restore)
    stage.world.at(stage.world.clock() + told.number * MINUTE, restore)


def _recorded(stage: Stage, name: str) -> list[Instance]:
    found = [items.instance_from(item) for item in stage.seen.instances.values() if item["pool"] == name]
    return sorted(found, key=lambda each: each.instance_id)


def _drained(stage: Stage, told: Incident) -> None:
    for instance in _recorded(stage, told.pool)[: told.number]:
        with contextlib.suppress(Conflict, fleet_store.Busy):
            idle_only = told.number % 2 == 0
            fleet_store.drain(stage.world.table, instance, stage.world.clock(), "by hand", idle_only=idle_only)


# --- the market -------------------------------------------------------------------------------------------------------


def _dry(stage: Stage, told: Incident) -> None:
    world = stage.world
    for zone in "abc"[: told.number]:
        for name, _ in TYPES[told.pool]:
            world.market.set_capacity(name, f"us-east-1{zone}", told.number // 4, world.clock(), lifecycle=None)
    world.at(world.clock() + 2 * told.number * MINUTE, lambda: world.market.release(world.clock()))


def _dear(stage: Stage, told: Incident) -> None:
    world = stage.world
    price = LIMITS[told.pool] * (told.number + 1) / 2
    for name, _ in TYPES[told.pool]:
        for zone in "abc"[: told.number]:
            world.market.set_price(name, f"us-east-1{zone}", price, world.clock())
    world.at(world.clock() + told.number * MINUTE, lambda: world.market.release(world.clock()))


def _drifting(stage: Stage, told: Incident) -> None:
    """Prices move a little everywhere, again and again."""
    for step in range(1, 5):
        factor = 1 + Decimal(told.number * (step % 2 * 2 - 1) * step) / 20
        at = stage.world.clock() + step * MINUTE
        stage.world.at(at, lambda factor=factor: setattr(stage.conditions, "factor", factor))


def _interrupted(stage: Stage, told: Incident) -> None:
    world = stage.world
    for instance in sorted(world.alive(told.pool), key=lambda each: each.instance_id)[: told.number]:
        with contextlib.suppress(Refused):
            world.market.interrupt(instance.instance_id, world.clock(), notice=(None, True, False)[told.number % 3])


def _slips(stage: Stage, told: Incident) -> None:
    """EC2 answers a request for spot with on-demand instances."""
    stage.world.ec2.slips += told.number % 2 + 1


def _strangers(stage: Stage, told: Incident) -> None:
    """Somebody else's instance, without our tag; or one with our tag of a pool that nobody knows."""
    orphan = {names.TAG_STACK: stage.world.stack, names.TAG_POOL: "gone"}
    tags = ({}, {names.TAG_STACK: "Theirs", names.TAG_POOL: told.pool}, orphan, {names.TAG_POOL: told.pool})
    before = set(stage.world.market.instances)
    with contextlib.suppress(Exception):
        _launched_by_hand(stage.world, TYPES[told.pool][0][0], f"by-hand-{told.second}-{told.number}")
    for instance_id in stage.world.market.instances.keys() - before:
        stage.world.ec2.strange(instance_id, tags[told.number - 1])


def _launched_by_hand(world: World, instance_type: str, token: str) -> None:
    facts = catalogue.facts(instance_type)
    architecture = facts.architectures[0] if facts else ""
    world.ec2.create_fleet(
        Type="instant",
        ClientToken=token,
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": functions.ON_DEMAND_TEMPLATE, "Version": "1"},
                "Overrides": [
                    {"InstanceType": instance_type, "SubnetId": "subnet-a", "ImageId": f"ami-{architecture}"}
                ],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )


# --- bad luck ---------------------------------------------------------------------------------------------------------


def _clocks(stage: Stage, told: Incident) -> None:
    """One function's clock, or every worker's, goes wrong."""
    skew = timedelta(seconds=(-90, -20, 20, 90)[told.number - 1])
    if told.second % 2:
        function = (Function.TICK, Function.RECONCILE, Function.WORKER_API, Function.NEWS)[told.second // 2 % 4]
        stage.world.skews[function] = skew
    else:
        for host in stage.world.hosts.values():
            host.ahead = skew


def _out(stage: Stage, told: Incident) -> None:
    world = stage.world
    function = (Function.WORKER_API, Function.TICK, Function.RECONCILE, Function.NEWS)[told.number - 1]
    lasts = timedelta(minutes=told.number + 1) if told.second % 2 else timedelta(minutes=9)
    world.held.add(function)
    world.at(world.clock() + lasts, lambda: world.held.discard(function))


def _all_out(stage: Stage, told: Incident) -> None:  # noqa: ARG001 - as every incident's
    """Nothing reaches the control plane, for longer than an idle worker waits for an answer in some stories."""
    world = stage.world
    world.held.update(Function)
    world.at(world.clock() + 7 * MINUTE, world.held.clear)


def _nobody_answers(stage: Stage, told: Incident) -> None:
    """Until the storm is over the workers' network is out; so is the function that they call, in one story of four, or
    every function, in two."""
    stage.strikes.unheard = True
    stage.world.held.update(((), (Function.WORKER_API,), Function, Function)[told.number - 1])


def _long_job(stage: Stage, told: Incident) -> None:
    """It runs for longer than a worker does without an answer, and goes on afterwards where it was. There is capacity
    for it, and its pool is as it was first applied."""
    stage.world.market.release(stage.world.clock())
    _apply(stage, told.pool)
    stage.world.send({"pool": told.pool, "command": command(60 * (11 + told.number), saves=True)})


def _one_kept_idle(stage: Stage, told: Incident) -> None:
    _apply(stage, told.pool, min_instances=told.number, warm_instances=told.number)


def _service_out(stage: Stage, told: Incident) -> None:
    service = ("dynamodb", "sqs", "ec2", "dynamodb")[told.number - 1]
    stage.strikes.out[service] = stage.world.clock() + timedelta(seconds=20 * told.number)


def _booted(stage: Stage, name: str) -> list[Host]:
    now, hosts = stage.world.clock(), stage.world.hosts
    ids = sorted(each.instance_id for each in stage.world.alive(name) if each.instance_id in hosts)
    return [hosts[each] for each in ids if (at := hosts[each].boots_at) is not None and at <= now]


def _worker_dies(stage: Stage, told: Incident) -> None:
    for host in _booted(stage, told.pool)[: told.number]:
        host.restart()


def _worker_hangs(stage: Stage, told: Incident) -> None:
    """Some come back, long after their leases are over; others lie dead with them."""
    for host in _booted(stage, told.pool)[: (told.number + 1) // 2]:
        host.hang()
        if told.number % 2:
            stage.world.at(stage.world.clock() + 4 * told.number * MINUTE, host.come_back)


def _ended_by_hand(stage: Stage, told: Incident) -> None:
    world = stage.world
    for instance in sorted(world.alive(told.pool), key=lambda each: each.instance_id)[: told.number // 2]:
        world.market.shut_down(instance.instance_id, world.clock())


Kind = Callable[[Stage, Incident], object]

TROUBLE: dict[str, Kind] = {
    "no job": _no_job,
    "one id twice": _twice,
    "backlog": _backlog,
    "jobs cancelled": _cancel,
    "jobs retried": _retry,
    "pool changed": _changed,
    "pool changed otherwise": _changed_otherwise,
    "schedule": _scheduled,
    "pool restored": _restored,
    "pool deleted for a while": _deleted,
    "pool misconfigured": _misconfigured,
    "instances drained": _drained,
    "zones run dry": _dry,
    "prices rise": _dear,
    "interrupted": _interrupted,
    "worker dies": _worker_dies,
    "worker hangs": _worker_hangs,
    "ended by hand": _ended_by_hand,
}
"""What has to do with one pool alone."""
KINDS: dict[str, Kind] = {
    **TROUBLE,
    "parked redriven": _redrive,
    "prices drift": _drifting,
    "spot asked, on-demand given": _slips,
    "strange instance": _strangers,
    "clocks differ": _clocks,
    "function out": _out,
    "everything out": _all_out,
    "service out": _service_out,
}
APART: dict[str, Kind] = {**TROUBLE, "pool unreadable": _unreadable}
"""What may happen in a story for law 8, to pools that are not the one apart."""
SILENT: dict[str, Kind] = {"long job": _long_job, "one kept idle": _one_kept_idle, "nobody answers": _nobody_answers}
"""What happens in a story for law 11 beside all the rest."""
EVERY: dict[str, Kind] = {**KINDS, **APART, **SILENT}


def settings(number: int, *, silent: bool = False) -> Settings:
    """The product's own, save that idle workers begin to ask less often; or with workers that also power off sooner,
    since the storm is short, and soonest in a story for law 11."""
    seldom = Settings(poll_first=timedelta(seconds=8))
    if silent:
        return replace(seldom, idle_power_off=2 * MINUTE, running_power_off=3 * MINUTE)
    return replace(seldom, idle_power_off=3 * MINUTE, running_power_off=5 * MINUTE) if number else seldom


def calm(stage: Stage) -> None:
    """Faults stop, and there is capacity at a price that the pools pay."""
    world = stage.world
    stage.over = True
    world.hook, world.fate = None, usual
    world.held.clear()
    world.skews.clear()
    world.ec2.slips = 0
    stage.conditions.factor = Decimal(1)
    world.market.release(world.clock())
    for repair in stage.repairs:
        repair()
    for name in TYPES:
        world.apply(pool(name))
        _cancel_forbidden(stage, name)


def _cancel_forbidden(stage: Stage, name: str) -> None:
    """What the pool that is back as it was never runs: its sender would do so, else it waits for ever, as is right."""
    ledger = Ledger(stage.world.table, jobs_kept=stage.world.settings.jobs_kept)
    for job in _jobs(stage, name, JobState.QUEUED, JobState.RUNNING):
        if job.on_demand is OnDemand.ALWAYS and not pool(name).allows_on_demand():
            ledger.cancel(job, stage.world.clock())
