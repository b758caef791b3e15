"""The laws that hold at any instant between two invocations: 1, 2 and 9; of everything, or of what was touched."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lambdas.adapters import items
from lambdas.domain.fleet.fleet import facts_of
from lambdas.domain.jobs.fit import used_by, whole
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim.laws.ledger import Ledger
from lowtide.sim.world import Sent, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    law: int
    evidence: str

    def __str__(self) -> str:
        return f"law {self.law}: {self.evidence}"


def standing(world: World) -> list[Violation]:
    """Everything that is there now."""
    ledger = Ledger(world)
    found = [*arrived(world, ledger, world.sent), *job_laws(ledger, {*ledger.jobs, *ledger.waiting, *ledger.leases_of})]
    return [*found, *instance_laws(world, ledger, ledger.instances), *pool_laws(ledger, ledger.states)]


def arrived(world: World, ledger: Ledger, sent: Iterable[Sent]) -> Iterator[Violation]:
    """Law 1: every message is still to be delivered, a job, or parked with a reason."""
    parked: dict[str, Any] | None = None
    elsewhere = world.undelivered() | world.withdrawn
    for each in sent:
        if each.message_id in elsewhere or job_id_of(each) in ledger.jobs:
            continue
        if parked is None:
            parked = {record.rpartition("#")[2]: item for record, item in ledger.parked.items()}
        if each.message_id not in parked:
            yield Violation(law=1, evidence=f"message {each.message_id} is neither a job nor parked")
        elif not parked[each.message_id].get("reason"):
            yield Violation(law=1, evidence=f"message {each.message_id} is parked without a reason")


def job_id_of(sent: Sent) -> str:
    """The id that the message gives its job, if it is one."""
    try:
        document: Any = json.loads(sent.body)
    except ValueError:
        return sent.message_id
    return str(document.get("id", sent.message_id)) if isinstance(document, dict) else sent.message_id


def job_laws(ledger: Ledger, job_ids: Iterable[str]) -> Iterator[Violation]:
    for job_id in job_ids:
        yield from _job_in_its_place(ledger, job_id)
        yield from _one_result(ledger, job_id)


def _job_in_its_place(ledger: Ledger, job_id: str) -> Iterator[Violation]:
    """Laws 1 and 2: a job waits, runs under one lease of its own fence and instance, or has ended."""
    waiting, leases = len(ledger.waiting[job_id]), ledger.leases_of[job_id]
    job = ledger.jobs.get(job_id)
    if job is None:
        if waiting:
            yield Violation(law=1, evidence=f"the queue has {job_id}, the ledger does not")
        for lease in leases.values():
            yield Violation(law=2, evidence=f"the lease of {job_id} on {lease.instance_id} is not its job's")
        return
    if waiting != (job.state is JobState.QUEUED):
        yield Violation(law=1, evidence=f"{job_id} is {job.state}, waiting {waiting} times")
    if len(leases) != (job.state is JobState.RUNNING):
        yield Violation(law=2, evidence=f"{job_id} is {job.state} with {len(leases)} leases")
    for lease in leases.values():
        if (job.fence, job.instance_id) != (lease.fence, lease.instance_id):
            yield Violation(law=2, evidence=f"the lease of {job_id} on {lease.instance_id} is not its job's")


def _one_result(ledger: Ledger, job_id: str) -> Iterator[Violation]:
    """Law 2: an ended job has one attempt that ended it, its last."""
    job = ledger.jobs.get(job_id)
    if job is None:
        return
    attempts = ledger.attempts[job_id]
    won = [n for n in sorted(attempts) if attempts[n].outcome == "succeeded"]
    if len(won) != (job.state is JobState.SUCCEEDED):
        yield Violation(law=2, evidence=f"{job_id} is {job.state}; attempts {won} succeeded")
    running = job.state is JobState.RUNNING
    if sorted(attempts) != list(range(1, job.attempts + 1 - running)):
        yield Violation(law=2, evidence=f"{job_id} began {job.attempts} attempts; {sorted(attempts)} are recorded")


def instance_laws(world: World, ledger: Ledger, instance_ids: Iterable[str]) -> Iterator[Violation]:
    """Law 2: instances count their leases rightly, hold no more than they have, and share no GPU between jobs."""
    for instance_id in instance_ids:
        item = ledger.instances.get(instance_id)
        if item is None:
            continue
        parts = [lease.part for lease in ledger.leases_on[instance_id].values()]
        used = used_by(parts)
        counted, real = (item["leases"], items.used_from(item)), (len(parts), used)
        if counted != real:
            yield Violation(law=2, evidence=f"{instance_id} counts {counted} leases and parts; it has {real}")
        pool = ledger.pool(item["pool"])
        facts = pool and facts_of(items.instance_from(item), pool)
        if facts and not used.load(facts).within(whole(facts)):
            yield Violation(law=2, evidence=f"{instance_id}, a {facts.name}, holds more than it has: {used}")
        if (host := world.hosts.get(instance_id)) is not None:
            devices = Counter(device for each in host.attempts if each.outcome is None for device in each.devices)
            if any(count > 1 for count in devices.values()):
                yield Violation(law=2, evidence=f"jobs on {instance_id} share GPUs: {devices}")


def pool_laws(ledger: Ledger, pools: Iterable[str]) -> Iterator[Violation]:
    """Law 9: whatever is unfulfilled has a reason with a remedy, and a since."""
    for pool in pools:
        state = ledger.states.get(pool)
        if state is None or not state.get("summary", {}).get("unfulfilled"):
            continue
        reasons = state.get("reasons", [])
        if not reasons or "unfulfilled_since" not in state:
            yield Violation(law=9, evidence=f"{pool} is short of instances without a reason or a since")
        for reason in reasons:
            if not all(reason.get(part) for part in ("message", "remedy", "since")):
                yield Violation(law=9, evidence=f"{pool}: reason {reason.get('code')} is not whole")
