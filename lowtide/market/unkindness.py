"""How unkind the market is. One value, whose defaults are what EC2 does on an ordinary bad day."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Self

SPOT_QUOTAS: Mapping[str, int] = MappingProxyType({"Standard": 256, "G and VT": 768, "P": 192, "X": 64})
ON_DEMAND_QUOTAS: Mapping[str, int] = MappingProxyType({"Standard": 128, "G and VT": 192, "P": 96, "X": 64})
"""vCPUs per group of families. Small, as a young account has them: eight g4dn.metal on spot, two on demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unkindness:
    """Periods are AWS's own; `paced` divides them. Shares and rates are not touched by the pace."""

    describe_lag: timedelta = timedelta(seconds=40)
    """A new instance is missing from Describe and unknown to Terminate for a time drawn evenly between a twentieth of
    this and this. Determined's provisioner met 20-40 s on spot requests."""
    pending: timedelta = timedelta(seconds=12)
    """From CreateFleet's answer to `running`."""
    boot: timedelta = timedelta(seconds=75)
    """Median time from `running` to the first line of user data; log-normal, sigma 0.3."""
    bare_metal_boot: float = 4.0
    """Bare metal boots so many times longer: its own firmware runs first. Determined allows .metal twice the period."""
    boot_failure: float = 0.03
    """Share of instances that never run their user data."""
    shutting_down: timedelta = timedelta(seconds=25)
    terminated_listed: timedelta = timedelta(hours=1)
    """A terminated instance stays in Describe for about an hour."""
    warning_lead: timedelta = timedelta(minutes=2)
    """From the spot notice to the end."""
    unwarned: float = 0.05
    """Share of interruptions that come without any notice: it is best effort."""
    late: float = 0.10
    """Share whose notice leaves only a fifth to three fifths of the lead."""
    doubled: float = 0.15
    """Share whose event is delivered twice, the second up to a fifth of the lead later."""
    strangers: timedelta = timedelta(minutes=20)
    """Mean time between warnings for instances of others in the same account."""
    rebalance: float = 0.5
    """Share of warned interruptions that a rebalance recommendation precedes, by up to `rebalance_lead`."""
    rebalance_lead: timedelta = timedelta(minutes=8)
    rebalance_alone: timedelta = timedelta(hours=6)
    """Mean life of a spot instance until a rebalance recommendation that no interruption follows."""
    unfulfillable: float = 0.2
    """Share of capacity refusals that come as UnfulfillableCapacity instead of InsufficientInstanceCapacity."""
    history_lag: timedelta = timedelta(minutes=5)
    """DescribeSpotPriceHistory does not yet know what happened this recently."""
    bucket: float = 5.0
    """Requests of CreateFleet and RunInstances together that may come at once, account-wide."""
    bucket_refill_per_second: float = 2.0
    """Real seconds: a control plane's own request rate is not paced either."""
    quota_lag: timedelta = timedelta(minutes=3)
    """The vCPUs of an ended spot instance count against the quota for so long after its end."""
    spot_quotas: Mapping[str, int] = field(default_factory=lambda: SPOT_QUOTAS)
    on_demand_quotas: Mapping[str, int] = field(default_factory=lambda: ON_DEMAND_QUOTAS)
    other_quota: int = 64
    """vCPUs of every group that the two tables do not name."""

    def paced(self, pace: float) -> Self:
        """The same with every period divided by `pace`."""
        periods = {
            f.name: getattr(self, f.name) / pace for f in fields(self) if isinstance(getattr(self, f.name), timedelta)
        }
        return replace(self, **periods)

    @classmethod
    def none(cls) -> Self:
        """A market without ill will: everything at once and in time, quotas out of reach. What a calm baseline needs;
        prices, capacity and their refusals stay."""
        nothing, never = timedelta(0), timedelta.max
        return cls(
            describe_lag=nothing,
            pending=nothing,
            boot=nothing,
            boot_failure=0.0,
            shutting_down=nothing,
            unwarned=0.0,
            late=0.0,
            doubled=0.0,
            strangers=never,
            rebalance=0.0,
            rebalance_alone=never,
            unfulfillable=0.0,
            history_lag=nothing,
            bucket=1e9,
            quota_lag=nothing,
            spot_quotas=MappingProxyType[str, int]({}),
            on_demand_quotas=MappingProxyType[str, int]({}),
            other_quota=10**9,
        )

    def quota(self, family: str, *, spot: bool) -> int:
        """vCPUs that instances of a group of families may have together."""
        return (self.spot_quotas if spot else self.on_demand_quotas).get(family, self.other_quota)
