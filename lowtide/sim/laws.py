"""The laws of docs/architecture.md as functions of a world: each answers with the violations it finds.

`Audit` watches while the world goes on what only the moment shows (laws 3 to 6); `standing` is true at any instant
between two invocations (laws 1, 2 and 9); `at_rest` holds once everything has settled (laws 1, 7, 8 and 10).
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas import names
from lambdas.adapters import items, job_items, keys
from lambdas.adapters.table import Item
from lambdas.domain.fit import used_by, whole
from lambdas.domain.fleet import facts_of
from lambdas.domain.instants import from_text
from lambdas.domain.jobs import JobState
from lowtide.market.instances import Instance
from lowtide.market.model import Lifecycle
from lowtide.sim.calls import Request
from lowtide.sim.functions import Function
from lowtide.sim.world import World

UNKNOWN_MOST = 3
"""Law 5: ticks that an instance with the stack's tag may stay unknown."""
AFTERWARDS = 2
"""Law 10: further ticks that must change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    law: int
    evidence: str

    def __str__(self) -> str:
        return f"law {self.law}: {self.evidence}"


class Ledger:
    """The table as the laws read it, taken at one instant."""

    def __init__(self, world: World) -> None:
        self.items = world.stored()
        self.jobs = {i["job_id"]: job_items.job_from(i) for i in self.items if i["sk"] == keys.JOB}
        self.queued = Counter(i["job_id"] for i in self.items if i["pk"].startswith("QUEUE#"))
        self.leases = [items.lease_from(i) for i in self.items if i["sk"].startswith(keys.LEASE_PREFIX)]
        self.instances = {i["instance_id"]: i for i in self.items if i["sk"].startswith(keys.INSTANCE_PREFIX)}
        self.intentions = [items.intention_from(i) for i in self.items if i["sk"].startswith(keys.INTENT_PREFIX)]
        self.parked = {i["sk"]: i for i in self.items if i["pk"] == keys.PARKED}
        self.states = {i["pool"]: i for i in self.items if i["sk"] == keys.STATE and "pool" in i}
        self.attempts = [i for i in self.items if i["sk"].startswith(keys.ATTEMPT_PREFIX)]

    def held_by(self, instance_id: str) -> list[str]:
        return [lease.job_id for lease in self.leases if lease.instance_id == instance_id]


# --- at any instant between two invocations ---------------------------------------------------------------------------


def standing(world: World) -> list[Violation]:
    ledger = Ledger(world)
    laws = (_no_job_lost(world, ledger), _one_lease(ledger), _in_its_place(world, ledger))
    return [*(each for law in laws for each in law), *_one_result(ledger), *_has_reason(ledger)]


def _no_job_lost(world: World, ledger: Ledger) -> Iterator[Violation]:
    """Law 1: every message is still to be delivered, a job, or parked; and a job waits, runs or has ended."""
    undelivered = {message.message_id for message in world.sqs.queues[world.jobs_url].messages}
    parked = {record.rpartition("#")[2]: item for record, item in ledger.parked.items()}
    for sent in world.sent:
        if sent.message_id in undelivered or _job_id(sent.body, sent.message_id) in ledger.jobs:
            continue
        if sent.message_id not in parked:
            yield Violation(law=1, evidence=f"message {sent.message_id} is neither a job nor parked")
        elif not parked[sent.message_id].get("reason"):
            yield Violation(law=1, evidence=f"message {sent.message_id} is parked without a reason")
    for job in ledger.jobs.values():
        if ledger.queued[job.job_id] != (job.state is JobState.QUEUED):
            yield Violation(law=1, evidence=f"{job.job_id} is {job.state}, waiting {ledger.queued[job.job_id]} times")
    for job_id in ledger.queued.keys() - ledger.jobs.keys():
        yield Violation(law=1, evidence=f"the queue has {job_id}, the ledger does not")


def _job_id(body: str, message_id: str) -> str:
    """The id that the message gives its job, if it is one."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return message_id
    return str(document.get("id", message_id)) if isinstance(document, dict) else message_id


def _one_lease(ledger: Ledger) -> Iterator[Violation]:
    """Law 2: a running job has one lease, that of its fence and instance; instances count theirs rightly."""
    held = Counter(lease.job_id for lease in ledger.leases)
    for job in ledger.jobs.values():
        if held[job.job_id] != (job.state is JobState.RUNNING):
            yield Violation(law=2, evidence=f"{job.job_id} is {job.state} with {held[job.job_id]} leases")
    for lease in ledger.leases:
        job = ledger.jobs.get(lease.job_id)
        if job is None or (job.fence, job.instance_id) != (lease.fence, lease.instance_id):
            yield Violation(law=2, evidence=f"the lease of {lease.job_id} on {lease.instance_id} is not its job's")
    for instance_id, item in ledger.instances.items():
        leases = [lease for lease in ledger.leases if lease.instance_id == instance_id]
        counted, real = (item["leases"], items.used_from(item)), (len(leases), used_by(lease.part for lease in leases))
        if counted != real:
            yield Violation(law=2, evidence=f"{instance_id} counts {counted} leases and parts; it has {real}")


def _in_its_place(world: World, ledger: Ledger) -> Iterator[Violation]:
    """Law 2: what an instance's leases take is there, and what really runs has GPUs of its own."""
    for instance_id, item in ledger.instances.items():
        instance, pool = items.instance_from(item), world.config.pool(item["pool"])
        facts = pool and facts_of(instance, pool)
        taken = [lease.part for lease in ledger.leases if lease.instance_id == instance_id]
        if facts and not used_by(taken).load(facts).within(whole(facts)):
            yield Violation(law=2, evidence=f"{instance_id}, a {facts.name}, holds more than it has: {used_by(taken)}")
    for instance_id, host in world.hosts.items():
        devices = Counter(device for each in host.attempts if each.outcome is None for device in each.devices)
        if any(count > 1 for count in devices.values()):
            yield Violation(law=2, evidence=f"jobs on {instance_id} share GPUs: {devices}")


def _one_result(ledger: Ledger) -> Iterator[Violation]:
    """Law 2: an ended job has one attempt that ended it, its last."""
    for job in ledger.jobs.values():
        ended = sorted(
            (job_items.attempt_from(i) for i in ledger.attempts if i["pk"] == keys.job(job.job_id)),
            key=lambda attempt: attempt.n,
        )
        won = [attempt.n for attempt in ended if attempt.outcome == "succeeded"]
        if len(won) != (job.state is JobState.SUCCEEDED):
            yield Violation(law=2, evidence=f"{job.job_id} is {job.state}; attempts {won} succeeded")
        numbers = [attempt.n for attempt in ended]
        running = job.state is JobState.RUNNING
        if numbers != list(range(1, job.attempts + 1 - running)):
            yield Violation(law=2, evidence=f"{job.job_id} began {job.attempts} attempts; {numbers} are recorded")


def _has_reason(ledger: Ledger) -> Iterator[Violation]:
    """Law 9: whatever is unfulfilled has a reason with a remedy, and a since."""
    for pool, state in ledger.states.items():
        if not state.get("summary", {}).get("unfulfilled"):
            continue
        reasons = state.get("reasons", [])
        if not reasons or "unfulfilled_since" not in state:
            yield Violation(law=9, evidence=f"{pool} is short of instances without a reason or a since")
        for reason in reasons:
            if not all(reason.get(part) for part in ("message", "remedy", "since")):
                yield Violation(law=9, evidence=f"{pool}: reason {reason.get('code')} is not whole")


# --- while it goes on -------------------------------------------------------------------------------------------------


class Audit:
    """Watches a world and collects what breaks a law in passing."""

    def __init__(self, world: World) -> None:
        self.violations: list[Violation] = []
        self._world = world
        self._born: set[str] = set(world.market.instances)
        self._unknown: Counter[str] = Counter()
        self._limits: dict[str, Decimal | None] = {}
        world.observers.append(self)

    def called(self, function: Function, operation: str, request: Request) -> None:  # noqa: ARG002 - the observer's
        match operation:
            case "ec2.create_fleet":
                self._found(_within_price_limit(self._world, request))
            case "ec2.terminate_instances":
                self._found(_may_be_ended(self._world, request["InstanceIds"]))
            case _:
                return

    def ended(self, function: Function, *, crashed: bool) -> None:
        self._count_born()
        if function is Function.TICK and not crashed:
            self._count_unknown()
        if crashed:
            self._found(standing(self._world))

    def _found(self, violations: Iterator[Violation] | list[Violation]) -> None:
        self.violations.extend(each for each in violations if each not in self.violations)

    def _count_born(self) -> None:
        """Law 3, whenever an instance was launched."""
        born = self._world.market.instances.keys() - self._born
        self._born |= born
        for pool in sorted({self._world.ec2.tags(each).get(names.TAG_POOL, "") for each in born}):
            self._found(_within_maximum(self._world, pool))

    def _count_unknown(self) -> None:
        """Law 5, after each tick that came to its end."""
        now = self._world.clock()
        alive = {i.instance_id for i in self._world.alive() if i.visible_at <= now}
        unknown = alive - Ledger(self._world).instances.keys() if alive else set[str]()
        self._unknown = Counter({each: self._unknown[each] + 1 for each in unknown})
        for instance_id, ticks in self._unknown.items():
            if ticks > UNKNOWN_MOST:
                self._found([Violation(law=5, evidence=f"{instance_id} is unknown after {ticks} ticks")])


def _within_maximum(world: World, pool: str) -> Iterator[Violation]:
    """Law 3. An instance whose end EC2 has announced counts no longer."""
    config = world.config.pool(pool)
    counted = [i for i in world.alive(pool) if not _announced(i, world.clock())]
    if config is not None and len(counted) > config.max_instances:
        yield Violation(law=3, evidence=f"{pool} has {len(counted)} instances; its maximum is {config.max_instances}")


def _announced(instance: Instance, now: datetime) -> bool:
    end = instance.interruption
    return end is not None and end.warned_at is not None and end.warned_at <= now


def _may_be_ended(world: World, instance_ids: list[str]) -> Iterator[Violation]:
    """Laws 4 and 5: what is ended carries the stack's tag and holds no lease, unless it is interrupted."""
    ledger = Ledger(world)
    for instance_id in instance_ids:
        instance = world.market.instances.get(instance_id)
        if instance is not None and world.ec2.tags(instance_id).get(names.TAG_STACK) != world.stack:
            yield Violation(law=5, evidence=f"{instance_id} does not carry the stack's tag and is ended")
        interrupted = instance is not None and instance.interruption is not None
        if (held := ledger.held_by(instance_id)) and not interrupted:
            yield Violation(law=4, evidence=f"{instance_id} holds leases of {held} and is ended")


def _within_price_limit(world: World, request: Request) -> Iterator[Violation]:
    """Law 6. A repeated call asks as the pool was when it was first made: a limit lowered since shows here."""
    if request["TargetCapacitySpecification"]["DefaultTargetCapacityType"] != Lifecycle.SPOT:
        return
    tags = {tag["Key"]: tag["Value"] for each in request["TagSpecifications"] for tag in each["Tags"]}
    pool = world.config.pool(tags[names.TAG_POOL])
    for override in request["LaunchTemplateConfigs"][0]["Overrides"]:
        facts = pool and pool.facts(override["InstanceType"])
        limit = None if pool is None or facts is None else pool.price_limit(facts)
        if limit is not None and ("MaxPrice" not in override or Decimal(override["MaxPrice"]) > limit):
            yield Violation(law=6, evidence=f"{override['InstanceType']} is asked for above {limit}")


# --- once it has settled ----------------------------------------------------------------------------------------------


def at_rest(world: World) -> list[Violation]:
    """Call it when the world says that it is quiet. Plays a few more ticks."""
    ledger = Ledger(world)
    return [*standing(world), *_all_done(world, ledger), *_agree(world, ledger), *_nothing_more(world)]


def _all_done(world: World, ledger: Ledger) -> Iterator[Violation]:
    """Law 7: every job has ended, every pool is at its minimum and its state at rest."""
    for job in ledger.jobs.values():
        if job.state not in job_items.ENDED:
            yield Violation(law=7, evidence=f"{job.job_id} is still {job.state}")
    for pool in world.config.pools():
        if (count := len(world.alive(pool.name))) != pool.min_instances:
            yield Violation(law=7, evidence=f"{pool.name} has {count} instances; its minimum is {pool.min_instances}")
    for pool, state in ledger.states.items():
        if "gpk" in state or "dirty" in state:
            yield Violation(law=7, evidence=f"the state of {pool} is not at rest")


def _agree(world: World, ledger: Ledger) -> Iterator[Violation]:
    """Laws 1 and 5: what is recorded is there and what is there is recorded; nothing is left open."""
    alive = {instance.instance_id for instance in world.alive()}
    if alive != ledger.instances.keys():
        differ = sorted(alive ^ ledger.instances.keys())
        yield Violation(law=5, evidence=f"EC2 and the table differ on {differ}")
    for intention in ledger.intentions:
        yield Violation(law=7, evidence=f"intention {intention.intention_id} of {intention.pool} is still open")
    copies = {message.message_id for message in world.sqs.queues[world.parked_url].messages}
    for record, item in ledger.parked.items():
        if item.get("copy_id") not in copies and item.get("job_id") not in ledger.jobs:
            yield Violation(law=1, evidence=f"parked record {record} has no copy in the parked queue")


def _nothing_more(world: World) -> Iterator[Violation]:
    """Laws 7 and 10: further ticks, one of them delivered twice, leave everything as it is."""
    before, actions = _lasting(world), _Actions()
    world.observers.append(actions)
    for number in range(AFTERWARDS):
        world.tick(f"afterwards-{number}")
        world.tick(f"afterwards-{number}")
        world.run_for(timedelta(minutes=1))
    world.observers.remove(actions)
    if actions.made:
        yield Violation(law=10, evidence=f"ticks at rest made {sorted(set(actions.made))}")
    changed = [item["pk"] + " " + item["sk"] for item in _lasting(world) if item not in before]
    if changed or len(before) != len(_lasting(world)):
        yield Violation(law=10, evidence=f"ticks at rest changed {changed}")


class _Actions:
    """Calls that change the outside: launches, ends, messages."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def called(self, function: Function, operation: str, request: Request) -> None:  # noqa: ARG002 - the observer's
        if operation in ("ec2.create_fleet", "ec2.terminate_instances", "sqs.send_message", "sqs.send_message_batch"):
            self.made.append(operation)

    def ended(self, function: Function, *, crashed: bool) -> None: ...


def _lasting(world: World) -> list[Item]:
    """The table without what only says that the control plane lives, without idle workers' signs of life, and without
    the warnings that EC2 sends about strangers."""
    return [item for item in world.stored() if item["pk"] != keys.STACK and not item["pk"].startswith("NEWS#")]


def waited_at_most(world: World, pool: str, most: timedelta) -> list[Violation]:
    """Law 8: no job of this pool waited longer for its first attempt, whatever happened to others."""
    late: list[Violation] = []
    for item in world.stored():
        if item["sk"] == keys.JOB and item["pool"] == pool:
            begun = from_text(item["started_at"]) if "started_at" in item else world.clock()
            if (waited := begun - from_text(item["submitted_at"])) > most:
                late.append(Violation(law=8, evidence=f"{item['job_id']} of {pool} waited {waited}"))
    return late
