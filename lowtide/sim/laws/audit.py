"""Watches a world from step to step and collects what breaks a law: what stands after each invocation (laws 1, 2, 9),
and what only the moment shows (laws 3 to 6, 10, 11)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from lambdas import names
from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.jobs.terms import Market
from lambdas.domain.pools.pools import CapacityType, Pool
from lowtide.market.instances import Instance, State
from lowtide.market.model import Lifecycle
from lowtide.sim.calls import Request
from lowtide.sim.functions import Function
from lowtide.sim.hosts import Host
from lowtide.sim.laws.ledger import Ledger, Touched
from lowtide.sim.laws.standing import Violation, arrived, instance_laws, job_id_of, job_laws, pool_laws
from lowtide.sim.world import Sent, World

UNKNOWN_MOST = 3
"""Law 5: ticks that an instance with the stack's tag may stay unknown."""
ASKED_AGAIN = timedelta(seconds=30)
"""Law 10: an instance whose end was asked for, answered and recorded is not asked for again so soon."""
POWER_OFF_SLACK = timedelta(minutes=2)
"""Law 11: a worker looks at its silence once a minute at least."""


class Audit:
    """`violations`, in the order in which they were found, each once."""

    def __init__(self, world: World) -> None:
        self.violations: list[Violation] = []
        self.ledger = Ledger(world)
        self.ledger.follow()
        self._world = world
        self._sent = 0
        self._undecided: list[Sent] = []
        self._born: set[str] = set(world.market.instances)
        self._unknown: Counter[str] = Counter()
        self._asked: list[str] = []
        """Instances that the invocation under way asked EC2 to end, while it is the only one."""
        self._ended_at: dict[str, datetime] = {}
        world.observers.append(self)
        world.fleet.powered_off = self.powered_off

    # --- what it is told ----------------------------------------------------------------------------------------------

    def called(self, function: Function, operation: str, request: Request) -> None:  # noqa: ARG002 - the observer's
        match operation:
            case "ec2.create_fleet":
                self.ledger.catch_up_into(self._check)
                self._found(self._within_price_limit(request))
            case "ec2.terminate_instances":
                self.ledger.catch_up_into(self._check)
                self._found(self._may_be_ended(request["InstanceIds"]))
                self._found(self._not_again(request["InstanceIds"]))
            case _:
                return

    def ended(self, function: Function, *, crashed: bool) -> None:
        self.ledger.catch_up_into(self._check)
        self._count_arrived()
        self._count_born()
        if crashed or self._world.struck:
            self._asked.clear()
        else:
            instances, now = self._world.market.instances, self._world.clock()
            self._ended_at.update(
                (each, now) for each in self._asked if each in instances and _has_ended(instances[each], now)
            )
            self._asked.clear()
        if function is Function.TICK and not crashed:
            self._count_unknown()
            self.look()

    def look(self) -> None:
        """What no function shows, since it holds while none is reached: law 11. For every minute of a storm."""
        self._found(self._silent_for_too_long())

    def powered_off(self, host: Host, why: str) -> None:
        """Law 4 again: an idle worker is told to end its instance; it must be idle for the ledger too. And law 11: one
        that nobody answers waits for as long as the settings say."""
        held = self.ledger.leases_on[host.instance_id]
        if why == "the control plane said so" and held:
            self._found([Violation(law=4, evidence=f"{host.instance_id} holds leases of {[*held]} and is powered off")])
        if why == "the control plane has not answered for too long":
            self._found(self._too_early(host))

    def _found(self, violations: Iterable[Violation]) -> None:
        self.violations.extend(each for each in violations if each not in self.violations)

    # --- after a step -------------------------------------------------------------------------------------------------

    def _check(self, touched: Touched) -> None:
        self._found(job_laws(self.ledger, touched.jobs))
        self._found(instance_laws(self._world, self.ledger, touched.instances))
        self._found(pool_laws(self.ledger, touched.pools))
        for lease in touched.leases:
            self._found(self._within_its_terms(lease))
        for job in touched.ended:
            self._found(self._ended_by_its_holder(job))

    def _count_arrived(self) -> None:
        """Law 1. A message that was a job or parked once needs no further look: `job_laws` has its job from then on."""
        sent = self._world.sent
        self._undecided += sent[self._sent :]
        self._sent = len(sent)
        if not self._undecided:
            return
        self._found(arrived(self._world, self.ledger, self._undecided))
        undelivered = self._world.undelivered()
        self._undecided = [
            each
            for each in self._undecided
            if each.message_id in undelivered and job_id_of(each) not in self.ledger.jobs
        ]

    def _ended_by_its_holder(self, job: JobRecord) -> Iterator[Violation]:
        """Law 2: a result comes from the lease's holder, for whom the job is over."""
        host = self._world.hosts.get(job.instance_id or "")
        if host is None or job.state is not JobState.SUCCEEDED:
            return
        for attempt in host.attempts:
            if (attempt.lease.key.job_id, attempt.lease.key.fence) == (job.job_id, job.fence) and not attempt.outcome:
                yield Violation(law=2, evidence=f"{job.job_id} has a result, and its holder {host.instance_id} runs it")

    def _within_its_terms(self, lease: Lease) -> Iterator[Violation]:
        """Law 6: no job starts on an instance whose limit is above its own, nor on a lifecycle that it forbids."""
        instance = self._world.market.instances.get(lease.instance_id)
        if instance is None:
            return
        spot = instance.lifecycle is Lifecycle.SPOT
        market = Market(
            capacity_type=CapacityType.SPOT if spot else CapacityType.ON_DEMAND,
            limit=instance.price_limit if spot else None,
        )
        if not lease.terms.accept(market):
            yield Violation(law=6, evidence=f"{lease.job_id} wants {lease.terms} and is given {market}")

    # --- what only the moment shows -----------------------------------------------------------------------------------

    def _versions(self, pool: str) -> list[Pool]:
        """What a function that is at work may have read."""
        return self.ledger.in_force(pool, self._world.at_work_since())

    def _count_born(self) -> None:
        """Law 3, whenever an instance was launched."""
        born = self._world.market.instances.keys() - self._born
        if not born:
            return
        self._born |= born
        for pool in sorted({self._world.ec2.tags(each).get(names.TAG_POOL, "") for each in born}):
            self._found(self._within_maximum(pool))

    def _within_maximum(self, pool: str) -> Iterator[Violation]:
        """An instance whose end EC2 has announced counts no longer."""
        most = max((each.max_instances for each in self._versions(pool)), default=None)
        counted = [i for i in self._world.alive(pool) if not _announced(i, self._world.clock())]
        if most is not None and len(counted) > most:
            yield Violation(law=3, evidence=f"{pool} has {len(counted)} instances; its maximum is {most}")

    def _count_unknown(self) -> None:
        """Law 5, after each tick that came to its end."""
        now, known = self._world.clock(), self.ledger.instances
        unknown = {i.instance_id for i in self._world.alive() if i.visible_at <= now and i.instance_id not in known}
        self._unknown = Counter({each: self._unknown[each] + 1 for each in unknown})
        for instance_id, ticks in self._unknown.items():
            if ticks > UNKNOWN_MOST:
                self._found([Violation(law=5, evidence=f"{instance_id} is unknown after {ticks} ticks")])
        for instance_id in known:
            if instance_id in self._world.market.instances and not self._carries_the_tag(instance_id):
                self._found(
                    [Violation(law=5, evidence=f"{instance_id} does not carry the stack's tag and is recorded")]
                )

    def _carries_the_tag(self, instance_id: str) -> bool:
        return self._world.ec2.tags(instance_id).get(names.TAG_STACK) == self._world.stack

    def _may_be_ended(self, instance_ids: list[str]) -> Iterator[Violation]:
        """Laws 4 and 5: what is ended carries the stack's tag and holds no lease, unless it is interrupted."""
        for instance_id in instance_ids:
            instance = self._world.market.instances.get(instance_id)
            if instance is not None and not self._carries_the_tag(instance_id):
                yield Violation(law=5, evidence=f"{instance_id} does not carry the stack's tag and is ended")
            interrupted = instance is not None and instance.interruption is not None
            if (held := [*self.ledger.leases_on[instance_id]]) and not interrupted:
                yield Violation(law=4, evidence=f"{instance_id} holds leases of {held} and is ended")

    def _not_again(self, instance_ids: list[str]) -> Iterator[Violation]:
        """Law 10: what has been asked for, answered and recorded is not asked for again right after."""
        now, since = self._world.clock(), self._world.at_work[-1].began_at if self._world.at_work else None
        for instance_id in instance_ids:
            asked = self._ended_at.get(instance_id)
            if asked is not None and since is not None and asked <= since and now - asked < ASKED_AGAIN:
                yield Violation(law=10, evidence=f"the end of {instance_id} is asked for again after {now - asked}")
        if self._world.alone():
            self._asked += instance_ids

    def _within_price_limit(self, request: Request) -> Iterator[Violation]:
        """Law 6. A repeated call asks as the pool was when it was first made: a limit lowered since shows here."""
        if request["TargetCapacitySpecification"]["DefaultTargetCapacityType"] != Lifecycle.SPOT:
            return
        tags = {tag["Key"]: tag["Value"] for each in request["TagSpecifications"] for tag in each["Tags"]}
        pools = self._versions(tags[names.TAG_POOL])
        for override in request["LaunchTemplateConfigs"][0]["Overrides"]:
            found = [(pool, facts) for pool in pools if (facts := pool.facts(override["InstanceType"]))]
            limits = [pool.price_limit(facts) for pool, facts in found]
            limit = None if not limits or None in limits else max(each for each in limits if each is not None)
            if limit is not None and ("MaxPrice" not in override or Decimal(override["MaxPrice"]) > limit):
                yield Violation(law=6, evidence=f"{override['InstanceType']} is asked for above {limit}")

    def _silent_for_too_long(self) -> Iterator[Violation]:
        """Law 11: no worker that nobody answers keeps its instance up for longer than the settings say."""
        now, settings = self._world.clock(), self._world.settings
        for host in self._world.hosts.values():
            limit = settings.running_power_off if host.occupied else settings.idle_power_off
            instance = self._world.market.instances.get(host.instance_id)
            if host.hangs or host.answered_at is None or instance is None or instance.state is not State.RUNNING:
                continue
            if now - max(host.answered_at, host.came_back_at or host.answered_at) > limit + POWER_OFF_SLACK:
                evidence = f"{host.instance_id} is up {now - host.answered_at} after its last answer"
                yield Violation(law=11, evidence=evidence)

    def _too_early(self, host: Host) -> Iterator[Violation]:
        """Law 11, the other way round: what a worker runs outlives a shorter silence. When it ended that counts: an
        answer may have come since, to the results that it still owed."""
        if host.answered_at is None:
            return
        ran, settings = host.gave_up_after is not None or host.occupied, self._world.settings
        limit = settings.running_power_off if ran else settings.idle_power_off
        silence = self._world.clock() - host.answered_at if host.gave_up_after is None else host.gave_up_after
        if silence < limit:
            evidence = f"{host.instance_id} gives up {silence} after its last answer, {'running' if ran else 'idle'}"
            yield Violation(law=11, evidence=evidence)


def _has_ended(instance: Instance, now: datetime) -> bool:
    """EC2 took the request: it refuses one for an instance that it does not show yet."""
    return not instance.alive and instance.visible_at <= now


def _announced(instance: Instance, now: datetime) -> bool:
    end = instance.interruption
    return end is not None and end.warned_at is not None and end.warned_at <= now
