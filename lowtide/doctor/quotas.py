"""The account's vCPU quotas beside what the pools may grow to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.reasons import ReasonClass
from lambdas.domain.refusals.quotas import QUOTAS, Quota, quota_of
from lowtide.doctor.findings import Cause, Finding, Status, fine
from lowtide.doctor.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one pool may want of one quota."""

    pool: str
    capacity_type: CapacityType
    most: int
    """Instances."""
    least_vcpus: int
    """Of the smallest type that counts against it."""
    most_vcpus: int
    """Of the largest."""


def quotas(place: Place, pools: Sequence[Pool]) -> Iterator[Finding]:
    """One finding for each quota that a pool touches. What others in the account use of it is not known."""
    needs = {quota.code: [need for pool in pools if (need := need_of(pool, quota))] for quota in QUOTAS}
    touched = [quota for quota in QUOTAS if needs[quota.code]]
    values = {quota.code: _value(place.client("service-quotas"), quota) for quota in touched}
    stuck = {(pool.name, kind) for pool in pools for kind, _ in wanted(pool) if not _fits(pool, kind, values)}
    for quota in touched:
        yield _judged(quota, values[quota.code], needs[quota.code], stuck)


def wanted(pool: Pool) -> list[tuple[CapacityType, int]]:
    """Of each capacity type that the pool may buy, the most instances."""
    most = max([pool.max_instances, *(each.max_instances or 0 for each in pool.schedules)])
    if not pool.spot:
        return [(CapacityType.ON_DEMAND, most)]
    fallback = pool.on_demand_fallback.max_instances if pool.on_demand_fallback else 0
    beside = min(most, pool.on_demand_base + fallback)
    return [(CapacityType.SPOT, most), *([(CapacityType.ON_DEMAND, beside)] if beside else [])]


def need_of(pool: Pool, quota: Quota) -> Need | None:
    """None where nothing of the pool counts against the quota."""
    most = dict(wanted(pool)).get(quota.capacity_type, 0)
    vcpus = [facts.vcpus for facts in _counted(pool, quota)]
    if not most or not vcpus:
        return None
    return Need(
        pool=pool.name,
        capacity_type=quota.capacity_type,
        most=most,
        least_vcpus=min(vcpus),
        most_vcpus=max(vcpus),
    )


def _counted(pool: Pool, quota: Quota) -> list[TypeFacts]:
    """A type that EC2 did not list has no known vCPUs."""
    return [facts for facts in pool.types if facts.vcpus and quota_of(facts.name, quota.capacity_type) == quota]


def _fits(pool: Pool, kind: CapacityType, values: Mapping[str, float]) -> bool:
    """Whether one instance of some type is within its quota; true for what is in no known group."""
    own = [(facts.vcpus, quota_of(facts.name, kind)) for facts in pool.types]
    return any(quota is None or vcpus <= values.get(quota.code, vcpus) for vcpus, quota in own)


def _value(client: Any, quota: Quota) -> float:
    """The account's own value, else AWS's default: accounts that never asked for more have no own one."""
    try:
        return client.get_service_quota(ServiceCode="ec2", QuotaCode=quota.code)["Quota"]["Value"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "NoSuchResourceException":
            raise
        return client.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=quota.code)["Quota"]["Value"]


def _judged(quota: Quota, value: float, needs: Sequence[Need], stuck: set[tuple[str, CapacityType]]) -> Finding:
    total = sum(need.most * need.most_vcpus for need in needs)
    pools = ", ".join(need.pool for need in needs)
    what = f"{quota.name}: {value:g} vCPUs; {pools} may grow to {total}"
    if total <= value:
        return fine("quota", what)
    none = [need for need in needs if (need.pool, need.capacity_type) in stuck]
    largest = max(int(value // need.most_vcpus) for need in needs)
    return Finding(
        check="quota",
        status=Status.FAILURE if none else Status.WARNING,
        what=what,
        why=f"not even one instance of {', '.join(need.pool for need in none)} fits"
        if none
        else f"of the largest types, {largest} instances fit at once",
        remedy=(
            "aws service-quotas request-service-quota-increase --service-code ec2 "
            f"--quota-code {quota.code} --desired-value {total}"
        ),
        cause=Cause(reason_class=ReasonClass.QUOTA, code=quota.code, capacity_type=quota.capacity_type),
    )
