"""Peers' rules of how many instances there should be: pure functions of a view, written from documented behaviour.

All rules get the same market, the same jobs, the same boot times and the same instances: the pool's first type, in
every zone, under the pool's price limit. Where a peer lacks something that costs it dearly and is not its rule
(Determined launches into one subnet; the GitHub runners' scaler does not send an interrupted job again) it is given
here: what is compared is the rule. Their workers take a waiting job at once; only Lowtide's own ask in turns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any

from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.pools.pools import Pool
from lowtide.backtest.yard import Terms

LOWTIDE = "lowtide"
"""Not a rule of this module: the plan."""


class Use(StrEnum):
    LAUNCHING = "launching"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An instance that nobody has asked to end and EC2 has not announced to end."""

    instance_id: str
    use: Use
    launched_at: datetime
    idle_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a rule may know."""

    now: datetime
    pool: Pool
    waiting: Sequence[QueuedJob]
    """In rank order."""
    instances: Sequence[Seen]
    mean_work: timedelta
    """Of all jobs of the pool: what target tracking has to be told by somebody."""
    memory: Any = None
    """What the rule returned the last time; None: it has never been asked."""

    def of(self, use: Use) -> list[Seen]:
        return [each for each in self.instances if each.use is use]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    desired: Mapping[str, int]
    """Instances wanted, by type. Beyond what is there new ones are asked for; of what is too many, idle ones end, those
    idle for longest first. A busy one is never ended."""
    look_at: datetime | None = None
    """When time alone may change the answer."""
    memory: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str
    title: str
    decide: Callable[[View], Wish]
    strategy: str
    """How it lets EC2 choose among the zones."""
    retry: timedelta
    """How often it asks again for what did not come."""
    terms: Terms = field(default_factory=lambda: Terms(at_once=True))


# --- Determined -------------------------------------------------------------------------------------------------------


def determined(view: View) -> Wish:
    """Determined's scale decider.

    Source: determined-ai/determined @c1e9c6d, master/internal/rm/agentrm: scaling.go (calculateDesiredNewAgentNum) and
    provisioner/scaledecider/scale_decider.go. The slots of the tasks that are not scheduled are summed up and divided
    by an agent's slots; tasks neither within an agent nor a multiple of it are left out; nothing is packed. Then

        launch = max(0, clamp(min - instances, new - recently launched, max - instances))

    where a recently launched agent is one that has not connected yet. An agent idle for max_idle_agent_period ends,
    never below the minimum. The loop's 5 s are left out: it looks when something happens.
    """
    pool, facts = view.pool, view.pool.types[0]
    slots = max(1, facts.slots)
    countable = [job.slots for job in view.waiting if job.slots <= slots or job.slots % slots == 0]
    auxiliary = sum(count == 0 for count in countable)
    new = max(ceil(sum(countable) / slots), ceil(auxiliary / max(1, pool.max_aux_containers_per_agent)))
    there, recent = len(view.instances), len(view.of(Use.LAUNCHING))
    low, high = pool.min_instances - there, pool.max_instances - there
    launch = max(0, min(max(low, new - recent), high))
    idle = view.of(Use.IDLE)
    ends = [each.idle_since + pool.max_idle_agent_period for each in idle if each.idle_since is not None]
    over = min(sum(at <= view.now for at in ends), max(0, there - pool.min_instances))
    return Wish(
        desired={facts.name: there - over + launch},
        look_at=min((at for at in ends if at > view.now), default=None),
    )


# --- github-aws-runners -----------------------------------------------------------------------------------------------

WEBHOOK_DELAY = timedelta(seconds=30)
"""`delay_webhook_event`: how long a message waits in the build queue."""
SCALE_DOWN_EVERY = timedelta(minutes=5)
"""`scale_down_schedule_expression`: cron(*/5 * * * ? *)."""
MIN_RUNNING_TIME = timedelta(minutes=5)
"""`minimum_running_time_in_minutes` on Linux."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def one_per_message(view: View) -> Wish:
    """One instance for each message of a job that waits, as the GitHub runners' scaler makes them.

    Source: github-aws-runners/terraform-aws-github-runner @4475534: control-plane/src/scale-runners/scale-up.ts
    (`new = max(0, min(jobs, max - current))` for the messages whose job is still queued after the webhook's delay) and
    scale-down.ts (every five minutes, idle runners that have run for the minimum time, the oldest first). A message
    whose instance is still booting has been served. A runner runs one job at a time; an ephemeral one ends by itself
    when it has had its job (Terms.once).
    """
    pool, name, now = view.pool, view.pool.types[0].name, view.now
    there = len(view.instances)
    due = [job for job in view.waiting if now - job.queued_at >= WEBHOOK_DELAY]
    new = max(0, min(len(due) - len(view.of(Use.LAUNCHING)), pool.max_instances - there))
    idle = view.of(Use.IDLE)
    at_schedule = (now - _EPOCH) % SCALE_DOWN_EVERY == timedelta(0)
    over = sum(now - each.launched_at >= MIN_RUNNING_TIME for each in idle) if at_schedule else 0
    over = min(over, max(0, there - pool.min_instances))
    instants = [job.queued_at + WEBHOOK_DELAY for job in view.waiting]
    instants += [now + SCALE_DOWN_EVERY - (now - _EPOCH) % SCALE_DOWN_EVERY] if idle else []
    return Wish(
        desired={name: there - over + new},
        look_at=min((at for at in instants if at > now), default=None),
    )


# --- an Auto Scaling group --------------------------------------------------------------------------------------------

ACCEPTABLE_WAIT = timedelta(minutes=10)
"""From which the target follows, as AWS's guide reckons it."""
OUT_AFTER = timedelta(minutes=3)
"""A target tracking policy's high alarm: three periods of a minute."""
IN_AFTER = timedelta(minutes=15)
"""Its low alarm: fifteen periods of a minute."""
IN_BELOW = 0.9
"""The low alarm's threshold, as a part of the target."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Alarms:
    above_since: datetime | None = None
    below_since: datetime | None = None


def target_tracking(view: View) -> Wish:
    """An Auto Scaling group that tracks the backlog of a queue per instance.

    Source: Amazon EC2 Auto Scaling user guide, "Scaling based on Amazon SQS" (as-using-sqs-queue: backlog per instance
    = messages to be taken / instances in service; the target = the acceptable wait / a job's mean time) and "Target
    tracking scaling policies" (alarms of 3 and of 15 periods of a minute; capacity in proportion to the metric, in
    service alone; scale-in held back). The target is never below one message, else one long job would launch many
    instances. Busy instances are protected from scale-in, as the guide advises. Ten minutes' wait is acceptable.
    """
    pool, now = view.pool, view.now
    memory = view.memory if isinstance(view.memory, _Alarms) else _Alarms()
    target = max(1.0, ACCEPTABLE_WAIT / view.mean_work) if view.mean_work else 1.0
    there, serving = len(view.instances), len(view.instances) - len(view.of(Use.LAUNCHING))
    backlog = len(view.waiting) / max(1, serving)
    above = (memory.above_since or now) if view.waiting and (backlog > target or not there) else None
    below = (memory.below_since or now) if backlog < IN_BELOW * target and there else None
    desired = there
    if above is not None and now - above >= OUT_AFTER:
        desired = max(there, ceil(len(view.waiting) / target))
    elif below is not None and now - below >= IN_AFTER:
        desired = min(there, ceil(serving * backlog / target) + len(view.of(Use.LAUNCHING)))
    desired = min(max(desired, pool.min_instances), pool.max_instances)
    instants = [] if above is None else [max(above + OUT_AFTER, now + MINUTE)]
    if below is not None and view.of(Use.IDLE):
        instants.append(max(below + IN_AFTER, now + MINUTE))
    return Wish(
        desired={pool.types[0].name: desired}, look_at=min(instants, default=None), memory=_Alarms(above, below)
    )


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            name="determined",
            title="Determined",
            decide=determined,
            strategy="lowest-price",
            # An open spot request is served when there is capacity: it asks as often as the loop runs.
            retry=timedelta(seconds=5),
        ),
        Rule(
            name="github-runners",
            title="GitHub runners",
            decide=one_per_message,
            strategy="lowest-price",
            # The message is shown again after the scale-up function's timeout.
            retry=timedelta(seconds=30),
            terms=Terms(one_job_each=True, at_once=True),
        ),
        Rule(
            name="github-runners-ephemeral",
            title="GitHub runners, ephemeral",
            decide=one_per_message,
            strategy="lowest-price",
            retry=timedelta(seconds=30),
            terms=Terms(one_job_each=True, once=True, at_once=True),
        ),
        Rule(
            name="target-tracking",
            title="target tracking",
            decide=target_tracking,
            strategy="price-capacity-optimized",
            retry=MINUTE,
        ),
    )
}
"""By name."""
