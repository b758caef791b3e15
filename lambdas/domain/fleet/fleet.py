"""What a pool has and has asked for: instances, intentions to launch, leases, offerings. Facts only, no decisions."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from lambdas.domain.jobs.fit import Part
from lambdas.domain.jobs.jobs import Resources
from lambdas.domain.jobs.terms import OnDemand, Terms
from lambdas.domain.jobs.work import EstimateFrom, Kept, Standing
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts


class InstanceState(StrEnum):
    """Lowtide's own view; EC2's is kept beside it as `observed_state`."""

    LAUNCHING = "launching"
    """Named by CreateFleet or adopted; its worker has not called yet."""
    RUNNING = "running"
    """Its worker has called."""
    DRAINING = "draining"
    """Takes no new job; ends when its last lease does, or is ended by EC2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    instance_id: str
    pool: str
    decision: str
    """Id of the decision that launched it; also its `lowtide:decision` tag."""
    state: InstanceState
    capacity_type: CapacityType
    """What EC2 reports it to be, not what was asked for."""
    instance_type: str
    zone: str
    slots: int
    launched_at: datetime
    price_limit: Decimal | None = None
    """USD per hour it was asked for with; None: no limit was set, or on-demand."""
    reported_at: datetime | None = None
    """First call of its worker; None: not yet."""
    heartbeat_at: datetime | None = None
    """Last call of its worker."""
    idle_since: datetime | None = None
    """When its last lease ended, or its worker first called; None while it holds a lease or has never called."""
    draining_since: datetime | None = None
    drain_reason: str | None = None
    ends_at: datetime | None = None
    """When EC2 has announced to end it; None: nothing announced."""
    rebalance_at: datetime | None = None
    observed_state: str | None = None
    """EC2's state name at the last observation; None: not seen yet. `gone` when Describe no longer lists it."""
    observed_at: datetime | None = None
    """Start of the observation that `observed_state` comes from."""
    state_reason: str | None = None
    """EC2's code for why it ended, for example `Server.SpotInstanceTermination`; None: it lives, or no Describe has
    said it yet (events never do)."""
    termination_requested_at: datetime | None = None
    kept_for: str | None = None
    """Id of the job that it is kept free for: nothing that ranks behind it is given slots here while it waits. One with
    a deadline is given slots here before any other."""


def facts_of(instance: Instance, pool: Pool) -> TypeFacts | None:
    """What the instance's type has, in the slots that it was launched with; None: the pool no longer names its type."""
    facts = pool.facts(instance.instance_type)
    return facts if facts is None or facts.slots == instance.slots else replace(facts, slots=instance.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A running job's claim on an instance. It expires with its instance's silence, not on a clock of its own."""

    job_id: str
    pool: str
    instance_id: str
    fence: int
    """Rises with every lease of the job, from 1; what carries an older one is refused."""
    slots: int
    """0: an auxiliary job. Of one that takes `resources`, the whole slots that cover them: told, not counted."""
    claimed_at: datetime
    request_id: str
    """The claim's idempotency key: repeating the claim returns this lease."""
    renewed_at: datetime
    """Last claim or heartbeat that named this lease."""
    missed: int = 0
    """Heartbeats of its instance in a row that did not name it."""
    priority: int = 0
    submitted_at: datetime | None = None
    interruptions: int = 0
    """Of its job, before this lease."""
    on_demand: OnDemand = OnDemand.AUTO
    spot_max_price: Decimal | None = None
    """Its job's own limit, USD per hour."""
    resources: Resources | None = None
    """What it takes of its instance; None: its slots' share, also of a job that names resources where the worker knows
    slots alone."""
    share: Decimal | None = None
    """The part of its instance's cost that it is charged; None: its slots' share."""
    deadline: datetime | None = None
    estimated_seconds: Decimal | None = None
    estimate_from: EstimateFrom | None = None
    kept_seconds: Decimal | None = None
    """This and the next two: what the job's attempts before this one left (work.Kept)."""
    kept_progress: Decimal | None = None
    restoring_seconds: Decimal | None = None
    ran_seconds: Decimal | None = None
    """This and the next three: what the last heartbeat told of this attempt (work.Standing)."""
    saved_seconds: Decimal | None = None
    progress: Decimal | None = None
    saved_progress: Decimal | None = None
    moving_since: datetime | None = None
    """When a pass had its job stopped, to run on at less cost elsewhere; None: it stays."""

    @property
    def kept(self) -> Kept:
        return Kept(seconds=self.kept_seconds, progress=self.kept_progress, restoring_seconds=self.restoring_seconds)

    @property
    def standing(self) -> Standing:
        return Standing(
            ran_seconds=self.ran_seconds,
            saved_seconds=self.saved_seconds,
            progress=self.progress,
            saved_progress=self.saved_progress,
        )

    @property
    def part(self) -> Part:
        return Part(slots=self.slots, resources=self.resources, share=self.share)

    @property
    def terms(self) -> Terms:
        return Terms(on_demand=self.on_demand, spot_max_price=self.spot_max_price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One offering of a launch request."""

    instance_type: str
    zone: str
    subnet_id: str
    image_id: str
    max_price: Decimal | None
    """USD per instance-hour; None for on-demand and for spot whose limit is EC2's own cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """Everything asked of EC2 in one CreateFleet call."""

    capacity_type: CapacityType
    overrides: tuple[Override, ...]
    count: int
    allocation_strategy: str
    template: tuple[str, str] | None = None
    """Id and version of the launch template, filled in before the intention is written: a repeated call is the same
    call, whatever was deployed or applied meanwhile. None in what a plan asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """Written before the call, so that nothing that EC2 did is ever unknown (design section 3)."""

    intention_id: str
    """Also the decision id: the tag on whatever the call launches, and the client token."""
    pool: str
    request: LaunchRequest
    created_at: datetime
    not_after: datetime
    """No call is made for it after this."""
    clean_observations: int = 0
    """Complete observations that began well after `not_after`."""
    adopted: int = 0
    """Instances found by tag so far; they count as instances, the rest of the request still counts as in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFailure:
    """An instance that was ended because its worker never called. Kept for a day."""

    instance_id: str
    instance_type: str
    zone: str
    launched_at: datetime
    ended_at: datetime
    console: str | None = None
    """The end of what it wrote to its console; None: not fetched, or there is none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferingMark:
    """The memory of one offering: until when not to ask for it, and why."""

    capacity_type: CapacityType
    instance_type: str
    """`*`: every type (a quota, a missing role)."""
    zone: str
    """`*`: every zone."""
    until: datetime
    code: str
    message: str
    marked_at: datetime
    strikes: int = 1
    """Refusals in a row; the cool-down grows with them."""
    last_price: Decimal | None = None
    """The market price that EC2's message named, USD per hour."""
